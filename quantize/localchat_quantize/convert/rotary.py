"""Rotary positions: the order of rows that a graph expects, and how positions are stretched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from localchat_quantize.convert.source import Change, Source
from localchat_quantize.tensor import Tensor
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.weights import Array


def halves_to_pairs(heads: int) -> Change:
    """Rows of queries or keys whose rotation pairs the halves of a head, for a graph that pairs neighbours."""

    def reorder(values: Array) -> Array:
        split = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return split.swapaxes(1, 2).reshape(values.shape)

    return lambda tensor: tensor.map(reorder)


def pairs_to_halves(heads: int, rotated: int) -> Change:
    """The other way, within the first `rotated` rows of each head; the product of queries and keys stays the same."""

    def reorder(values: Array) -> Array:
        split = values.reshape(heads, values.shape[0] // heads, *values.shape[1:])
        turned, rest = split[:, :rotated], split[:, rotated:]
        return np.concatenate([turned[:, 0::2], turned[:, 1::2], rest], axis=1).reshape(values.shape)

    return lambda tensor: tensor.map(reorder)


def scaling(source: Source) -> Mapping[str, Any]:
    """How positions are stretched, as config.json says it; empty if they are not."""
    told: Mapping[str, Any] = source.setting("rope_scaling", "rope_parameters", default={})
    return told if kind(told) != "default" else {}


def kind(told: Mapping[str, Any]) -> str:
    """The name of a way to stretch."""
    return str(told.get("rope_type") or told.get("type") or "default")


def base(source: Source, *names: str) -> float:
    """The base of the frequencies, which newer files tell among the scaling."""
    told = source.setting("rope_parameters", default={}).get("rope_theta")
    return float(told if told is not None else source.setting("rope_theta", *names, default=10000.0))


def rotated_part(source: Source, *names: str, default: float) -> float:
    """The share of a head that is rotated."""
    told = source.setting("rope_parameters", default={}).get("partial_rotary_factor")
    return float(told if told is not None else source.setting(*names, default=default))


def keys(source: Source, rotated: int, *names: str) -> Metadata:
    """The graph's keys for rotary positions. `names` are further ones for the base. Raises WeightsError."""
    found: Metadata = {"rope.dimension_count": rotated, "rope.freq_base": base(source, *names)}
    told = scaling(source)
    match kind(told):
        case "linear":
            found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(told["factor"])}
        case "default" | "dynamic" | "llama3":
            # `dynamic` changes nothing within the length that the model was trained for, and no more is promised.
            pass
        case other:
            raise source.refuse(f"its positions are stretched by {other}")
    return found


def frequency_factors(source: Source, rotated: int) -> Tensor | None:
    """What each frequency is divided by, for the way of LLaMA 3.1: short waves stay, long ones are stretched."""
    told = scaling(source)
    if kind(told) != "llama3":
        return None
    factor, trained = float(told["factor"]), float(told["original_max_position_embeddings"])
    low, high = float(told["low_freq_factor"]), float(told["high_freq_factor"])
    waves = 2 * math.pi * base(source) ** (np.arange(0, rotated, 2) / rotated)
    smooth = np.clip((trained / waves - low) / (high - low), 0, 1)
    factors = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
    return Tensor(factors.shape, lambda rows: factors[rows])
