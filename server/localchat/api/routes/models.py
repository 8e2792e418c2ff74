"""`GET /v1/models` and `GET /v1/models/{id}`. Never waits for a model."""

from __future__ import annotations

from fastapi import APIRouter

from localchat.api.dependencies import Pool
from localchat.api.responses import error_responses
from localchat.api.schemas.replies import ModelCard, ModelList
from localchat.pool import Served

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(pool: Pool) -> ModelList:
    """The models that are served, loaded or not."""
    return ModelList(data=[_card(served) for served in pool.served.values()])


@router.get("/v1/models/{model:path}", responses=error_responses(404))
async def retrieve_model(model: str, pool: Pool) -> ModelCard:
    """One model that is served."""
    return _card(pool.find(model))


def _card(served: Served) -> ModelCard:
    choice = served.launch.choice
    return ModelCard(
        id=served.launch.id,
        created=served.created,
        context_length=served.n_ctx,
        max_model_len=served.n_ctx,
        state=served.state,
        quant=choice.quant.name,
        license=choice.spec.license,
    )
