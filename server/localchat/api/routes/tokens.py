"""`POST /v1/tokenize` and `POST /v1/detokenize`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from localchat.api.dependencies import Lenient, Pool, ignored_header, using
from localchat.api.responses import error_responses
from localchat.api.schemas.tokens import DetokenizeReply, DetokenizeRequest, TokenizeReply, TokenizeRequest
from localchat.errors import InvalidRequest

router = APIRouter(tags=["tokens"])


@router.post("/v1/tokenize", responses=error_responses(400, 403, 404, 500, 502, 503, 507))
async def tokenize(
    body: TokenizeRequest, request: Request, response: Response, pool: Pool, lenient: Lenient
) -> TokenizeReply:
    """Cut a text, or the prompt of a conversation, into tokens."""
    if (body.text is None) == (body.messages is None):
        raise InvalidRequest("give either text or messages", param="text")
    if body.messages is not None and (body.add_special or body.parse_special):
        raise InvalidRequest("add_special and parse_special go with text; messages have both", param="messages")
    response.headers.update(ignored_header(body, lenient=lenient))
    async with using(pool.find(body.model), request) as model:
        if body.messages is not None:
            text = model.render([turn.to_message() for turn in body.messages])
            tokens = await model.worker.tokenize(text, add_bos=True, parse_special=True)
        else:
            tokens = await model.worker.tokenize(
                body.text or "", add_bos=body.add_special, parse_special=body.parse_special
            )
    return TokenizeReply(model=model.id, tokens=tokens, count=len(tokens))


@router.post("/v1/detokenize", responses=error_responses(400, 403, 404, 500, 502, 503, 507))
async def detokenize(
    body: DetokenizeRequest, request: Request, response: Response, pool: Pool, lenient: Lenient
) -> DetokenizeReply:
    """Spell out token ids."""
    response.headers.update(ignored_header(body, lenient=lenient))
    async with using(pool.find(body.model), request) as model:
        return DetokenizeReply(model=model.id, text=await model.worker.detokenize(body.tokens))
