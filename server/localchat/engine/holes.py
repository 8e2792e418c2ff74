"""Rows that nobody asked for, where they spare llama.cpp a pass.

With a KV stream for each sequence a pass goes through slots in a row. Where the slots of a step are not, a row for each
between them makes one pass of two, and a row costs much less than a pass. What it wrote is cut off again at once.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from itertools import pairwise
from typing import NamedTuple

from localchat.engine.cost_model import CostModel
from localchat.engine.passes import passes
from localchat.engine.scheduler import Chunk
from localchat.engine.slots import Slots

_WORTH = 0.97
"""A step must become shorter by this factor: measured costs are not exact."""


class Filler(NamedTuple):
    """A row behind the `start` tokens that a slot holds."""

    slot: int
    start: int


class Holes:
    """Fills the gaps between the slots of a step, of a model whose memory can be cut back."""

    def __init__(self, slots: Slots, cost_model: CostModel, n_ctx: int, capacity: int) -> None:
        self._slots = slots
        self._cost_model = cost_model
        self._n_ctx = n_ctx
        self._capacity = capacity
        self._last: Items[tuple[int, int]] = ()
        self._filled: Items[int] = ()

    def fill(self, chunks: Items[Chunk]) -> Items[Filler]:
        """Fillers by ascending slot, for chunks by ascending slot; as before while the same slots have as many rows."""
        if chunks[-1].sequence.slot - chunks[0].sequence.slot == len(chunks) - 1 or not self._cost_model.is_measured:
            return ()
        rows = [(chunk.sequence.slot, chunk.rows) for chunk in chunks]
        if rows != self._last:
            self._last, self._filled = rows, self._choose(chunks)
        return [Filler(slot, self._slots[slot].length) for slot in self._filled]

    def _choose(self, chunks: Items[Chunk]) -> Items[int]:
        """Which slots to fill: gap by gap, the narrow ones first."""
        pairs = pairwise(chunk.sequence.slot for chunk in chunks)
        gaps = [list(range(one + 1, other)) for one, other in pairs if other > one + 1]
        free = self._capacity - sum(chunk.rows for chunk in chunks)
        filled: list[int] = []
        least = self._seconds(chunks, filled)
        for gap in sorted(gaps, key=len):
            if len(filled) + len(gap) > free or any(self._slots[slot].length >= self._n_ctx for slot in gap):
                continue
            more = sorted(filled + gap)
            seconds = self._seconds(chunks, more)
            if seconds < least * _WORTH:
                filled, least = more, seconds
        return filled

    def _seconds(self, chunks: Items[Chunk], filled: Items[int]) -> float:
        fillers = [Filler(slot, self._slots[slot].length) for slot in filled]
        return sum(self._cost_model.step_seconds(*each) for each in passes(chunks, streams=True, fillers=fillers))
