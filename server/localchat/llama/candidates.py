"""Finds the few tokens that can be chosen, without sorting the vocabulary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STRIPES = 64


def shrink(logits: NDArray[np.float32], k: int, extra: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """Ids of a superset of the `k` greatest logits, and of `extra`; None when too many would be left to be worth it.

    The row is cut into columns of `_STRIPES` values each. The k-th greatest of the columns' maxima has k values at
    or above it, one in each of k columns, so whatever is below it is not among the k greatest.
    `logits` is (vocabulary,), float32; ids come back in ascending order, each once.
    """
    columns = logits.size // _STRIPES
    if k > columns // 2:
        return None
    whole = columns * _STRIPES
    maxima = logits[:whole].reshape(_STRIPES, columns).max(axis=0)
    maxima.partition(columns - k)
    ids = np.flatnonzero(logits >= maxima[columns - k]).astype(np.int32)
    return np.union1d(ids, extra) if extra.size else ids
