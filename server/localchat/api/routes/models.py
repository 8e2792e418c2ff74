"""`GET /v1/models` and `GET /v1/models/{id}`. Never waits for a model."""

from __future__ import annotations

from fastapi import APIRouter

from localchat.api.dependencies import Pool
from localchat.api.responses import error_responses
from localchat.api.schemas.replies import ModelCard, ModelList
from localchat.pool import Entry

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(pool: Pool) -> ModelList:
    """The models that are served, loaded or not, and their aliases; with --on-demand also the installed ones."""
    cards = [_card(entry) for entry in await pool.listed()]
    aliases = [_card(pool.find(alias), alias) for alias in pool.aliases]
    return ModelList(data=cards + aliases)


@router.get("/v1/models/{model:path}", responses=error_responses(400, 403, 404))
async def retrieve_model(model: str, pool: Pool) -> ModelCard:
    """One model that a request may name."""
    return _card(pool.find(model), model if model in pool.aliases else None)


def _card(entry: Entry, alias: str | None = None) -> ModelCard:
    return ModelCard(
        id=alias or entry.id,
        created=entry.created,
        context_length=entry.n_ctx,
        max_model_len=entry.n_ctx,
        state=entry.state,
        percent=entry.percent,
        error=entry.error.message if entry.error else None,
        quant=entry.quant,
        license=entry.spec.license,
        commercial=entry.spec.commercial.use,
        alias_of=entry.id if alias else None,
    )
