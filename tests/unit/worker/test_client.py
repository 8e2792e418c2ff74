"""The API process's end of a worker, against a worker that follows a script."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from localchat.errors import (
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ShuttingDown,
    WorkerDied,
)
from localchat.sampling_params import SamplingParams
from localchat.worker.client import Generation, WorkerClient
from localchat.worker.messages import Load, Submit

COMMAND = (sys.executable, str(Path(__file__).with_name("scripted_worker.py")))
PATIENCE = 30
"""Seconds until a test gives up on an answer that never comes."""

Start = Callable[..., Awaitable[WorkerClient]]
T = TypeVar("T")


def load(path: str) -> Load:
    return Load(path, 64, 2, 16, 16, 1, 0, "f16", False, "auto", True, 8, 4)


def prompt(text: str) -> Submit:
    return Submit(0, text, SamplingParams())


async def within(answer: Awaitable[T]) -> T:
    return await asyncio.wait_for(answer, PATIENCE)


@pytest.fixture
def exits() -> list[WorkerClient]:
    """Whose end has been told of."""
    return []


@pytest.fixture
async def start(exits: list[WorkerClient]) -> AsyncIterator[Start]:
    """Starts scripted workers, and sees to it that none is left and that no callback has failed unseen."""
    processes: list[asyncio.Event] = []
    clients: list[WorkerClient] = []
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))

    async def start(path: str = "works", client: type[WorkerClient] = WorkerClient) -> WorkerClient:
        ended = asyncio.Event()
        processes.append(ended)

        def on_exit(client: WorkerClient) -> None:
            exits.append(client)
            ended.set()

        clients.append(await within(client.start(load(path), on_exit, command=COMMAND)))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()
    for ended in processes:
        await within(ended.wait())
    clients.clear()
    exits.clear()
    gc.collect()  # futures tell of an error that nobody asked for when they go
    assert unseen == []


class Hasty(WorkerClient):
    """Is used at the moments between a process's end and the news of it."""

    late: Generation

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self.late = self.submit([prompt("say too late")])

    def process_exited(self) -> None:
        self.kill()


async def read(generation: Generation) -> dict[int, str]:
    """The texts of all sequences, by index."""
    texts: dict[int, str] = {}
    async for batch in generation.batches():
        for index, delta in batch:
            texts[index] = texts.get(index, "") + delta.text
    return texts


async def first(generation: Generation) -> str:
    """The first text that comes, of whichever sequence."""
    async for batch in generation.batches():
        return batch[0][1].text
    raise AssertionError("nothing came")


async def open_sequences(client: WorkerClient) -> int:
    return (await within(client.usage())).running


# Loading.


async def test_start_tells_what_was_loaded(start: Start) -> None:
    client = await start("works")
    assert (client.info.n_ctx, client.info.parallel, client.info.description) == (64, 2, "works")
    assert client.is_alive
    assert client.pid > 0


async def test_load_failure_has_the_words_of_standard_error(start: Start) -> None:
    message = "llama.cpp could not load fails: error loading model: unknown architecture"
    with pytest.raises(ModelLoadFailed, match=f"^{re.escape(message)}$"):
        await start("fails")


async def test_death_while_loading_is_a_load_failure(start: Start) -> None:
    with pytest.raises(ModelLoadFailed, match=r"ended with status 7: ggml_abort: out of memory$"):
        await start("dies")


async def test_death_without_words_names_the_status(start: Start) -> None:
    with pytest.raises(ModelLoadFailed, match=r"ended with status 9$"):
        await start("dies silently")


async def test_command_that_is_no_worker_is_a_load_failure() -> None:
    with pytest.raises(ModelLoadFailed, match="ended with status 5"):
        await within(WorkerClient.start(load("works"), command=(sys.executable, "-c", "raise SystemExit(5)")))


async def test_start_given_up_before_there_is_a_process_leaves_none(start: Start) -> None:
    task = asyncio.ensure_future(start("never loads"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_start_given_up_while_loading_ends_the_process(start: Start) -> None:
    heard = asyncio.Event()

    class Listening(WorkerClient):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            super().pipe_data_received(fd, data)
            heard.set()

    task = asyncio.ensure_future(start("never loads", Listening))
    await within(heard.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Generating.


async def test_text_comes_as_it_was_said(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("say Hällo 👩‍🚀")])
    await within(generation.accepted())
    assert generation.prompt_tokens == [len("Hällo 👩‍🚀")]
    assert await within(read(generation)) == {0: "Hällo 👩‍🚀"}


async def test_sequences_of_one_generation_are_told_apart(start: Start) -> None:
    client = await start()
    await within(client.tokenize("takes an id"))
    generation = client.submit([prompt("say first"), prompt("start se"), prompt("say third"), prompt("end cond")])
    await within(generation.accepted())
    assert generation.prompt_tokens == [5, 2, 5, 0]
    assert await within(read(generation)) == {0: "first", 1: "second", 2: "third", 3: "cond"}


async def test_generations_run_side_by_side(start: Start) -> None:
    client = await start()
    words = ["one", "two", "three", "four"]
    generations = [client.submit([prompt(f"say {word}")]) for word in words]
    assert await within(asyncio.gather(*map(read, generations))) == [{0: word} for word in words]


async def test_deltas_of_a_generation_that_was_read_late_are_all_there(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("say patience")])
    await within(client.usage())  # everything has been said by now
    assert await within(read(generation)) == {0: "patience"}


async def test_finished_generation_can_be_closed(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("say done")])
    await within(read(generation))
    generation.close()
    generation.close()
    assert await within(client.detokenize([72, 105])) == "Hi"


