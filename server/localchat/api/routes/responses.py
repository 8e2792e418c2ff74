"""`/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from localchat.api.dependencies import Kept, Lenient, Pool, Who, ignored_header, using
from localchat.api.encoders.common import to_json
from localchat.api.encoders.responses import ResponseWriter
from localchat.api.responding import Keeper, Order, events, kept_response, leave, written
from localchat.api.responses import GENERATION_RESPONSES, error_responses
from localchat.api.runs import REPLAY_SECONDS, Run, Running
from localchat.api.schemas.lists import InputItemsQuery, RetrieveQuery, listed
from localchat.api.schemas.response_replies import DeletedReply, InputTokensReply, ItemListReply, ResponseReply
from localchat.api.schemas.responses import InputTokensRequest, ResponseRequest, check_includes
from localchat.api.streaming import FramesResponse, whole
from localchat.api.talk import read_talk
from localchat.errors import InvalidRequest, NotFound, UnsupportedField
from localchat.store import Found, Store
from localchat.store.runner import is_running

router = APIRouter(tags=["responses"])

Json = dict[str, Any]


@router.post("/v1/responses", response_model=ResponseReply, responses=GENERATION_RESPONSES)
async def create_response(
    body: ResponseRequest, request: Request, pool: Pool, who: Who, kept: Kept, runs: Running, lenient: Lenient
) -> Response:
    """Answer, as one reply, as a stream of events, or in the background."""
    headers = ignored_header(body, lenient=lenient)
    entry = pool.find(body.model)
    body.check(can_store=kept is not None)
    order = Order(body, await read_talk(body, kept, who.owner), who)
    store = None if body.store is False else kept
    keeper = Keeper(store, order)
    writer = ResponseWriter(
        order.fields(entry.id, stored=store is not None), events=bool(body.stream or body.background)
    )
    if body.background:
        run = Run(order, writer, keeper)
        await runs.start(run, entry)
        return FramesResponse(run.follow(), _stay, headers) if body.stream else _json(writer.response, headers)
    async with using(entry, request, body.keep_alive) as model:
        answer = await order.begin(model, writer)
    if body.stream:
        return FramesResponse(events(answer, writer, keeper), lambda: leave(answer, writer, keeper), headers)
    return await whole(request, answer.generation, written(answer, writer, keeper), headers)


@router.post("/v1/responses/input_tokens", responses=error_responses(400, 403, 404, 413, 500, 502, 503, 507))
async def count_input_tokens(
    body: InputTokensRequest, request: Request, response: Response, pool: Pool, who: Who, kept: Kept, lenient: Lenient
) -> InputTokensReply:
    """Count the tokens that a response's input would have."""
    response.headers.update(ignored_header(body, lenient=lenient))
    talk = await read_talk(body, kept, who.owner)
    async with using(pool.find(body.model), request) as model:
        tokens = await model.worker.tokenize(
            model.render(talk.messages, tools=body.tool_use), add_bos=True, parse_special=True
        )
    return InputTokensReply(input_tokens=len(tokens))


@router.get("/v1/responses/{response_id}", response_model=ResponseReply, responses=error_responses(400, 404, 500))
async def retrieve_response(
    response_id: str, query: Annotated[RetrieveQuery, Query()], who: Who, kept: Kept, runs: Running
) -> Response:
    """A kept response; with `stream`, the events of one that runs in the background, or did a moment ago."""
    check_includes(query.includes)
    run = runs.find(who.owner, response_id)
    found = None if run else await _find(kept, who.owner, response_id)
    if not query.stream:
        if query.starting_after is not None:
            raise InvalidRequest("starting_after needs stream to be true", param="starting_after")
        return _json(run.writer.response if run else kept_response(_checked(found, response_id)))
    if run is None:
        _checked(found, response_id)
        raise UnsupportedField(
            "stream is not supported here: only background responses can be streamed again, "
            f"until {REPLAY_SECONDS // 60} minutes after their end",
            param="stream",
        )
    return FramesResponse(run.follow(-1 if query.starting_after is None else query.starting_after), _stay, {})


@router.delete("/v1/responses/{response_id}", responses=error_responses(404, 500))
async def delete_response(response_id: str, who: Who, kept: Kept, runs: Running) -> DeletedReply:
    """Forget a response; one that runs is cancelled first."""
    if run := runs.find(who.owner, response_id):
        await runs.cancel(run)
        runs.forget(response_id)
    if kept is None or not await kept.delete(who.owner, "response", response_id):
        raise _no_such(response_id)
    return DeletedReply(id=response_id, object="response", deleted=True)


@router.post(
    "/v1/responses/{response_id}/cancel", response_model=ResponseReply, responses=error_responses(400, 404, 500)
)
async def cancel_response(response_id: str, who: Who, kept: Kept, runs: Running) -> Response:
    """End a response that runs in the background; one that has ended stays as it is."""
    if run := runs.find(who.owner, response_id):
        await runs.cancel(run)
        return _json(run.writer.response)
    found = _checked(await _find(kept, who.owner, response_id), response_id)
    if not found.body["background"]:
        raise InvalidRequest(f"{response_id} was not made with background: true; close its stream to cancel it")
    if found.runner is not None:
        raise InvalidRequest(f"{response_id} runs in another process of localchat, where it can be cancelled")
    return _json(kept_response(found))


@router.get("/v1/responses/{response_id}/input_items", responses=error_responses(400, 404, 500))
async def list_input_items(
    response_id: str, query: Annotated[InputItemsQuery, Query()], who: Who, kept: Kept
) -> ItemListReply:
    """The items that a request added to its conversation, newest first."""
    check_includes(query.includes)
    found = await kept.inputs(who.owner, "response", response_id, query.page) if kept else None
    if found is None:
        raise _no_such(response_id)
    return ItemListReply(**listed(*found))


async def _find(store: Store | None, owner: str, id: str) -> Found | None:
    """A kept response. One whose process has ended without a word has failed."""
    found = await store.get(owner, "response", id) if store else None
    if store is None or found is None or found.runner is None or is_running(found.runner):
        return found
    error = {"code": "server_error", "message": "the server ended before the response did; send it again"}
    return await store.settle(owner, "response", id, {**found.body, "status": "failed", "error": error})


def _checked(found: Found | None, id: str) -> Found:
    if found is None:
        raise _no_such(id)
    return found


def _no_such(id: str) -> NotFound:
    return NotFound(f"there is no response {id!r}")


def _json(content: Json, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content), headers=headers, media_type="application/json")


def _stay() -> None:
    """Whoever stops listening does not stop the response."""
