"""`GET /health` says that the server is alive, `GET /ready` that it can answer."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from localchat.api.dependencies import Pool
from localchat.api.responses import READY_RESPONSES

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@router.get("/ready", responses=READY_RESPONSES)
async def ready(pool: Pool) -> JSONResponse:
    """200 when every model is loaded, else 503 with the state of each."""
    states = {id: served.state for id, served in pool.served.items()}
    status = 200 if pool.is_ready else 503
    return JSONResponse({"status": "ready" if pool.is_ready else "not ready", "models": states}, status)
