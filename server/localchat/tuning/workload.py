"""The work that is timed, as llama-bench and llama-batched-bench do it: decoding alone, nothing is sampled."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from localchat.llama.context import Context
from localchat.tuning.messages import Decode, Prompt, Work


def run(context: Context, work: Work, clock: Callable[[], float] = time.perf_counter, *, shared: bool = True) -> float:
    """Do it; returns its seconds, without those of what had to be there first.

    What sequences have already is the same for all, and read once; unless `shared`, each reads its own: one buffer for
    all of them would store what they share but once, and so look faster than it is.
    """
    if isinstance(work, Prompt):
        tokens = some_tokens(context, work.tokens)
        context.drop(0)
        start = clock()
        _read(context, tokens, 0)
        return clock() - start
    _fill(context, work, shared=shared)
    tokens = some_tokens(context, work.sequences)
    start = 0.0
    for step in range(1 + work.steps):
        _step(context, work.depth + step * work.rows, tokens, work.rows)
        start = start or clock()  # copies between streams are made with the first step, which does not count
    return clock() - start


def some_tokens(context: Context, count: int) -> list[int]:
    """Token ids by chance, the same each time: a mixture of experts would answer equal ones with equal experts."""
    tokens: list[int] = np.random.default_rng(count).integers(0, context.vocabulary.size, count).tolist()
    return tokens


def _read(context: Context, tokens: list[int], sequence: int) -> None:
    for start in range(0, len(tokens), context.batch.capacity):
        part = tokens[start : start + context.batch.capacity]
        context.batch.clear()
        context.batch.add(sequence, start, part, last=start + len(part) == len(tokens))
        context.decode()
    context.logits(1)


def _fill(context: Context, work: Decode, *, shared: bool) -> None:
    """Make sequences `depth` tokens long; what is there already is kept."""
    for sequence in range(work.sequences):
        if not work.depth:
            context.drop(sequence)
        elif context.length(sequence) < work.depth or not context.keep(sequence, work.depth):
            context.drop(sequence)
            if sequence and shared:
                context.copy(0, sequence)
            else:
                _read(context, some_tokens(context, work.depth), sequence)


def _step(context: Context, position: int, tokens: list[int], rows: int) -> None:
    context.batch.clear()
    for sequence, token in enumerate(tokens):
        context.batch.add(sequence, position, [token] * rows, last=True, every=True)
    context.decode()
    context.logits(len(tokens) * rows)
