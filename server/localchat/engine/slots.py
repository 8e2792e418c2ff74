"""The places in the KV cache, and what each still holds from the last sequence that had it."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

MIN_REUSE = 16
"""Shorter common prefixes do not decide which slot is taken: nearly all chats share a few template tokens."""


@dataclass(slots=True)
class Slot:
    """One sequence's worth of KV cache. `tokens` are those it holds, while no running sequence owns it."""

    id: int
    tokens: list[int] = field(default_factory=list)
    is_free: bool = True
    last_used: int = 0


class Slots:
    """Hands out slots so that prefixes are reused and running slots stay next to each other."""

    def __init__(self, count: int, *, can_cut: bool = True) -> None:
        self.count = count
        self._slots = [Slot(i) for i in range(count)]
        self._can_cut = can_cut
        self._clock = 0

    def __getitem__(self, slot: int) -> Slot:
        """The slot with this id."""
        return self._slots[slot]

    @property
    def has_free(self) -> bool:
        """Whether another sequence can start."""
        return any(slot.is_free for slot in self._slots)

    @property
    def cached_tokens(self) -> int:
        """Tokens kept for reuse in slots that nobody owns."""
        return sum(len(slot.tokens) for slot in self._slots if slot.is_free)

    def take(self, prompt: Items[int], *, reuse: bool = True) -> tuple[int, int]:
        """Own a free slot; returns its id and how many of the prompt's tokens it holds already.

        The longest common prefix wins. Without one: a hole between running slots or a neighbour of theirs, because
        llama.cpp decodes only consecutive sequences in one pass; then an empty slot; then the one unused longest.
        """
        assert self.has_free, "no free slot"
        free = [slot for slot in self._slots if slot.is_free]
        shared = {slot.id: self._reusable(slot, prompt) if reuse else 0 for slot in free}
        best = max(free, key=lambda slot: (shared[slot.id], -slot.id))
        if shared[best.id] < MIN_REUSE:
            best = min(free, key=lambda slot: (self._distance(slot), len(slot.tokens) > 0, slot.last_used, slot.id))
        best.is_free = False
        best.tokens = []
        return best.id, shared[best.id]

    def give_back(self, slot_id: int, tokens: list[int]) -> None:
        """End the ownership; `tokens` are what the KV cache holds there from now on."""
        self._clock += 1
        slot = self._slots[slot_id]
        assert not slot.is_free, f"slot {slot_id} is free already"
        slot.is_free, slot.tokens, slot.last_used = True, tokens, self._clock

    def _reusable(self, slot: Slot, prompt: Items[int]) -> int:
        """Tokens of the prompt that need no computing; its last one always does, to have logits."""
        length = _common_prefix(slot.tokens, prompt, len(prompt) - 1)
        if not self._can_cut and length < len(slot.tokens):
            return 0
        return length

    def _distance(self, slot: Slot) -> int:
        """0 for a hole, 1 for a neighbour of the running slots, 2 for any other."""
        running = [other.id for other in self._slots if not other.is_free]
        if not running:
            return 2
        low, high = min(running), max(running)
        if low < slot.id < high:
            return 0
        return 1 if slot.id in (low - 1, high + 1) else 2


def _common_prefix(left: Items[int], right: Items[int], limit: int) -> int:
    limit = min(limit, len(left), len(right))
    if left[:limit] == right[:limit]:
        return max(limit, 0)
    return next(i for i in range(limit) if left[i] != right[i])
