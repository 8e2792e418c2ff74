"""Finds the few tokens that can be chosen, without sorting the vocabulary.

`logits` are one row, (vocabulary,), float32; ids are int32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_STRIPES = 64
_NUCLEUS = 256
_NONE = np.empty(0, np.int32)


def shrink(logits: NDArray[np.float32], k: int, extra: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """Ids of a superset of the `k` greatest logits, and of `extra`; None when too many would be left to be worth it.

    The row is cut into columns of `_STRIPES` values each. The k-th greatest of the columns' maxima has k values at
    or above it, one in each of k columns, so whatever is below it is not among the k greatest.
    Ids come back in ascending order, each once.
    """
    columns = logits.size // _STRIPES
    if k > columns // 2:
        return None
    whole = columns * _STRIPES
    maxima = np.maximum.reduce(logits[:whole].reshape(_STRIPES, columns), axis=0)
    maxima.partition(columns - k)
    ids = (logits >= maxima[columns - k]).nonzero()[0].astype(np.int32)
    return np.union1d(ids, extra) if extra.size else ids


def nucleus(logits: NDArray[np.float32], top_p: float) -> NDArray[np.int32]:
    """Ids of the likeliest tokens that together reach a probability of `top_p`, likeliest first.

    The few hundred greatest nearly always reach it, and their share is known without sorting the others.
    """
    weights = np.exp(logits - logits.max())
    goal = top_p * float(weights.sum(dtype=np.float64))
    few = shrink(logits, _NUCLEUS, _NONE)
    if few is None or float(weights[few].sum(dtype=np.float64)) < goal:
        few = np.arange(logits.size, dtype=np.int32)
    ids = few[np.argsort(-logits[few])]
    reached = np.cumsum(weights[ids], dtype=np.float64)
    return ids[: int(np.searchsorted(reached, goal)) + 1]


def above(logits: NDArray[np.float32], min_p: float) -> NDArray[np.int32]:
    """Ids of the tokens at least `min_p` times as likely as the likeliest, and of a few more at the edge."""
    # A little below the line: llama.cpp draws it exactly, in its own arithmetic.
    return np.flatnonzero(logits >= logits.max() + math.log(min_p) - 0.01).astype(np.int32)
