"""`POST /v1/chat/completions`, and the count of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from localchat.api.dependencies import Kept, Lenient, Pool, Who, ignored_header, using
from localchat.api.encoders.chat import ChatFold, ChatStream
from localchat.api.encoders.common import Envelope
from localchat.api.keys import Caller
from localchat.api.responses import GENERATION_RESPONSES, error_responses
from localchat.api.schemas.chat import ChatRequest
from localchat.api.schemas.replies import ChatReply, InputTokens, Truncation
from localchat.api.stored_chat import keep_chat
from localchat.api.streaming import GenerationResponse, Record, plain
from localchat.chat.messages import Message
from localchat.chat.model import ChatModel, Options
from localchat.lane import Lane

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=ChatReply, responses=GENERATION_RESPONSES)
async def create_chat_completion(
    body: ChatRequest, request: Request, pool: Pool, who: Who, kept: Kept, lenient: Lenient
) -> Response:
    """Answer a conversation, as one reply or as a stream."""
    headers = ignored_header(body, lenient=lenient)
    entry = pool.find(body.model)
    body.check(can_store=kept is not None)
    options, continue_final = _options(body, who), bool(body.continue_final_message)
    async with using(entry, request, body.keep_alive) as model:
        params = model.sampling(body.sampling)
        messages, truncation = await _conversation(body, model, options)
        answer = model.stream(messages, params, options, continue_final=continue_final)
        await answer.generation.accepted()
    tier = "flex" if options.lane is Lane.BACKGROUND else "default"
    envelope = Envelope(
        prefix="chatcmpl",
        model=model.id,
        fingerprint=model.fingerprint,
        service_tier=tier,
        once={} if truncation is None else {"truncation": truncation.model_dump()},
    )
    fold = ChatFold(envelope, options.n, logprobs=bool(body.logprobs), parsers=answer.parsers(), shape=body.shape)
    record = Record(fold, partial(keep_chat, kept, who.owner, body)) if kept and body.store else None
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = ChatStream(
            envelope, options.n, include_usage=include_usage, parsers=answer.parsers(), shape=body.shape
        )
        return GenerationResponse(answer.generation, stream, headers, record)
    return await plain(request, answer.generation, fold, headers, record)


@router.post(
    "/v1/chat/completions/input_tokens",
    response_model_exclude_none=True,
    responses=error_responses(400, 403, 404, 413, 500, 502, 503, 507),
)
async def count_input_tokens(
    body: ChatRequest, request: Request, response: Response, pool: Pool, who: Who, kept: Kept, lenient: Lenient
) -> InputTokens:
    """Count the tokens that the prompt of a chat completion would have; nothing is answered."""
    response.headers.update(ignored_header(body, lenient=lenient))
    entry = pool.find(body.model)
    body.check(can_store=kept is not None)
    options, continue_final = _options(body, who), bool(body.continue_final_message)
    async with using(entry, request, body.keep_alive) as model:
        messages, truncation = await _conversation(body, model, options)
        tokens = await model.count(messages, options, continue_final=continue_final)
    return InputTokens(model=model.id, input_tokens=tokens, truncation=truncation)


def _options(body: ChatRequest, who: Caller) -> Options:
    """What is asked, but for the conversation. Raises InvalidRequest."""
    return Options(
        max_tokens=body.token_limit,
        stops=body.stops,
        n=body.n or 1,
        logprobs=body.wanted_logprobs,
        lane=Lane.BACKGROUND if body.service_tier == "flex" else who.lane,
        key=who.name,
        prediction=body.prediction.text if body.prediction else "",
        constraint=body.constraint,
        deterministic=bool(body.deterministic),
        tools=body.tool_use,
        effort=body.reasoning_effort,
        thought_budget=body.reasoning_budget,
        variables=body.chat_template_kwargs or {},
    )


async def _conversation(
    body: ChatRequest, model: ChatModel, options: Options
) -> tuple[Sequence[Message], Truncation | None]:
    """What is said, and what had to go if it was to be shortened. Raises ContextLengthExceeded."""
    messages = [turn.to_message() for turn in body.messages]
    if body.truncation != "auto":
        return messages, None
    shorter = await model.truncated(messages, options, continue_final=bool(body.continue_final_message))
    told = Truncation(dropped_messages=list(shorter.dropped), dropped_tokens=shorter.dropped_tokens)
    return shorter.messages, told
