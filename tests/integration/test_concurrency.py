"""Many clients at once, of which some leave: afterwards nothing of theirs may be left in the engine.

The server runs in the test's own event loop, behind real HTTP, so that the engine can be asked what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from localchat.api.app import create_app
from localchat.api.server import Server, bind
from localchat.hub.progress import SilentProgress
from localchat.pool import Launcher, ModelPool
from localchat.registry import load_registry
from localchat.settings import load_settings
from localchat.worker.client import WorkerClient
from localchat.worker.messages import UsageReport

from .serving import MODEL

SEED = 20261121
LONG = {"max_tokens": 900, "ignore_eos": True}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Home:
    """A server in this process."""

    client: httpx.AsyncClient
    pool: ModelPool

    @property
    def worker(self) -> WorkerClient:
        model = self.pool.named[MODEL].model
        assert model is not None, "the model is not loaded"
        return model.worker

    async def reaches(self, condition: Callable[[UsageReport], bool], seconds: float = 30) -> UsageReport:
        """Ask the engine until the condition holds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition(usage := await self.worker.usage()):
            assert asyncio.get_running_loop().time() < deadline, f"still {usage}"
            await asyncio.sleep(0.01)
        return usage

    async def is_left_empty(self) -> UsageReport:
        """Nothing runs or waits, and the KV cache holds what it should: the engine counts it when it is idle."""
        usage = await self.reaches(lambda usage: usage.running == usage.waiting == 0)
        assert usage.kv_tokens_running == 0
        return usage

    async def chat(self, content: str, *, stream: bool, **body: Any) -> dict[str, Any]:
        """Ask, and read the answer to its end; of a stream, the usage chunk."""
        request = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": stream, **body}
        if not stream:
            reply = await self.client.post(CHAT, json=request)
            assert reply.status_code == 200, reply.text
            whole: dict[str, Any] = reply.json()
            return whole
        *_, usage = [chunk async for chunk in self.chunks(request)]
        return usage

    async def chunks(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks of a stream that must not be broken off."""
        request = {**request, "stream": True, "stream_options": {"include_usage": True}}
        async with self.client.stream("POST", CHAT, json=request) as reply:
            assert reply.status_code == 200, await reply.aread()
            lines = (line async for line in reply.aiter_lines() if line.startswith("data: "))
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if line == "data: [DONE]":
                        return
                    yield json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream was broken off")


Open = Callable[..., Awaitable[Home]]


@pytest.fixture
async def open_home(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Starts a server in this loop, with settings."""
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "none.toml"))
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> Home:
            given = {
                "ctx_size": 1024,
                "threads": 1,
                "parallel": 4,
                "port": 0,
                "models_dir": models_dir,
                "prefix_disk": 0,
            }
            given |= options
            settings = load_settings(**given)
            launcher = Launcher(settings, load_registry())
            pool = ModelPool(launcher.prepare_named(SilentProgress()), launcher)
            server = Server(create_app(pool, settings), pool, settings)
            sock = bind(settings)
            running = asyncio.create_task(server.serve(sockets=[sock]))

            async def stop() -> None:
                server.should_exit = True
                await running

            stack.push_async_callback(stop)
            limits = httpx.Limits(max_connections=None)
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            client = httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False)
            await stack.enter_async_context(client)
            async with pool.find(MODEL).use():
                return Home(client, pool)

        yield start


async def leave(task: asyncio.Task[Any]) -> None:
    """The client hangs up."""
    assert not task.done(), "there was nothing to leave any more"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# A crowd


@dataclass
class Tally:
    """Counts the chunks that all have received, so that a client can leave at a certain moment."""

    seen: int = 0
    waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    def note(self) -> None:
        self.seen += 1
        for count, event in self.waiting:
            if self.seen >= count:
                event.set()

    async def reach(self, count: int) -> None:
        event = asyncio.Event()
        self.waiting.append((count, event))
        await event.wait()


async def streaming_client(home: Home, tally: Tally, dice: random.Random, *, leaves: bool) -> None:
    tokens = 900 if leaves else dice.randint(8, 30)
    words = dice.choice([1, 5, 15, 40])
    request = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{dice.random()} " + "tell me more " * words}],
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    left_at, seen, usage = dice.randint(1, 6), 0, None
    chunks = home.chunks(request)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            tally.note()
            seen, usage = seen + 1, chunk["usage"]
            if leaves and seen == left_at:
                return
    assert not leaves
    assert usage
    assert usage["completion_tokens"] == tokens


