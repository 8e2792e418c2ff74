"""Responses that go on without anybody waiting: polled, followed, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Request

from localchat.api.dependencies import using
from localchat.api.encoders.common import DONE
from localchat.api.encoders.responses import Frames, ResponseWriter
from localchat.api.responding import Keeper, Order, parser_of
from localchat.errors import LocalchatError
from localchat.pool import Entry
from localchat.store.runner import this_process

REPLAY_SECONDS = 300
"""How long the events of a response can still be had after its end."""


class Run:
    """One response in the background, and all of its events so far."""

    def __init__(self, order: Order, writer: ResponseWriter, keeper: Keeper) -> None:
        self.owner = order.who.owner
        self.writer = writer
        self.is_done = False
        self._order = order
        self._keeper = keeper
        self._frames: Frames = []
        self._news = asyncio.Event()

    async def go(self, entry: Entry) -> None:
        """Answer, come what may."""
        try:
            await self._answer(entry)
        except LocalchatError as error:
            self._add(self.writer.fail(error))
        except asyncio.CancelledError:
            self._add(self.writer.cancel())
        await self._keeper.keep(self.writer)
        self.is_done = True
        self._add(self.writer.last())

    async def start(self) -> None:
        """Keep it, so that it can be found from now on."""
        self._add(self.writer.queued())
        await self._keeper.keep(self.writer, this_process())

    async def follow(self, after: int = -1) -> AsyncIterator[bytes]:
        """Its events behind a sequence number, to the last."""
        sent = after + 1
        while True:
            news, done = self._news, self.is_done
            if fresh := self._frames[sent:]:
                sent += len(fresh)
                yield b"".join(fresh)
            elif done:
                break
            else:
                await news.wait()
        yield DONE

    async def _answer(self, entry: Entry) -> None:
        async with using(entry, None, self._order.body.keep_alive) as model:
            answer = await self._order.begin(model, self.writer)
        try:
            has_begun = False
            async for batch in answer.generation.batches():
                is_first, has_begun = not has_begun, True
                if is_first:  # until there is text, nobody can tell whether it has to wait
                    self._add(self.writer.begin(parser_of(answer)))
                self._add([frame for _, delta in batch for frame in self.writer.delta(delta)])
                if is_first and not self.writer.is_over:
                    await self._keeper.keep(self.writer, this_process())
        finally:
            answer.generation.close()

    def _add(self, frames: Frames) -> None:
        self._frames += frames
        news, self._news = self._news, asyncio.Event()
        news.set()


class Runs:
    """Those that go on, and those that ended a moment ago."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many go on."""
        return len(self._tasks)

    async def start(self, run: Run, entry: Entry) -> None:
        """Let a response go on by itself."""
        await run.start()
        id = run.writer.id
        self._runs[id] = run
        task = asyncio.ensure_future(run.go(entry))
        self._tasks[id] = task
        task.add_done_callback(lambda _: self._ended(id))

    def find(self, owner: str, id: str) -> Run | None:
        """A response by its id."""
        run = self._runs.get(id)
        return run if run and run.owner == owner else None

    async def cancel(self, run: Run) -> None:
        """End a response, and wait until that is kept."""
        if task := self._tasks.get(run.writer.id):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    def forget(self, id: str) -> None:
        """Its events are not needed any more."""
        self._runs.pop(id, None)

    async def close(self) -> None:
        """Wait until all have ended. Their models have."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _ended(self, id: str) -> None:
        del self._tasks[id]
        asyncio.get_running_loop().call_later(REPLAY_SECONDS, self.forget, id)


def _runs(request: Request) -> Runs:
    runs: Runs = request.app.state.runs
    return runs


Running = Annotated[Runs, Depends(_runs)]
