"""The worker: one process, one model. Reads requests from standard input, writes replies to standard output.

Two threads. The intake thread reads messages and does what takes time and needs no context: tokenizing, checking,
building samplers. The main thread is the engine's; whatever is to happen there waits in the inbox as a function.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.sequence import Sequence
from localchat.errors import ContextLengthExceeded, InvalidRequest, LocalchatError, QueueFull
from localchat.llama import library
from localchat.llama.calibration import calibrate
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.worker import messages as m

Job = Callable[[], None]


class Output:
    """The way back to the API process; either thread may write."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: m.Reply) -> None:
        """Write one message; blocks while the pipe is full."""
        data = memoryview(m.frame(message))
        with self._lock:
            while data:
                data = data[os.write(self._fd, data) :]


class Intake:
    """Turns messages into jobs for the engine's thread."""

    def __init__(self, engine: Engine, context: Context, output: Output, queue_size: int) -> None:
        self._engine = engine
        self._vocabulary = context.vocabulary
        self._output = output
        self._most = queue_size + context.parallel
        self.inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def read(self, requests: Iterator[m.Request]) -> None:
        """The intake thread: handle messages until there are no more. Ends the process however it ends itself."""
        try:
            for request in requests:
                self.handle(request)
        finally:
            self.inbox.put(None)

    def handle(self, message: m.Request) -> None:
        """Answer a message, or pass on a job; an error becomes a reply."""
        try:
            match message:
                case m.Submit():
                    self._submit(message)
                case m.Abort():
                    self.inbox.put(lambda: self._abort(message.sequences))
                case m.Tokenize():
                    tokens = self._vocabulary.tokenize(
                        message.text, add_bos=message.add_bos, parse_special=message.parse_special
                    )
                    self._output.send(m.Tokens(message.call, tokens))
                case m.Detokenize():
                    self._detokenize(message)
                case m.GetUsage():
                    self.inbox.put(lambda: self._report(message.call))
                case m.Shutdown():
                    self.inbox.put(None)
                case m.Load():
                    raise AssertionError("the model is loaded already")
        except LocalchatError as error:
            assert isinstance(message, m.Submit | m.Tokenize | m.Detokenize)
            id = message.sequence if isinstance(message, m.Submit) else message.call
            self._output.send(m.Failed.of(id, error))

    def _submit(self, message: m.Submit) -> None:
        tokens = self._tokens(message)
        room = self._engine.n_ctx - len(tokens)
        if room < (message.max_tokens != 0):
            raise ContextLengthExceeded(
                f"the prompt has {len(tokens)} tokens, and this model's context holds {self._engine.n_ctx} "
                "for prompt and answer together",
                param=message.param,
            )
        sampler = Sampler(message.params, self._vocabulary, self._engine.n_ctx)
        sampler.accept(tokens)
        sequence = Sequence(
            message.sequence,
            tokens,
            max_tokens=room if message.max_tokens is None else min(room, message.max_tokens),
            sampler=sampler,
            detokenizer=Detokenizer(message.stops),
            stop_tokens=self._stop_tokens(message.stops),
            logprobs=message.logprobs,
            prompt_logprobs=message.prompt_logprobs,
        )
        self.inbox.put(lambda: self._start(sequence))

    def _tokens(self, message: m.Submit) -> list[int]:
        self._vocabulary.check(list(message.params.logit_bias), "logit_bias")
        if isinstance(message.prompt, list):
            tokens = message.prompt
            self._vocabulary.check(tokens, message.param)
        else:
            tokens = self._vocabulary.tokenize(
                message.prompt, add_bos=message.add_bos, parse_special=message.parse_special
            )
        if not tokens:
            raise InvalidRequest("the prompt is empty, so there is nothing to continue", param=message.param)
        return tokens

    def _stop_tokens(self, stops: Iterable[str]) -> frozenset[int]:
        """The stops that are a control token: those have no text in which they could be found."""
        found = (self._vocabulary.control_token(stop) for stop in stops)
        return frozenset(token for token in found if token is not None)

    def _start(self, sequence: Sequence) -> None:
        if self._engine.load >= self._most:
            error = QueueFull(
                f"{self._engine.load} requests are running or waiting, which is as many as may; try later"
            )
            self._output.send(m.Failed.of(sequence.id, error))
            return
        self._engine.submit(sequence)
        self._output.send(m.Accepted(sequence.id, sequence.prompt_length))

    def _abort(self, sequences: list[int]) -> None:
        for sequence in sequences:
            self._engine.abort(sequence)

    def _detokenize(self, message: m.Detokenize) -> None:
        self._vocabulary.check(message.tokens, "tokens")
        pieces = b"".join(self._vocabulary.piece(token, special=True) for token in message.tokens)
        self._output.send(m.Text(message.call, pieces.decode("utf-8", "replace")))

    def _report(self, call: int) -> None:
        usage = self._engine.usage()
        self._output.send(
            m.UsageReport(call, usage.running, usage.waiting, usage.kv_tokens_running, usage.kv_tokens_cached)
        )


