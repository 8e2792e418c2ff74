"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from localchat.api.dependencies import Lenient, Pool, Who, ignored_header, using
from localchat.api.encoders.common import Envelope
from localchat.api.encoders.completions import CompletionFold, CompletionStream
from localchat.api.responses import GENERATION_RESPONSES
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.replies import CompletionReply
from localchat.api.streaming import GenerationResponse, plain
from localchat.chat.model import ChatModel, Options
from localchat.errors import UnsupportedField

router = APIRouter(tags=["completions"])


@router.post("/v1/completions", response_model=CompletionReply, responses=GENERATION_RESPONSES)
async def create_completion(
    body: CompletionRequest, request: Request, pool: Pool, who: Who, lenient: Lenient
) -> Response:
    """Continue prompts, as one reply or as a stream."""
    headers = ignored_header(body, lenient=lenient)
    entry = pool.find(body.model)
    body.check()
    prompts, tries = body.prompts, body.tries
    # Choosing the best takes log-probabilities, whether or not they are reported.
    logprobs = 0 if body.logprobs is None and tries > body.choices else body.logprobs
    options = Options(
        max_tokens=body.token_limit,
        stops=body.stops,
        n=tries,
        logprobs=logprobs,
        prompt_logprobs=bool(body.echo) and body.logprobs is not None,
        lane=who.lane,
        key=who.name,
        constraint=body.constraint,
        deterministic=bool(body.deterministic),
    )
    async with using(entry, request, body.keep_alive) as model:
        _check_suffix(body, model)
        _check_echo(body, model)
        echoes = await asyncio.gather(*[_echo(model, prompt) if body.echo else _nothing() for prompt in prompts])
        suffix = body.suffix if model.worker.info.has_infill else None  # an empty one asks others for nothing
        generation = model.complete(prompts, model.sampling(body.sampling), options, suffix=suffix)
        await generation.accepted()
    envelope = Envelope(prefix="cmpl", model=model.id, fingerprint=model.fingerprint)
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = CompletionStream(envelope, echoes, tries=tries, include_usage=include_usage)
        return GenerationResponse(generation, stream, headers)
    fold = CompletionFold(envelope, echoes, tries=tries, keep=body.choices, logprobs=body.logprobs is not None)
    return await plain(request, generation, fold, headers)


def _check_suffix(body: CompletionRequest, model: ChatModel) -> None:
    if body.suffix and not model.worker.info.has_infill:
        raise UnsupportedField(f"suffix is not supported: {model.id} has no infill tokens", param="suffix")


def _check_echo(body: CompletionRequest, model: ChatModel) -> None:
    if body.echo and model.worker.info.is_encoder_decoder:
        raise UnsupportedField(
            f"echo is not supported: {model.id} reads the prompt with an encoder, and does not continue it",
            param="echo",
        )


async def _echo(model: ChatModel, prompt: str | list[int]) -> str:
    return prompt if isinstance(prompt, str) else await model.worker.detokenize(prompt)


async def _nothing() -> str:
    return ""
