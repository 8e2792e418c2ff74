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
    """200 when every model named at the start is loaded, or unloaded for want of use; else 503. With their states."""
    states = {id: entry.state for id, entry in pool.named.items()}
    status = 200 if pool.is_ready else 503
    return JSONResponse({"status": "ready" if pool.is_ready else "not ready", "models": states}, status)
