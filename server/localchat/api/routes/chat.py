"""`POST /v1/chat/completions`."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from localchat.api.dependencies import Kept, Lenient, Pool, Who, ignored_header, using
from localchat.api.encoders.chat import ChatFold, ChatStream
from localchat.api.encoders.common import Envelope
from localchat.api.responses import GENERATION_RESPONSES
from localchat.api.schemas.chat import ChatRequest
from localchat.api.schemas.replies import ChatReply
from localchat.api.stored_chat import keep_chat
from localchat.api.streaming import GenerationResponse, Record, plain
from localchat.chat.model import Options
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
    options = Options(
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
    async with using(entry, request, body.keep_alive) as model:
        answer = model.stream(
            [turn.to_message() for turn in body.messages],
            model.sampling(body.sampling),
            options,
            continue_final=bool(body.continue_final_message),
        )
        await answer.generation.accepted()
    tier = "flex" if options.lane is Lane.BACKGROUND else "default"
    envelope = Envelope(prefix="chatcmpl", model=model.id, fingerprint=model.fingerprint, service_tier=tier)
    fold = ChatFold(envelope, options.n, logprobs=bool(body.logprobs), parsers=answer.parsers(), shape=body.shape)
    record = Record(fold, partial(keep_chat, kept, who.owner, body)) if kept and body.store else None
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = ChatStream(
            envelope, options.n, include_usage=include_usage, parsers=answer.parsers(), shape=body.shape
        )
        return GenerationResponse(answer.generation, stream, headers, record)
    return await plain(request, answer.generation, fold, headers, record)
