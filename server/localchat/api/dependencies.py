"""What routes are given: the pool, a model of it, who asks, and the header that tells which fields had no effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from localchat.api.keys import NOBODY, Caller
from localchat.api.schemas.policy import Body
from localchat.api.streaming import ClientLeft, disconnected
from localchat.chat.model import ChatModel
from localchat.errors import InvalidRequest, UnsupportedField
from localchat.lane import Lane
from localchat.pool import Entry, ModelPool
from localchat.store import Store

IGNORED_HEADER = "x-localchat-ignored"
MOST_NAMES = 50
MOST_LETTERS = 200
_HARMLESS = "[]#/%$ "


async def _pool(request: Request) -> ModelPool:  # async, since FastAPI calls all others on threads
    pool: ModelPool = request.app.state.pool
    return pool


Pool = Annotated[ModelPool, Depends(_pool)]


async def _lenient(request: Request) -> bool:
    lenient: bool = request.app.state.lenient
    return lenient


Lenient = Annotated[bool, Depends(_lenient)]
"""Whether fields that nobody documents are listed instead of refused."""


_LANES = WithJsonSchema({"type": "string", "enum": [lane.value for lane in Lane]})


async def _who(
    request: Request,
    x_priority: Annotated[str | None, Header(description="background: nobody waits for it."), _LANES] = None,
) -> Caller:
    """Who asks; in the background, if that is where the key or the header puts it. Raises InvalidRequest."""
    caller: Caller = getattr(request.state, "caller", NOBODY)
    if x_priority is None:
        return caller
    try:
        lane = Lane(x_priority.strip().lower())
    except ValueError:
        lanes = " or ".join(lane.value for lane in Lane)
        raise InvalidRequest(f"X-Priority is {x_priority!r}; it must be {lanes}", param="X-Priority") from None
    return caller if lane is Lane.INTERACTIVE else replace(caller, lane=lane)


Who = Annotated[Caller, Depends(_who)]


def _store(request: Request) -> Store | None:
    store: Store | None = request.app.state.store
    return store


Kept = Annotated[Store | None, Depends(_store)]
"""Where things are kept; None where nothing is."""


@asynccontextmanager
async def using(entry: Entry, request: Request | None, keep_alive: float | None = None) -> AsyncIterator[ChatModel]:
    """The model, loaded if need be, for the length of a block; a generation keeps it beyond. A client that leaves while
    it waits gives its place back; without a request nobody can leave. Raises what stands in the way, and ClientLeft."""
    place = entry.enter(keep_alive)
    try:
        if request is None:
            await place
        elif not place.done():
            gone: asyncio.Future[Any] = asyncio.ensure_future(disconnected(request))
            try:
                await asyncio.wait([cast(asyncio.Future[Any], place), gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
            if not place.done():
                raise ClientLeft
        yield place.result()
    finally:
        entry.leave(place)


def ignored_header(body: Body, *, lenient: bool = False) -> dict[str, str]:
    """The response header that lists the fields without effect; with `lenient` unknown ones are among them.

    Raises UnsupportedField for a refused field, and for an unknown one.
    """
    unknown = list(body.unknown())
    if unknown and not lenient:
        raise UnsupportedField(f"{unknown[0]} is not a field of this request; see docs/api.md", param=unknown[0])
    names = sorted([*body.ignored(), *unknown])
    if len(names) > MOST_NAMES:
        names[MOST_NAMES:] = [f"and {len(names) - MOST_NAMES} more"]
    # A client chose the unknown names: no header is to begin in one.
    told = ",".join(quote(name[:MOST_LETTERS], _HARMLESS) for name in names)
    return {IGNORED_HEADER: told} if told else {}
