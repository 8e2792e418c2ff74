"""The places in the KV cache, and what each holds."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from localchat.engine.sequence import Sequence


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence's worth of KV cache. While it is free it holds what its last sequence left."""

    id: int
    left: list[int] = field(default_factory=list)
    owner: Sequence | None = None
    used: int = 0
    uses: int = 0

    @property
    def is_free(self) -> bool:
        """Whether no sequence owns it."""
        return self.owner is None

    @property
    def tokens(self) -> Items[int]:
        """Those whose keys and values it holds, of a running sequence with those that are still to be computed."""
        return self.left if self.owner is None else self.owner.tokens

    @property
    def length(self) -> int:
        """Tokens whose keys and values it holds."""
        return len(self.left) if self.owner is None else self.owner.computed


class Slots:
    """All slots, and which are near the running ones."""

    def __init__(self, count: int, *, streams: bool = True) -> None:
        self._slots = [Slot(i) for i in range(count)]
        self._streams = streams

    def __getitem__(self, slot: int) -> Slot:
        """The slot with this id."""
        return self._slots[slot]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._slots)

    @property
    def free(self) -> list[Slot]:
        """Those that another sequence can have."""
        return [slot for slot in self._slots if slot.owner is None]

    @property
    def has_free(self) -> bool:
        """Whether another sequence can start."""
        return any(slot.owner is None for slot in self._slots)

    def distance(self, slot: Slot) -> int:
        """0 for a hole between running slots, 1 for a neighbour of theirs, 2 for any other.

        With a KV stream for each, llama.cpp decodes only consecutive sequences in one pass. In one buffer all are near.
        """
        if not self._streams:
            return 0
        running = [other.id for other in self._slots if other.owner is not None]
        if not running:
            return 2
        low, high = running[0], running[-1]
        if low < slot.id < high:
            return 0
        return 1 if slot.id in (low - 1, high + 1) else 2
