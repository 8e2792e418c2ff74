"""What routes are given: the pool, and the header that tells which fields had no effect."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from localchat.api.schemas.policy import Body
from localchat.pool import ModelPool

IGNORED_HEADER = "x-localchat-ignored"


def _pool(request: Request) -> ModelPool:
    pool: ModelPool = request.app.state.pool
    return pool


Pool = Annotated[ModelPool, Depends(_pool)]


def ignored_header(body: Body) -> dict[str, str]:
    """The response header that lists the fields without effect. Raises UnsupportedField for a refused one."""
    names = ",".join(body.ignored())
    return {IGNORED_HEADER: names} if names else {}
