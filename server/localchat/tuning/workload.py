"""The work that is timed, as llama-bench and llama-batched-bench do it: decoding alone, nothing is sampled."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from localchat.llama.context import Context
from localchat.tuning.messages import Prompt, Work


def run(context: Context, work: Work, clock: Callable[[], float] = time.perf_counter) -> float:
    """Do it; returns its seconds, without those of what had to be there first."""
    if isinstance(work, Prompt):
        tokens = some_tokens(context, work.tokens)
        context.drop(0)
        start = clock()
        _read(context, tokens)
        return clock() - start
    _fill(context, work.sequences, work.depth)
    tokens = some_tokens(context, work.sequences)
    _step(context, work.depth, tokens)  # copies between streams are made with the first one
    start = clock()
    for position in range(work.depth + 1, work.depth + 1 + work.steps):
        _step(context, position, tokens)
    return clock() - start


def some_tokens(context: Context, count: int) -> list[int]:
    """Token ids by chance, the same each time: a mixture of experts would answer equal ones with equal experts."""
    tokens: list[int] = np.random.default_rng(count).integers(0, context.vocabulary.size, count).tolist()
    return tokens


def _read(context: Context, tokens: list[int]) -> None:
    for start in range(0, len(tokens), context.batch.capacity):
        part = tokens[start : start + context.batch.capacity]
        context.batch.clear()
        context.batch.add(0, start, part, last=start + len(part) == len(tokens))
        context.decode()
    context.logits(1)


def _fill(context: Context, sequences: int, depth: int) -> None:
    """Make the first sequences `depth` tokens long; what is there already is kept."""
    for sequence in range(sequences):
        if not depth:
            context.drop(sequence)
        elif context.length(sequence) < depth or not context.keep(sequence, depth):
            context.drop(sequence)
            if sequence:
                context.copy(0, sequence)
            else:
                _read(context, some_tokens(context, depth))


def _step(context: Context, position: int, tokens: list[int]) -> None:
    context.batch.clear()
    for sequence, token in enumerate(tokens):
        context.batch.add(sequence, position, [token], last=True)
    context.decode()
    context.logits(len(tokens))