# Errors about one request.


async def test_refusal_is_raised_by_accepted(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("refuse the prompt is too long")])
    with pytest.raises(ContextLengthExceeded, match="the prompt is too long") as caught:
        await within(generation.accepted())
    assert caught.value.param == "messages"
    assert await within(read(client.submit([prompt("say next")]))) == {0: "next"}


async def test_refusal_of_one_sequence_is_raised_although_another_has_spoken(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("start words"), prompt("overflow no room")])
    await within(client.usage())
    with pytest.raises(QueueFull, match="no room"):
        await within(generation.accepted())
    generation.close()
    assert await open_sequences(client) == 0


async def test_refusal_is_raised_to_who_reads_at_once(start: Start) -> None:
    client = await start()
    with pytest.raises(ContextLengthExceeded, match="too long"):
        await within(read(client.submit([prompt("refuse too long")])))


# Leaving.


async def test_close_aborts_what_has_not_ended(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("start one"), prompt("say two"), prompt("start three")])
    await within(generation.accepted())
    assert await open_sequences(client) == 2
    generation.close()
    assert await open_sequences(client) == 0


async def test_close_twice_aborts_once(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("start one")])
    await within(generation.accepted())
    generation.close()
    generation.close()
    assert await open_sequences(client) == 0


async def test_deltas_after_an_abort_are_dropped(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("start one")])
    assert await within(first(generation)) == "one"
    generation.close()
    assert await open_sequences(client) == 0  # by now the late deltas have arrived
    assert await within(read(generation)) == {}


async def test_abort_leaves_others_alone(start: Start) -> None:
    client = await start()
    left, stays = client.submit([prompt("start a")]), client.submit([prompt("start b")])
    assert [await within(first(left)), await within(first(stays))] == ["a", "b"]
    left.close()
    client.submit([prompt("end !")])
    assert await within(read(stays)) == {0: "!"}


# Death.


async def test_death_is_told_to_every_generation_and_call(start: Start, exits: list[WorkerClient]) -> None:
    client = await start()
    speaking, silent = client.submit([prompt("start a")]), client.submit([prompt("stall")])
    assert await within(first(speaking)) == "a"
    waits = [read(speaking), silent.accepted(), client.tokenize("stall"), client.tokenize("stall")]
    everybody = asyncio.gather(*waits, return_exceptions=True)
    await asyncio.sleep(0)  # all have asked
    doomed = client.submit([prompt("die")])
    outcomes = [*await within(everybody), *await within(asyncio.gather(read(doomed), return_exceptions=True))]
    assert [type(outcome) for outcome in outcomes] == [WorkerDied] * 5
    assert str(outcomes[0]) == "the model's process ended with status 3; send the request again"
    assert not client.is_alive
    assert exits == [client]


async def test_death_over_a_call_ends_the_call(start: Start) -> None:
    client = await start()
    with pytest.raises(WorkerDied):
        await within(client.tokenize("die"))


async def test_process_may_end_unnoticed_before_a_request_or_a_kill(start: Start) -> None:
    client = await start(client=Hasty)
    assert isinstance(client, Hasty)
    with pytest.raises(WorkerDied):
        await within(client.tokenize("die"))
    with pytest.raises(WorkerDied):
        await within(client.late.accepted())


async def test_killed_worker_is_a_dead_worker(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("stall")])
    client.kill()
    client.kill()
    with pytest.raises(WorkerDied, match="status -9"):
        await within(generation.accepted())


async def test_dead_worker_takes_no_requests(start: Start, exits: list[WorkerClient]) -> None:
    client = await start()
    generation = client.submit([prompt("die")])
    with pytest.raises(WorkerDied):
        await within(read(generation))
    with pytest.raises(EngineError, match="has ended"):
        client.submit([prompt("say hello")])
    with pytest.raises(EngineError, match="has ended"):
        await client.usage()
    generation.close()
    client.kill()
    await within(client.stop())
    assert exits == [client]


# Calls.


async def test_calls_get_their_own_answers(start: Start) -> None:
    client = await start()
    answers = await within(
        asyncio.gather(
            client.tokenize("ab"),
            client.tokenize("a", add_bos=True, parse_special=True),
            client.detokenize([104, 105]),
            client.tokenize(""),
        )
    )
    assert list(answers) == [[0, 0, 97, 98], [1, 1, 97], "hi", [0, 0]]


async def test_failed_call_raises_its_error(start: Start) -> None:
    client = await start()
    with pytest.raises(InvalidRequest, match="nothing to read") as caught:
        await within(client.detokenize([]))
    assert caught.value.param == "tokens"


async def test_answer_that_nobody_waits_for_is_dropped(start: Start) -> None:
    client = await start()
    task = asyncio.ensure_future(client.usage())
    await asyncio.sleep(0)
    task.cancel()
    assert await within(client.detokenize([104, 105])) == "hi"


# Stopping.


async def test_stop_ends_the_process(start: Start, exits: list[WorkerClient]) -> None:
    client = await start()
    await within(client.stop())
    assert not client.is_alive
    await within(client.stop())
    assert exits == [client]


async def test_stop_tells_its_reason_to_those_who_wait(start: Start) -> None:
    client = await start()
    generation = client.submit([prompt("start a")])
    waiting = asyncio.ensure_future(read(generation))
    await within(client.stop(ShuttingDown("the server stopped")))
    with pytest.raises(ShuttingDown, match="the server stopped"):
        await within(waiting)


async def test_worker_that_does_not_stop_is_killed(start: Start) -> None:
    client = await start("stubborn")
    await within(client.stop(seconds=0))
    assert not client.is_alive
