"""`POST /v1/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from localchat.api.dependencies import Lenient, Pool, Who, ignored_header, using
from localchat.api.encoders.common import to_json
from localchat.api.encoders.embeddings import embedding_reply
from localchat.api.responses import error_responses
from localchat.api.schemas.embeddings import EmbeddingReply, EmbeddingRequest
from localchat.api.streaming import while_connected

router = APIRouter(tags=["embeddings"])


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingReply,
    responses=error_responses(400, 403, 404, 413, 500, 502, 503, 507),
)
async def create_embeddings(
    body: EmbeddingRequest, request: Request, pool: Pool, who: Who, lenient: Lenient
) -> Response:
    """Turn texts into vectors of length 1."""
    headers = ignored_header(body, lenient=lenient)
    entry = pool.find(body.model)
    inputs = body.inputs
    async with using(entry, request, body.keep_alive) as model:
        model.check_embeds()
        vectors = await while_connected(request, model.worker.embed(inputs, lane=who.lane, key=who.name))
        width = model.worker.info.embedding_width
    as_base64 = body.encoding_format == "base64"
    reply = embedding_reply(model.id, vectors, width, body.dimensions, as_base64=as_base64)
    return Response(to_json(reply), headers=headers, media_type="application/json")
