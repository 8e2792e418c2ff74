"""`/v1/chat/completions` and what lies below it: the chat completions that are kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from localchat.api.dependencies import Kept, Lenient, Who, ignored_header
from localchat.api.encoders.common import to_json
from localchat.api.responses import error_responses
from localchat.api.schemas.chat import ChatUpdate
from localchat.api.schemas.lists import ChatListQuery, PageQuery, listed
from localchat.api.schemas.response_replies import DeletedReply, ItemListReply
from localchat.api.schemas.stored_chat import StoredChatList, StoredChatReply
from localchat.api.stored_chat import kept_chat
from localchat.errors import NotFound

router = APIRouter(tags=["chat"])

Json = dict[str, Any]


@router.get("/v1/chat/completions", response_model=StoredChatList, responses=error_responses(400, 500))
async def list_chat_completions(query: Annotated[ChatListQuery, Query()], who: Who, kept: Kept) -> Response:
    """The chat completions that are kept, oldest first; also those of one model, or with some metadata."""
    metadata = query.metadata
    if kept is None:
        return _json(listed([], has_more=False))
    found, has_more = await kept.page(who.owner, "chat.completion", query.page, query.model, metadata)
    return _json(listed([kept_chat(one) for one in found], has_more))


@router.get("/v1/chat/completions/{completion_id}", response_model=StoredChatReply, responses=error_responses(404, 500))
async def retrieve_chat_completion(completion_id: str, who: Who, kept: Kept) -> Response:
    """A kept chat completion."""
    found = await kept.get(who.owner, "chat.completion", completion_id) if kept else None
    if found is None:
        raise _no_such(completion_id)
    return _json(kept_chat(found))


@router.post(
    "/v1/chat/completions/{completion_id}", response_model=StoredChatReply, responses=error_responses(400, 404, 500)
)
async def update_chat_completion(
    completion_id: str, body: ChatUpdate, who: Who, kept: Kept, lenient: Lenient
) -> Response:
    """Give a kept chat completion other metadata; nothing else of it changes."""
    headers = ignored_header(body, lenient=lenient)
    metadata = body.metadata or {}
    found = await kept.set_metadata(who.owner, "chat.completion", completion_id, metadata) if kept else None
    if found is None:
        raise _no_such(completion_id)
    return _json(kept_chat(found), headers)


@router.delete("/v1/chat/completions/{completion_id}", responses=error_responses(404, 500))
async def delete_chat_completion(completion_id: str, who: Who, kept: Kept) -> DeletedReply:
    """Forget a chat completion."""
    if kept is None or not await kept.delete(who.owner, "chat.completion", completion_id):
        raise _no_such(completion_id)
    return DeletedReply(id=completion_id, object="chat.completion.deleted", deleted=True)


@router.get("/v1/chat/completions/{completion_id}/messages", responses=error_responses(400, 404, 500))
async def list_chat_messages(
    completion_id: str, query: Annotated[PageQuery, Query()], who: Who, kept: Kept
) -> ItemListReply:
    """The messages that a kept chat completion answers."""
    found = await kept.inputs(who.owner, "chat.completion", completion_id, query.page) if kept else None
    if found is None:
        raise _no_such(completion_id)
    return ItemListReply(**listed(*found))


def _no_such(id: str) -> NotFound:
    return NotFound(f"there is no chat completion {id!r}: those are kept that were made with store: true")


def _json(content: Json, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content), headers=headers, media_type="application/json")
