"""Finds, once after loading, how many threads a step with a single row is worth.

A single row is bound by memory, not by arithmetic: on few cores the last thread adds little to it, and it takes the
core on which the API process and the clients would run. The choice is made once, because llama.cpp splits the attention
of a single row by threads, and sums in another order give another text.
"""

from __future__ import annotations

import time

from localchat.llama.context import Context

WORTH = 1.15
"""One thread less is taken unless all threads are this much faster: less than that, they lose again over HTTP."""
_TRIALS = 8
_SECONDS = 1.0


def calibrate(context: Context, threads: int) -> int:
    """Set and return the number of threads for single rows; steps of more rows take all `threads`.

    Also warms up: the first decode pages the weights in.
    """
    fewer = threads - 1
    _decode_once(context)
    if fewer:
        times = {threads: float("inf"), fewer: float("inf")}
        start = time.perf_counter()
        for trial in range(_TRIALS):
            for count in times:
                context.set_threads(count, threads)
                times[count] = min(times[count], _decode_once(context))
            if trial and time.perf_counter() - start > _SECONDS:
                break
        threads_worth_it = times[fewer] > times[threads] * WORTH
        context.set_threads(threads if threads_worth_it else fewer, threads)
        return threads if threads_worth_it else fewer
    return threads


def _decode_once(context: Context) -> float:
    """Seconds of one row at the start of an empty sequence."""
    context.batch.clear()
    context.batch.add(0, 0, [max(context.vocabulary.bos, 0)], last=True)
    start = time.perf_counter()
    context.decode()
    context.logits(1)
    elapsed = time.perf_counter() - start
    context.drop(0)
    return elapsed
