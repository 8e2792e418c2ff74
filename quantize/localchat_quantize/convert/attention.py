"""Fused projections of queries, keys and values, in the one order that graphs expect: all queries, keys, values."""

from __future__ import annotations

import numpy as np

from localchat_quantize.convert.source import Change
from localchat_quantize.weights import Array


def ungroup(groups: int, queries: int) -> Change:
    """Rows that come in `groups`, each of so many heads of queries, one of keys and one of values."""

    def reorder(values: Array) -> Array:
        width = values.shape[0] // (groups * (queries + 2))
        split = values.reshape(groups, queries + 2, width, *values.shape[1:])
        parts = (split[:, :queries], split[:, queries], split[:, queries + 1])
        return np.concatenate([part.reshape(-1, *values.shape[1:]) for part in parts])

    return lambda tensor: tensor.map(reorder)
