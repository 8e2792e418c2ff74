"""Decides what the next step computes. Touches no model."""

from __future__ import annotations

from collections.abc import Sequence as Items
from math import inf
from operator import attrgetter
from typing import Protocol

import msgspec

from localchat.engine.cost_model import CostModel
from localchat.engine.line import Line
from localchat.engine.prefix_cache import PrefixCache
from localchat.engine.sequence import Sequence, Status
from localchat.lane import Lane
from localchat.outputs import FinishReason

_BY_SLOT = attrgetter("sequence.slot")
ALONE_ROWS = 64
"""Rows of a prompt in each pass of a sequence that is computed alone: what others want must not change the number."""
TURN = 128
"""Rows that a prompt gets before others get theirs: so short ones are read one after the other, and soon decode."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Consecutive tokens of a sequence, to be computed in this step.

    A sequence that decodes may have a `draft` behind its last token: guesses at what comes next.
    """

    sequence: Sequence
    start: int
    count: int
    draft: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the batch that it takes."""
        return self.count + len(self.draft)

    @property
    def catches_up(self) -> bool:
        """Whether nothing is left to compute afterwards, so that the next token can be chosen."""
        return self.start + self.count == len(self.sequence.tokens)


class Drafter(Protocol):
    """Guesses how sequences go on."""

    def draft(self, chunks: Items[Chunk], spare: int) -> Items[Chunk]:
        """The chunks of a step, some of those that decode with a draft; at most `spare` tokens of drafts in all."""

    def observe(self, expected: float, seconds: float) -> None:
        """Take note of what that step took, and of what its rows were expected to."""


class Scheduler:
    """There is no prefill phase and no decode phase: each step lets sequences catch up with the tokens they want.

    Those that decode come first and always fit; prompts share what is left of the step's `budget` of rows, interactive
    ones before those of the background, in chunks and in turns: one that needs more than TURN rows goes behind the
    others. While sequences decode, a step takes about `max_seconds` at most, by the cost model. Where an interactive
    sequence waits and no slot is free, one of the background is preempted. A sequence whose source is still to be
    read, or whose prefix somebody else is about to compute, has a slot and gets no rows. `outputs` bounds the rows
    whose logits a step may ask for. A sequence that is computed alone has passes of its own, which bound nobody's rows.
    """

    def __init__(
        self,
        cache: PrefixCache,
        *,
        budget: int,
        outputs: int | None = None,
        cost_model: CostModel | None = None,
        max_seconds: float = inf,
    ) -> None:
        self.cache = cache
        self.budget = budget
        self._cost_model = cost_model or CostModel()
        self._max_seconds = max_seconds
        self._owed: Lane | None = None
        # Each slot has a row of logits of its own; the others are for prompts that want those of every row.
        self._spare_outputs = budget if outputs is None else outputs - cache.count
        assert self._spare_outputs >= 0, f"{outputs} rows of logits cannot serve {cache.count} slots"
        self._outputs_left = self._rows_left = 0
        self.waiting: Line[Sequence] = Line()
        self.running: list[Sequence] = []

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    @property
    def has_work(self) -> bool:
        """Whether a step would compute or begin something."""
        if any(sequence.is_ready for sequence in self.running) or self.cache.has_due:
            return True
        return bool(self.waiting) and self.cache.has_free

    @property
    def unready(self) -> list[Sequence]:
        """Sequences whose sources are to be read."""
        unready = [sequence for sequence in self.running if not sequence.is_ready and sequence.source is not None]
        return sorted(unready, key=lambda sequence: sequence.lane is Lane.BACKGROUND)

    @property
    def spare(self) -> int:
        """Rows with logits that may still be added to what was last scheduled."""
        return max(0, min(self._rows_left, self._outputs_left))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.add(sequence)
        self.cache.expect(sequence)

    def schedule(self) -> Items[Chunk]:
        """The chunks of the next step, by ascending slot."""
        decoding = [sequence for sequence in self.running if sequence.is_decoding]
        chunks: list[Chunk] = []
        left = self.budget - len(decoding)
        self._outputs_left = self._spare_outputs
        if self.waiting or len(decoding) < len(self.running):
            self.cache.settle()
            kept = left - self._prompt_rows(decoding, left)
            for lane in Lane:
                left = kept + self._schedule_prompts(lane, chunks, left - kept)
        self._rows_left = left
        chunks += [Chunk(sequence, sequence.computed, 1) for sequence in decoding if sequence.status is Status.RUNNING]
        # With a KV stream for each sequence, llama.cpp starts a new pass wherever the ids do not ascend by one.
        return sorted(chunks, key=_BY_SLOT)

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, wherever it is, and free what it holds."""
        assert not sequence.is_finished, f"sequence {sequence.id} has finished already"
        if sequence.status is Status.RUNNING:
            self._leave_slot(sequence)
        else:
            self.waiting.remove(sequence)
            self.cache.expect_no_more(sequence)
        self.waiting.charge(sequence, sequence.output_length)
        sequence.status = Status.FINISHED
        sequence.finish_reason = reason

    def _schedule_prompts(self, lane: Lane, chunks: list[Chunk], left: int) -> int:
        """Let the prompts of a lane have rows, first those that have a slot, then those that wait; the rows left.

        If that left nothing for those that wait, they come first the next time.
        """
        prompts = [s for s in self.running if s.lane is lane and s.is_ready and not s.is_decoding]
        owed = self._owed is lane
        if owed:
            self._owed = None
            left = self._admit_waiting(lane, chunks, left)
        for sequence in prompts:
            if left > 0 and sequence.status is Status.RUNNING:
                left -= self._append(chunks, sequence, left)
        if not owed:
            left = self._admit_waiting(lane, chunks, left)
            is_over = not any(sequence.turn for sequence in self.running if sequence.lane is lane)
            if left <= 0 and is_over and self.waiting.waits(lane) and self.cache.has_free:
                self._owed = lane
        return left

    def _admit_waiting(self, lane: Lane, chunks: list[Chunk], left: int) -> int:
        while self.waiting.waits(lane):
            if lane is Lane.INTERACTIVE and not self.cache.has_free:
                left = self._make_room(left, is_reading=bool(chunks))
            if left <= 0 or not self.cache.has_free:
                break
            sequence = self.waiting.take(lane)
            self._admit(sequence)
            if sequence.is_ready:
                left -= self._append(chunks, sequence, left)
        return left

    def _make_room(self, left: int, *, is_reading: bool) -> int:
        """Preempt the sequence with the least to read again, if that gives somebody a row now; the rows left.

        Where none is left, the row of one that decodes will do, unless prompts that are read already want it more.
        """
        victim = min(
            (s for s in self.running if s.can_be_preempted and (left > 0 or (s.is_decoding and not is_reading))),
            key=lambda sequence: (sequence.computed, -sequence.id),
            default=None,
        )
        if victim is None:
            return left
        left = max(left, 0) + victim.is_decoding
        self._leave_slot(victim)
        victim.preempt()
        self.waiting.put_back(victim)
        return left

    def _leave_slot(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.cache.give_back(sequence)

    def _admit(self, sequence: Sequence) -> None:
        self.cache.take(sequence)
        sequence.status = Status.RUNNING
        self.running.append(sequence)

    def _append(self, chunks: list[Chunk], sequence: Sequence, left: int) -> int:
        count = min(sequence.wanted, min(ALONE_ROWS, self.budget) if sequence.alone else left)
        if sequence.checkpoints:
            count = min(count, sequence.checkpoints[0] - sequence.computed)
        if sequence.prompt_logprobs and sequence.alone:
            count = min(count, 1 + self._spare_outputs)
        elif sequence.prompt_logprobs:
            count = min(count, 1 + self._outputs_left)
            self._outputs_left -= count - 1
        chunks.append(Chunk(sequence, sequence.computed, count))
        sequence.turn += count
        if count == sequence.wanted:
            sequence.turn = 0
        elif sequence.turn >= TURN:
            sequence.turn = 0
            self.running.remove(sequence)
            self.running.append(sequence)
        return count

    def _prompt_rows(self, decoding: Items[Sequence], most: int) -> int:
        """Rows that prompts may have, so that those who decode get their next tokens in time."""
        if not decoding or self._max_seconds == inf:
            return most
        reading = len(self.running) - len(decoding) + len(self.waiting)
        return self._cost_model.prompt_rows(
            self._max_seconds,
            len(decoding),
            sum(sequence.computed for sequence in decoding),
            max((sequence.computed for sequence in self.running if not sequence.is_decoding), default=0),
            most,
            crowd=reading if reading > 1 else 0,
        )
