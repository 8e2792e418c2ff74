"""What is known of an architecture: the graph that it becomes, its settings, its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan


@dataclass(frozen=True)
class Converter:
    """One class of models, or several that differ by their settings only."""

    graph: str
    """llama.cpp's architecture."""
    hparams: Callable[[Source], Metadata]
    """The graph's keys without its name before them. Raises WeightsError for what the graph computes otherwise."""
    tensors: Callable[[Source], Iterator[TensorPlan]]
