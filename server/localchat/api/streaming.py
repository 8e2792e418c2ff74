"""One generation as SSE or as a plain reply. Either way a client that leaves ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from localchat.api.encoders.common import DONE, frame, to_json
from localchat.api.errors import describe
from localchat.errors import LocalchatError
from localchat.outputs import Delta
from localchat.worker.client import Generation

T = TypeVar("T")

log = logging.getLogger(__name__)

PING_SECONDS = 10
CLIENT_GONE = 499


class ClientLeft(Exception):
    """Nobody is there any more to be answered."""


class Stream(Protocol):
    """Makes frames."""

    def start(self) -> bytes:
        """What comes before any text."""

    def delta(self, index: int, delta: Delta) -> bytes:
        """New text of a choice."""

    def end(self) -> bytes:
        """What comes when all has finished."""


class Fold(Protocol):
    """Gathers deltas into one reply."""

    def delta(self, index: int, delta: Delta) -> None:
        """Take note of a delta."""

    def reply(self) -> dict[str, Any]:
        """The whole."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be kept of a generation: the fold of it, and how."""

    fold: Fold
    keep: Callable[[dict[str, Any]], Awaitable[None]]


class FramesResponse(EventSourceResponse):
    """Frames, with comments to keep the connection alive while there are none. `leave` is called when all is over."""

    def __init__(self, frames: AsyncIterator[bytes], leave: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(frames, headers=headers, ping=PING_SECONDS, sep="\n")
        self._leave = leave

    async def _stream_response(self, send: Send) -> None:
        """As the base class does it, without a timeout scope around every frame, which costs more than the frame."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for frames in self.body_iterator:
            await send({"type": "http.response.body", "body": frames, "more_body": True})
        async with self._send_lock:
            self.active = False
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames. They are left even if the first of them was never asked for."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


class GenerationResponse(FramesResponse):
    """The frames of a generation."""

    def __init__(
        self, generation: Generation, stream: Stream, headers: Mapping[str, str], record: Record | None = None
    ) -> None:
        super().__init__(_frames(generation, stream, record), generation.close, headers)


async def _frames(generation: Generation, stream: Stream, record: Record | None) -> AsyncIterator[bytes]:
    try:
        yield stream.start()
        async for batch in generation.batches():
            frames = b"".join([stream.delta(index, delta) for index, delta in batch])
            if frames:
                yield frames
            if record is not None:
                for index, delta in batch:
                    record.fold.delta(index, delta)
        if record is not None:
            await record.keep(record.fold.reply())
        yield stream.end() + DONE
    except LocalchatError as error:  # the status has been sent: all that is left is an event, which the SDKs raise
        yield frame(describe(error)[1]) + DONE


async def plain(
    request: Request, generation: Generation, fold: Fold, headers: Mapping[str, str], record: Record | None = None
) -> Response:
    """The whole reply at once; nothing, and no more tokens, once the client has left."""
    return await whole(request, generation, _gather(generation, fold, record), headers)


async def whole(
    request: Request, generation: Generation, reply: Coroutine[Any, Any, dict[str, Any]], headers: Mapping[str, str]
) -> Response:
    """A reply that is made of a generation, by whatever makes it."""
    try:
        content = await while_connected(request, reply)
        return Response(to_json(content), headers=dict(headers), media_type="application/json")
    finally:
        generation.close()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of the work, which is cancelled when the client leaves. Raises ClientLeft then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gather(generation: Generation, fold: Fold, record: Record | None) -> dict[str, Any]:
    async for batch in generation.batches():
        for index, delta in batch:
            fold.delta(index, delta)
    reply = fold.reply()
    if record is not None:
        await record.keep(reply)
    return reply


async def disconnected(request: Request) -> None:
    """Wait until the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
