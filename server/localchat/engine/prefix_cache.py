"""Which slot a new sequence gets, and what of its prompt need not be computed because somebody holds it.

Who holds tokens: free slots, which hold what their last sequence left; running sequences, as far as they are computed;
states that were saved when their slot was needed; and files. A newcomer goes on in a free slot that holds its prefix,
unless what would be lost there is worth more than what another slot holds; then the prefix is copied. Where a running
sequence is about to compute what the newcomer shares with it, or a file has it, the newcomer waits in its slot and then
gets a copy.

A memory that cannot be cut back can only be continued from where it is. Of such, states are saved on the way: at the
end of a prompt, so that it can be answered again; where another prompt parts from it; and at intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from localchat.engine.prefix_tree import PrefixTree, common_prefix
from localchat.engine.saved import Saved, SavedPrefixes, worth
from localchat.engine.sequence import Sequence, Status
from localchat.engine.slots import Slot, Slots
from localchat.engine.stored import Stored, best, superseded
from localchat.lane import Lane

MIN_REUSE = 16
"""Shorter common prefixes do not decide which slot is taken: nearly all chats share a few template tokens."""
MIN_COPY = 64
"""Copying, and waiting for somebody to compute, must spare so many tokens."""
FAR = 256
"""Tokens computed again that cost as much as a slot with a gap to the running ones, over the life of a sequence."""
MIN_SAVED = 256
"""Fewer tokens are sooner computed again than it is worth to keep them."""
CHECKPOINT_INTERVAL = 1024
"""Tokens between two states that are saved where none can be cut back."""
MOST_BRANCHES = 4
"""States that are saved of one prompt because others that wait part from it there."""

Source = Slot | Saved
Holder = Slot | Saved | Stored | Sequence
"""A sequence is one that waits: it holds nothing yet, but tells where a state will be of use."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How a slot comes to hold the first `length` tokens of its new sequence: from itself or from `source`.

    `lost` are tokens that the slot held and that are to be saved first.
    """

    sequence: Sequence
    slot: Slot
    length: int
    source: Source | None = None
    lost: list[int] | None = None


@dataclass(frozen=True, slots=True)
class _Wait:
    """A sequence that has a slot and waits until `leader` has computed, or brought, the first `length` tokens."""

    sequence: Sequence
    leader: Sequence | Stored
    length: int

    @property
    def is_over(self) -> bool:
        if isinstance(self.leader, Stored):
            return not self.leader.is_coming
        return self.leader.computed >= self.length or self.leader.status is not Status.RUNNING


class PrefixCache:
    """Hands out slots. Whoever takes one must carry out the placements, in their order, before the next decode."""

    def __init__(
        self, count: int, *, can_cut: bool = True, can_copy: bool = True, saved_bytes: int = 0, streams: bool = True
    ) -> None:
        self.slots = Slots(count, streams=streams)
        self.saved = SavedPrefixes(saved_bytes)
        self.tree: PrefixTree[Holder] = PrefixTree()
        self.can_cut = can_cut
        self._can_copy = can_copy
        self.clock = 0
        self._placements: list[Placement] = []
        self._waits: list[_Wait] = []
        self._wanted: list[Stored] = []
        self._read: set[Stored] = set()
        self._touched: dict[Stored, None] = {}

    @property
    def count(self) -> int:
        """Slots there are."""
        return len(self.slots)

    @property
    def has_free(self) -> bool:
        """Whether another sequence can start."""
        return self.slots.has_free

    @property
    def has_due(self) -> bool:
        """Whether a sequence need not wait for another any more."""
        return any(wait.is_over for wait in self._waits)

    @property
    def cached_tokens(self) -> int:
        """Tokens kept for reuse in slots that nobody owns."""
        return sum(len(slot.left) for slot in self.slots.free)

    def expect(self, sequence: Sequence) -> None:
        """Take note of a sequence that will want a slot."""
        if not self.can_cut and sequence.reuses:
            self.tree.add(sequence, sequence.tokens)

    def expect_no_more(self, sequence: Sequence) -> None:
        """Take note that one that waited has left."""
        self.tree.remove(sequence)

    def take(self, sequence: Sequence) -> None:
        """Give a sequence a slot. It is not ready where it must wait for another."""
        assert self.has_free, "no free slot"
        self.clock += 1
        self.tree.remove(sequence)
        common = self._common(sequence)
        held = self._held(sequence, common)
        slot, source, length = self._choose(held)
        wait = self._wait(sequence, common, length)
        if wait is not None:
            slot, source, length = self._victim(held), None, 0
            self._waits.append(wait)
            sequence.is_ready = False
        self._place(sequence, slot, source, length)
        if wait is None:
            self._begin(sequence, common)

    def settle(self) -> None:
        """Let those go on who need not wait any more."""
        for wait in [wait for wait in self._waits if wait.is_over]:
            self._waits.remove(wait)
            sequence = wait.sequence
            common = self._common(sequence)
            held = self._held(sequence, common)
            source = _best(held)
            length = held[source] if source is not None else 0
            again = self._wait(sequence, common, length)
            if again is not None:
                self._waits.append(again)
                continue
            sequence.is_ready = True
            if source is not None and length >= MIN_COPY:
                self._use(source)
                self._placements.append(Placement(sequence, self.slots[sequence.slot], length, source))
                sequence.computed = length
            self._begin(sequence, common)
        self._release()

    def give_back(self, sequence: Sequence) -> None:
        """End the ownership of a slot, which holds what is computed of the sequence."""
        slot = self.slots[sequence.slot]
        assert slot.owner is sequence, f"slot {slot.id} is free already"
        for wait in self._waits:
            if wait.sequence is sequence:
                self._waits.remove(wait)
                sequence.is_ready = True
                self._release()
                break
        self.clock += 1
        slot.left, slot.owner, slot.used = sequence.tokens[: sequence.computed], None, self.clock
        self.tree.add(slot, slot.left)

    def placements(self) -> list[Placement]:
        """What is to be done before the next decode; they are given out once."""
        placements, self._placements = self._placements, []
        return placements

    def keep(self, tokens: list[int], data: memoryview) -> Saved:
        """Take a state that was saved."""
        entry = Saved(tokens, data, self.clock)
        self.tree.add(entry, tokens)
        for gone in self.saved.put(entry, self.clock):
            self.tree.remove(gone)
        return entry

    def wanted(self) -> list[Stored]:
        """Files that are to be read; they are given out once."""
        wanted, self._wanted = self._wanted, []
        return wanted

    def touched(self) -> list[Stored]:
        """Files that would have been of use since the last look, had nobody else held what they hold."""
        touched, self._touched = self._touched, {}
        return [stored for stored in touched if stored in self.tree]

    def arrive(self, stored: Stored, data: memoryview | None) -> None:
        """Take what was read from a file; None where it is of no use, and then it is forgotten."""
        stored.is_coming = False
        if data is None:
            self.tree.remove(stored)
        elif any(wait.leader is stored for wait in self._waits):
            stored.loaded = self.keep(stored.tokens, data)
            self._read.add(stored)

    def archive(self, stored: Stored) -> list[Stored]:
        """Take note of a file that was written; those that are of no use beside it, which are forgotten."""
        gone = superseded(self, stored)
        for other in gone:
            self.tree.remove(other)
        self.tree.add(stored, stored.tokens)
        return gone

    def forget(self, slot: Slot) -> None:
        """Take note that a free slot is empty."""
        slot.left = []
        self.tree.add(slot, [])

    def fail(self, placement: Placement) -> None:
        """Take note that a slot is empty, since it could not be filled as it was to be."""
        sequence, slot = placement.sequence, placement.slot
        if isinstance(placement.source, Saved):
            self._refuse(placement.source)
        if slot.owner is sequence:
            sequence.computed = 0
            sequence.cached *= bool(sequence.preemptions)
        elif slot.owner is None:
            self.forget(slot)

    def _common(self, sequence: Sequence) -> dict[Holder, int]:
        """How many of a sequence's first tokens each has, or will have; the last is computed always, to have logits."""
        if not sequence.reuses:
            return {}
        most = len(sequence.tokens) - 1
        return {holder: min(length, most) for holder, length in self.tree.match(sequence.tokens).items()}

    def _held(self, sequence: Sequence, common: dict[Holder, int]) -> dict[Source, int]:
        """How many of a sequence's first tokens each can give now."""
        held: dict[Source, int] = {}
        for holder, length in common.items():
            if isinstance(holder, Stored) and holder.loaded is not None:
                holder = holder.loaded
            if isinstance(holder, Stored | Sequence):
                continue
            if isinstance(holder, Slot) and not self._can_give(holder, sequence):
                continue
            if isinstance(holder, Slot) and holder.owner is not None and length == self.tree.length(holder):
                # The tree does not know of answers that are still being written.
                length += common_prefix(sequence.tokens[length:-1], holder.tokens, length)
            usable = min(length, holder.length)
            if usable and (self.can_cut or usable == holder.length):
                held[holder] = usable
        return held

    def _can_give(self, slot: Slot, sequence: Sequence) -> bool:
        return slot.owner is None or (slot.owner is not sequence and self._can_copy)

    def _choose(self, held: dict[Source, int]) -> tuple[Slot, Source | None, int]:
        """A free slot, whom it gets its prefix from unless it has it, and how much: what costs the fewest tokens.

        What is computed again and what is lost with the slot count as they are, a copy as MIN_COPY, and a slot that is
        farther from those that run than the best victim as FAR.
        """
        victim, source = self._victim(held), _best(held)
        best, near = held[source] if source is not None else 0, self.slots.distance(victim)
        if best < MIN_REUSE:
            return victim, None, held.get(victim, 0)
        choices: list[tuple[float, Slot, Source | None, int]] = []
        for slot in {victim, *(holder for holder in held if isinstance(holder, Slot) and holder.is_free)}:
            length = held.get(slot, 0)
            cost = best - length + self._loss(slot, length) + FAR * (self.slots.distance(slot) > near)
            choices.append((cost, slot, None, length))
        if self._can_copy and best >= MIN_COPY and source is not victim:
            choices.append((MIN_COPY + self._loss(victim, 0), victim, source, best))
        _, slot, source, length = min(choices, key=lambda it: (it[0], it[2] is not None, it[1].id))
        return slot, source, length

    def _victim(self, held: dict[Source, int]) -> Slot:
        """The free slot that is best overwritten: near the running ones, and of little worth."""
        distance, loss = self.slots.distance, self._loss
        return min(
            self.slots.free, key=lambda slot: (distance(slot), loss(slot, held.get(slot, 0)), slot.used, slot.id)
        )

    def _loss(self, slot: Slot, kept: int) -> float:
        """What is lost with the tokens beyond the first `kept`: those that nobody else has, by how likely they are."""
        if slot not in self.tree:
            return 0.0
        lost = len(slot.left) - max(kept, self._shared(slot))
        return max(0, lost) * worth(slot, self.clock)

    def _shared(self, slot: Slot) -> int:
        """How much of a free slot somebody else could give."""
        return self.tree.shared(slot) if self.can_cut else 0

    def _wait(self, sequence: Sequence, common: dict[Holder, int], length: int) -> _Wait | None:
        """What it is worth to wait for, where a sequence could begin with `length` tokens at once."""
        wait = self._leader(sequence, common, length)
        files = {it: until for it, until in common.items() if isinstance(it, Stored) and it.loaded is None}
        stored = best(self, files, length if wait is None else wait.length)
        if stored is None:
            return wait
        if not stored.is_coming:
            stored.is_coming = True
            self._wanted.append(stored)
        return _Wait(sequence, stored, files[stored])

    def _leader(self, sequence: Sequence, common: dict[Holder, int], length: int) -> _Wait | None:
        """Who is about to compute much more than `length` of a sequence's tokens, and how much."""
        best = None
        for holder, until in common.items():
            leader = holder.owner if isinstance(holder, Slot) else None
            if leader is None or leader is sequence or not leader.is_ready or not self._can_copy:
                continue
            if leader.lane is Lane.BACKGROUND and sequence.lane is Lane.INTERACTIVE:
                continue  # it would have to wait for what has to wait for it
            is_ahead = until > leader.computed and (self.can_cut or until in leader.checkpoints)
            if is_ahead and until >= length + MIN_COPY and (best is None or until > best.length):
                best = _Wait(sequence, leader, until)
        return best

    def _place(self, sequence: Sequence, slot: Slot, source: Source | None, length: int) -> None:
        lost = None
        if slot in self.tree and self.saved.has_room_for(len(slot.left)):
            kept = max(self._shared(slot), length if source is None else 0)
            lost = slot.left if len(slot.left) - kept >= MIN_SAVED else None
        slot.uses = slot.uses + 1 if source is None and length >= MIN_REUSE else 0
        if source is not None:
            self._use(source)
        self._placements.append(Placement(sequence, slot, length, source, lost))
        slot.left, slot.owner, sequence.slot, sequence.computed = [], sequence, slot.id, length
        if sequence.source is None:
            self.tree.add(slot, sequence.tokens)

    def _begin(self, sequence: Sequence, common: dict[Holder, int]) -> None:
        """Take note of what a sequence that is ready begins with, and of where its state is to be saved."""
        files = {holder: length for holder, length in common.items() if isinstance(holder, Stored)}
        if (stored := best(self, files, 0)) is not None:
            self._touched[stored] = None
        if not sequence.preemptions:  # else it finds what it wrote itself
            sequence.cached = sequence.computed
        sequence.checkpoints, end = [], len(sequence.tokens) - 1
        if self.can_cut or not sequence.reuses or not self.saved.has_room_for(end):
            return
        waiting = {length for holder, length in common.items() if isinstance(holder, Sequence)}
        branches = {*sorted(waiting)[-MOST_BRANCHES:], max(common.values(), default=0)}
        lengths = {end, *branches, *range(CHECKPOINT_INTERVAL, end, CHECKPOINT_INTERVAL)}
        sequence.checkpoints = sorted(at for at in lengths if at >= max(MIN_COPY, sequence.computed + 1))

    def _refuse(self, saved: Saved) -> None:
        """Let nobody be given again what the model would not take."""
        for holder in self.tree.match(saved.tokens):
            if isinstance(holder, Saved | Stored) and holder.tokens == saved.tokens:
                self.tree.remove(holder)

    def _release(self) -> None:
        """Let go what was read and nobody waits for any more."""
        awaited = {wait.leader for wait in self._waits}
        for stored in self._read - awaited:
            stored.loaded = None
        self._read &= awaited

    def _use(self, holder: Source) -> None:
        holder.used = self.clock
        holder.uses += 1


def _best(held: dict[Source, int]) -> Source | None:
    """Who has most; of equals a slot, and the first."""
    return max(held, key=lambda it: (held[it], -it.id if isinstance(it, Slot) else -math.inf), default=None)