async def plain_client(home: Home, tally: Tally, dice: random.Random, *, leaves: bool) -> None:
    words = dice.choice([1, 5, 15])
    tokens = 900 if leaves else dice.randint(4, 20)
    asked = home.chat("say it again " * words, stream=False, max_tokens=tokens, ignore_eos=True)
    if not leaves:
        assert (await asked)["usage"]["completion_tokens"] == tokens
        return
    task = asyncio.create_task(asked)
    await tally.reach(dice.randint(1, 60))
    await leave(task)


async def test_nothing_is_left_of_a_crowd_of_which_a_third_leaves(open_home: Open) -> None:
    home, tally, dice = await open_home(parallel=8), Tally(), random.Random(SEED)
    worker = home.worker
    streams = [streaming_client(home, tally, dice, leaves=number % 3 == 0) for number in range(32)]
    plains = [plain_client(home, tally, dice, leaves=number % 2 == 0) for number in range(8)]
    await asyncio.gather(*streams, *plains)
    await home.is_left_empty()
    assert home.worker is worker
    assert worker.is_alive
    assert (await home.chat("Hi", stream=False, max_tokens=2))["usage"]["completion_tokens"] == 2


# Leaving in each state


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_client_that_leaves_the_queue_is_forgotten(open_home: Open, stream: bool) -> None:
    home = await open_home(parallel=2)
    running = [asyncio.create_task(home.chat(f"{n}", stream=True, **LONG)) for n in range(2)]
    await home.reaches(lambda usage: usage.running == 2)
    queued = asyncio.create_task(home.chat("third", stream=stream, **LONG))
    await home.reaches(lambda usage: usage.waiting == 1)
    await leave(queued)
    await home.reaches(lambda usage: usage.waiting == 0)
    assert (await home.worker.usage()).running == 2
    for task in running:
        await leave(task)
    await home.is_left_empty()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_client_that_leaves_while_its_prompt_is_read_stops_the_reading(open_home: Open, stream: bool) -> None:
    home = await open_home(batch_size=32)
    task = asyncio.create_task(home.chat("word " * 900, stream=stream, **LONG))
    await home.reaches(lambda usage: usage.kv_tokens_running > 0)
    await leave(task)
    assert (await home.is_left_empty()).kv_tokens_cached < 900


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_client_that_leaves_while_its_answer_is_made_stops_the_making(open_home: Open, stream: bool) -> None:
    home = await open_home()
    task = asyncio.create_task(home.chat("Hi", stream=stream, **LONG))
    await home.reaches(lambda usage: usage.kv_tokens_running > 50)
    await leave(task)
    assert (await home.is_left_empty()).kv_tokens_cached < 900


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_client_that_leaves_takes_all_its_choices_along(open_home: Open, stream: bool) -> None:
    home = await open_home(parallel=2)
    task = asyncio.create_task(home.chat("Hi", stream=stream, n=5, **LONG))
    await home.reaches(lambda usage: usage.running == 2 and usage.waiting == 3)
    await leave(task)
    await home.is_left_empty()


# A full house


async def test_more_requests_than_may_wait_are_refused_for_now(open_home: Open) -> None:
    home = await open_home(parallel=1, queue_size=1)
    tasks = [asyncio.create_task(home.chat(f"{n}", stream=True, **LONG)) for n in range(2)]
    await home.reaches(lambda usage: usage.running == usage.waiting == 1)
    messages = [{"role": "user", "content": "Hi"}]
    refused = await home.client.post(CHAT, json={"model": MODEL, "messages": messages})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "queue_full"
    for task in tasks:
        await leave(task)
    await home.is_left_empty()
    assert await home.chat("Hi", stream=False, max_tokens=1)


async def test_stream_goes_on_while_another_prompt_is_read(open_home: Open) -> None:
    home = await open_home(batch_size=32)
    seen = 0

    async def count() -> None:
        nonlocal seen
        async for _ in home.chunks({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **LONG}):
            seen += 1

    running = asyncio.create_task(count())
    await home.reaches(lambda _: seen > 2)
    before = seen
    await home.chat("word " * 400, stream=False, max_tokens=1)
    assert seen - before > 8  # of the 13 steps that the prompt takes
    await leave(running)
    await home.is_left_empty()
