"""A process that measures one GGUF file: what llama.cpp aborts on ends it alone, and its end returns the memory.

    python -m localchat.tuning.process

Reads an `Open` and then `Trial`s from standard input, a line of JSON each, and answers each trial with a line on
standard output. It ends with its input.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from localchat.errors import LocalchatError
from localchat.llama.calibration import calibrate
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.tuning.messages import Open, Prompt, Refused, Reply, Setup, Times, Trial
from localchat.tuning.workload import run

_KEPT = 3
"""Contexts at a time: they take turns."""
_OUTPUTS = 16
"""Rows at least whose logits can be had: a token and guesses at what follows it."""
_WARM_UP = 32


class Bench:
    """A model and the contexts that were last measured with it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._contexts: dict[Setup, Context] = {}
        self._single: dict[int, int] = {}

    def measure(self, trial: Trial) -> Times:
        """Do the work of a trial. Raises ModelLoadFailed, EngineError."""
        setup = trial.setup
        context = self._context(setup)
        single = setup.single_row_threads or self._found(context, setup.threads)
        context.set_threads(single, setup.threads)
        return Times(tuple(run(context, work, shared=not setup.kv_unified) for work in trial.works), single)

    def _context(self, setup: Setup) -> Context:
        key = msgspec.structs.replace(setup, threads=1, single_row_threads=0)
        context = self._contexts.pop(key, None)
        if context is None:
            while len(self._contexts) >= _KEPT:
                self._contexts.pop(next(iter(self._contexts))).close()
            context = self._make(setup)
        self._contexts[key] = context
        return context

    def _make(self, setup: Setup) -> Context:
        context = Context(
            self._model,
            ContextParams(
                n_ctx=setup.n_ctx,
                parallel=setup.parallel,
                batch_size=max(setup.batch_size, setup.parallel),
                ubatch_size=setup.ubatch_size,
                threads=setup.threads,
                kv_type=setup.kv_type,
                kv_unified=setup.kv_unified,
                flash_attn=setup.flash_attn,
                outputs=max(setup.parallel, _OUTPUTS),
            ),
        )
        run(context, Prompt(min(_WARM_UP, setup.n_ctx)))  # the first pass pages weights and buffers in
        context.drop(0)
        return context

    def _found(self, context: Context, threads: int) -> int:
        if threads not in self._single:
            self._single[threads] = calibrate(context, threads).single_row_threads
        return self._single[threads]


def main() -> None:
    """Measure until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the command ends this process
    output = os.dup(1)
    os.dup2(2, 1)  # whatever else prints goes to standard error
    lines = iter(sys.stdin.buffer.readline, b"")
    opening = msgspec.json.decode(next(lines, b"null"), type=Open | None)
    bench: Bench | None = None
    for line in lines:
        trial = msgspec.json.decode(line, type=Trial)
        assert opening is not None, "a trial before the weights were named"
        reply: Reply
        try:
            bench = bench or Bench(Model(Path(opening.path), gpu_layers=opening.gpu_layers, mmap=opening.mmap))
            reply = bench.measure(trial)
        except LocalchatError as error:
            reply = Refused(type(error).__name__, error.message)
        os.write(output, msgspec.json.encode(reply) + b"\n")
    os._exit(0)  # the memory goes back faster than by freeing it piece by piece


if __name__ == "__main__":
    main()
