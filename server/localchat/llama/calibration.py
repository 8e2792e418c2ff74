"""Finds, once after loading, how many threads a step with a single row is worth.

A single row is bound by memory, not by arithmetic: on few cores the last thread adds little to it, and it takes the
core on which the API process and the clients would run. The choice is made once, because llama.cpp splits the attention
of a single row by threads, and sums in another order give another text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from localchat.llama.batch import Batch

WORTH = 1.15
"""One thread less is taken unless all threads are this much faster: less than that, they lose again over HTTP."""
_TRIALS = 8
_SECONDS = 1.0


class Calibrated(Protocol):
    """What is asked of a context here."""

    batch: Batch

    def decode(self) -> None:
        """Compute the batch."""

    def logits(self, rows: int) -> object:
        """Wait for the result."""

    def drop(self, sequence: int) -> None:
        """Forget a sequence."""

    def set_threads(self, single: int, several: int) -> None:
        """Change the number of threads."""


def calibrate(context: Calibrated, threads: int, clock: Callable[[], float] = time.perf_counter, known: int = 0) -> int:
    """Set and return the number of threads for single rows; steps of more rows take all `threads`.

    A number that is `known` is not measured. Also warms up: the first decode pages the weights in.
    """
    fewer = threads - 1
    _decode_once(context, clock)
    if known:
        context.set_threads(known, threads)
        return known
    if fewer:
        times = {threads: float("inf"), fewer: float("inf")}
        start = clock()
        for trial in range(_TRIALS):
            for count in times:
                context.set_threads(count, threads)
                times[count] = min(times[count], _decode_once(context, clock))
            if trial and clock() - start > _SECONDS:
                break
        threads_worth_it = times[fewer] > times[threads] * WORTH
        context.set_threads(threads if threads_worth_it else fewer, threads)
        return threads if threads_worth_it else fewer
    return threads


def _decode_once(context: Calibrated, clock: Callable[[], float]) -> float:
    """Seconds of one row at the start of an empty sequence."""
    context.batch.clear()
    context.batch.add(0, 0, [0], last=True)
    start = clock()
    context.decode()
    context.logits(1)
    elapsed = clock() - start
    context.drop(0)
    return elapsed
