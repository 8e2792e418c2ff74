"""The API process's end of a worker: starts the process, sends requests, hands out what comes back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec
import psutil

from localchat.errors import EngineError, LocalchatError, ModelLoadFailed, WorkerDied
from localchat.lane import Lane
from localchat.outputs import Delta
from localchat.worker import messages as m

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer", m.Tokens, m.Text, m.Vectors, m.UsageReport)
_COMMAND = (sys.executable, "-m", "localchat.worker.process")
_LOG_LINES = 40


def resident_bytes(process: psutil.Process) -> int:
    """RAM that only the process's end gives back; none of a process that has ended.

    Pages that are mapped from a file of weights are not among it: the kernel drops those when it wants memory.
    """
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))


class Generation:
    """The sequences of one request, as they grow. Leaving it aborts what has not ended."""

    def __init__(self, client: WorkerClient, submits: list[m.Submit]) -> None:
        self._client = client
        self._index = {submit.sequence: index for index, submit in enumerate(submits)}
        self._waiting = set(self._index)  # not accepted yet
        self._open = set(self._index)  # not finished yet
        self._mail: deque[Delta | LocalchatError] = deque()
        self._bell: asyncio.Future[None] | None = None
        self.prompt_tokens = [0] * len(submits)

    async def accepted(self) -> None:
        """Wait until every sequence is queued. Raises what the worker has against one, and then aborts the others."""
        try:
            while self._waiting:
                for mail in self._mail:  # one sequence may have spoken before another fails
                    if isinstance(mail, LocalchatError):
                        raise mail
                await self._ring()
        except BaseException:
            self.close()
            raise

    async def batches(self) -> AsyncIterator[list[tuple[int, Delta]]]:
        """What has come since the last look, as (index of the sequence, delta). Raises EngineError."""
        while self._open or self._mail:
            if not self._mail:
                await self._ring()
            batch = []
            while self._mail:
                delta = self._mail.popleft()
                if isinstance(delta, LocalchatError):
                    raise delta
                batch.append((self._index[delta.sequence], delta))
            yield batch

    def close(self) -> None:
        """Abort what has not ended. May be called twice."""
        if self._open:
            self._client._abort(self._open)
            self._open = set()

    def _take(self, message: Delta | m.Accepted | LocalchatError) -> None:
        """Called by the client with what concerns this request."""
        match message:
            case Delta():
                if message.finish is not None:
                    self._open.discard(message.sequence)
                self._mail.append(message)
            case m.Accepted():
                self._waiting.discard(message.sequence)
                self.prompt_tokens[self._index[message.sequence]] = message.prompt_tokens
            case _:
                self._mail.append(message)
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def _ring(self) -> None:
        self._bell = asyncio.get_running_loop().create_future()
        await self._bell


class WorkerClient(asyncio.SubprocessProtocol):
    """A worker process. Use `start`.

    `on_exit` is called once, when the process has ended; `on_idle` whenever the last request has had its answer.
    """

    def __init__(
        self,
        on_exit: Callable[[WorkerClient], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self._on_exit = on_exit
        self._on_idle = on_idle
        self._ids = itertools.count(1)
        self._unframer = m.Unframer()
        self._generations: dict[int, Generation] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._exited = asyncio.Event()
        self._reason: LocalchatError | None = None
        self._loaded: asyncio.Future[m.Loaded] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self.info: m.Loaded

    @classmethod
    async def start(
        cls,
        load: m.Load,
        on_exit: Callable[[WorkerClient], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        *,
        command: Sequence[str] = _COMMAND,
    ) -> WorkerClient:
        """Start a process and load a model in it. Raises ModelLoadFailed with llama.cpp's own words."""
        client = cls(on_exit, on_idle)
        try:
            await asyncio.get_running_loop().subprocess_exec(lambda: client, *command)
            client._send(load)
            client.info = await client._loaded
        except BaseException:
            client._loaded.cancel()
            client.kill()
            raise
        return client

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self._transport is not None, "the worker has not started"
        return self._transport.get_pid()

    @property
    def is_alive(self) -> bool:
        """Whether requests can still be sent."""
        return not self._exited.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether a sequence or a call has not ended yet."""
        return bool(self._generations or self._calls)

    @property
    def resident(self) -> int:
        """Bytes of RAM that only the process's end gives back."""
        try:
            return resident_bytes(psutil.Process(self.pid))
        except psutil.Error:  # it has ended
            return 0

    def submit(self, prompts: Iterable[m.Submit]) -> Generation:
        """Start the sequences of one request; their ids are given here."""
        self._check_alive()
        submits = [msgspec.structs.replace(prompt, sequence=next(self._ids)) for prompt in prompts]
        generation = Generation(self, submits)
        self._generations.update((submit.sequence, generation) for submit in submits)
        self._send(*submits)
        return generation

    async def tokenize(self, text: str, *, add_bos: bool = False, parse_special: bool = False) -> list[int]:
        """Token ids of a text."""
        return (await self._call(m.Tokens, lambda call: m.Tokenize(call, text, add_bos, parse_special))).tokens

    async def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids. Raises InvalidRequest for an id outside the vocabulary."""
        return (await self._call(m.Text, lambda call: m.Detokenize(call, tokens))).text

    async def embed(
        self, texts: list[str | list[int]], *, param: str = "input", lane: Lane = Lane.INTERACTIVE, key: str = ""
    ) -> m.Vectors:
        """The vectors of texts. Raises InvalidRequest, ContextLengthExceeded, QueueFull, EngineError."""
        return await self._call(m.Vectors, lambda call: m.Embed(call, texts, param, lane, key))

    async def usage(self) -> m.UsageReport:
        """What is in use in the engine."""
        return await self._call(m.UsageReport, m.GetUsage)

    async def stop(self, reason: LocalchatError | None = None, seconds: float = 5.0) -> None:
        """Ask the process to end, and kill it if it does not. Whoever still waits gets the reason."""
        self._reason = reason
        if self.is_alive:
            self._send(m.Shutdown())
            try:
                await asyncio.wait_for(self._exited.wait(), seconds)
            except asyncio.TimeoutError:
                self.kill()
                await self._exited.wait()

    def kill(self) -> None:
        """End the process at once."""
        if self.is_alive and self._transport is not None:
            with suppress(ProcessLookupError):  # it has ended by itself, and `connection_lost` is on its way
                self._transport.kill()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process has started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)  # uvloop's does not derive from it
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Replies on standard output; llama.cpp's warnings on standard error."""
        if fd == 1:
            for body in self._unframer.feed(data):
                self._dispatch(m.decode_reply(body))
        else:
            self._log.extend(line for line in data.decode(errors="replace").splitlines() if line.strip())

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended and its last words are read: everybody who still waits is told."""
        assert self._transport is not None
        status = self._transport.get_returncode()
        self._transport.close()
        self._exited.set()
        if not self._loaded.done():
            self._loaded.set_exception(
                ModelLoadFailed(f"the model's process ended with status {status}{self._words()}")
            )
        died = self._reason or WorkerDied(f"the model's process ended with status {status}; send the request again")
        for generation in set(self._generations.values()):
            generation._open.clear()
            generation._take(died)
        for call in self._calls.values():
            if not call.done():
                call.set_exception(died)
        self._generations.clear()
        self._calls.clear()
        if self._on_exit is not None:
            self._on_exit(self)

    def _dispatch(self, reply: m.Reply) -> None:
        match reply:
            case m.Step():
                for delta in reply.deltas:
                    generation = self._generations.get(delta.sequence)
                    if generation is None:
                        continue  # aborted while this was on its way
                    if delta.finish is not None:
                        del self._generations[delta.sequence]
                    generation._take(delta)
                self._tell_if_idle()
            case m.Accepted():
                if generation := self._generations.get(reply.sequence):
                    generation._take(reply)
            case m.Failed():
                self._fail(reply)
            case m.Notice():
                log.warning("%s", reply.text)
            case m.Loaded():
                if not self._loaded.done():  # nobody waits any more where the start was given up
                    self._loaded.set_result(reply)
            case _:
                if (call := self._calls.pop(reply.id, None)) and not call.done():
                    call.set_result(reply)
                self._tell_if_idle()

    def _fail(self, reply: m.Failed) -> None:
        error = reply.exception()
        if reply.id == 0:
            if not self._loaded.done():
                self._loaded.set_exception(ModelLoadFailed(error.message + self._words()))
        elif generation := self._generations.pop(reply.id, None):
            generation._open.discard(reply.id)
            generation._take(error)
        elif (call := self._calls.pop(reply.id, None)) and not call.done():
            call.set_exception(error)
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if self._on_idle is not None and not self.is_busy:
            self._on_idle()

    async def _call(self, answer: type[_Answer], request: Callable[[int], m.Request]) -> _Answer:
        self._check_alive()
        call = next(self._ids)
        self._calls[call] = asyncio.get_running_loop().create_future()
        self._send(request(call))
        try:
            reply = await self._calls[call]
        except asyncio.CancelledError:
            self._abort({call})
            raise
        assert isinstance(reply, answer)
        return reply

    def _abort(self, sequences: set[int]) -> None:
        for sequence in sequences:
            self._generations.pop(sequence, None)
            self._calls.pop(sequence, None)
        if self.is_alive:
            self._send(m.Abort(list(sequences)))
        self._tell_if_idle()

    def _send(self, *messages: m.Request) -> None:
        assert self._stdin is not None, "the worker has not started"
        if not self._stdin.is_closing():  # if it is, `connection_lost` will tell whoever waits for an answer
            self._stdin.write(b"".join(map(m.frame, messages)))

    def _check_alive(self) -> None:
        if not self.is_alive:
            raise EngineError("the model's process has ended")

    def _words(self) -> str:
        """The last of what the process said on standard error, fit to end a message."""
        said = [line for line in self._log if "error" in line.lower()] or list(self._log)[-1:]
        return f": {said[0].strip()}" if said else ""