def run_engine(engine: Engine, inbox: queue.SimpleQueue[Job | None], output: Output) -> None:
    """The engine's loop: do what came in, then step; sleep when there is nothing to do. Ends on None."""
    while True:
        while engine.is_idle or not inbox.empty():
            job = inbox.get()
            if job is None:
                return
            job()
        deltas, failures = engine.step()
        if deltas:
            output.send(m.Step(deltas))
        for failure in failures:
            output.send(m.Failed.of(failure.sequence, failure.error))


def read_messages(fd: int) -> Iterator[m.Request]:
    """Each message, until the other side closes: then nobody is left to work for."""
    unframer = m.Unframer()
    while data := os.read(fd, 1 << 20):
        yield from map(m.decode_request, unframer.feed(data))


def load(request: m.Load) -> tuple[Context, m.Loaded]:
    """Load the model and make its context. Raises ModelLoadFailed."""
    model = Model(Path(request.path), gpu_layers=request.gpu_layers, mmap=request.mmap)
    if request.add_bos is not None:
        model.vocabulary.adds_bos = request.add_bos
    params = ContextParams(
        n_ctx=request.n_ctx,
        parallel=request.parallel,
        batch_size=max(request.batch_size, request.parallel),
        ubatch_size=request.ubatch_size,
        threads=request.threads,
        kv_type=request.kv_type,
        kv_unified=request.kv_unified,
        flash_attn=request.flash_attn,
        outputs=request.outputs,
    )
    context = Context(model, params)
    single_row_threads = calibrate(context, request.threads)
    vocabulary = model.vocabulary
    info = m.Loaded(
        n_ctx=context.n_ctx,
        parallel=context.parallel,
        trained_context=model.trained_context,
        vocabulary_size=vocabulary.size,
        description=model.description,
        gpu_offload=library.supports_gpu(),
        bos=vocabulary.text(vocabulary.bos),
        eos=vocabulary.text(vocabulary.eos),
        has_infill=vocabulary.has_infill,
        single_row_threads=single_row_threads,
        system_info=library.system_info(),
    )
    return context, info


def _claim_stdout() -> int:
    """Keep standard output for messages alone: whatever else prints goes to standard error."""
    fd = os.dup(1)
    os.dup2(2, 1)
    return fd


def main() -> None:
    """Load what the first message names, then serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the API process decides
    output = Output(_claim_stdout())
    requests = read_messages(0)
    request = next(requests, None)
    if not isinstance(request, m.Load):
        return
    try:
        context, info = load(request)
    except LocalchatError as error:
        output.send(m.Failed.of(0, error))
        sys.exit(1)
    engine = Engine(context, budget=context.batch.capacity, outputs=context.outputs)
    intake = Intake(engine, context, output, request.queue_size)
    threading.Thread(target=intake.read, args=(requests,), name="intake", daemon=True).start()
    output.send(info)
    run_engine(engine, intake.inbox, output)
    os._exit(0)  # the memory goes back faster than by freeing it piece by piece


if __name__ == "__main__":
    main()
