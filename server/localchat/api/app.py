"""The web application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from sse_starlette.sse import AppStatus

from localchat import __version__
from localchat.api import errors
from localchat.api.document import leave_out_unsent
from localchat.api.guard import Guard
from localchat.api.keys import Keys
from localchat.api.responses import GUARD_RESPONSES, error_responses
from localchat.api.routes import chat, completions, embeddings, health, models, responses, stored_chat, tokens
from localchat.api.runs import Runs
from localchat.api.streaming import CLIENT_GONE, ClientLeft
from localchat.pool import ModelPool
from localchat.settings import Settings
from localchat.store import Store

ROUTERS = (
    chat.router,
    responses.router,
    stored_chat.router,
    completions.router,
    embeddings.router,
    models.router,
    tokens.router,
)


def create_app(pool: ModelPool, settings: Settings, store: Store | None = None) -> FastAPI:
    """The application over a pool and what it keeps; both end with it."""
    runs = Runs()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        pool.start()
        if store is not None:
            await store.clean()
        yield
        await pool.close()
        await runs.close()
        if store is not None:
            await store.close()

    # sse-starlette would cut every stream at the first Ctrl-C; `api.server` drains them instead.
    AppStatus.enable_automatic_graceful_drain = False
    app = FastAPIOffline(  # its page at /docs loads nothing from elsewhere
        title="localchat",
        version=__version__,
        description="Open chat models on your own hardware, behind the OpenAI API.",
        lifespan=lifespan,
        redoc_url=None,
        static_url="/docs/static",
    )
    app.state.pool = pool
    app.state.store = store
    app.state.runs = runs
    app.state.lenient = settings.lenient
    for router in ROUTERS:
        app.include_router(router, responses=GUARD_RESPONSES)
    app.include_router(health.router, responses=error_responses(403))
    leave_out_unsent(app)
    errors.add_handlers(app)
    app.add_exception_handler(ClientLeft, _on_client_left)
    app.add_middleware(
        Guard,
        keys=Keys(settings),
        allowed_hosts=settings.allowed_hosts,
        max_body=settings.max_body_mb * 2**20,
    )
    if settings.cors_origins:
        # Around the guard: a browser's preflight carries no key, and a page may read why it was refused.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-localchat-ignored"],
        )
    return app


async def _on_client_left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
