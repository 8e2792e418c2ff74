"""Decides what the next step computes. Touches no model."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

from localchat.engine.sequence import Sequence, Status
from localchat.engine.slots import Slots
from localchat.outputs import FinishReason


@dataclass(frozen=True, slots=True)
class Chunk:
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


class Scheduler:
    """There is no prefill phase and no decode phase: each step lets sequences catch up with the tokens they want.

    Those that decode come first and always fit; prompts share what is left of the step's `budget` of rows, first come,
    first served, in chunks. A sequence whose source is still to be read has a slot and gets no rows. `outputs` bounds
    the rows whose logits a step may ask for.
    """

    def __init__(self, slots: Slots, *, budget: int, outputs: int | None = None) -> None:
        self.slots = slots
        self.budget = budget
        # Each slot has a row of logits of its own; the others are for prompts that want those of every row.
        self._spare_outputs = budget if outputs is None else outputs - slots.count
        assert self._spare_outputs >= 0, f"{outputs} rows of logits cannot serve {slots.count} slots"
        self._outputs_left = self._rows_left = 0
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    @property
    def has_work(self) -> bool:
        """Whether a step would compute or begin something."""
        return any(s.is_ready for s in self.running) or (bool(self.waiting) and self.slots.has_free)

    @property
    def unready(self) -> list[Sequence]:
        """Sequences whose sources are to be read."""
        return [sequence for sequence in self.running if not sequence.is_ready]

    @property
    def spare(self) -> int:
        """Rows with logits that may still be added to what was last scheduled."""
        return max(0, min(self._rows_left, self._outputs_left))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def schedule(self) -> Items[Chunk]:
        """The chunks of the next step, by ascending slot."""
        chunks = [Chunk(s, s.computed, 1) for s in self.running if s.is_decoding]
        left = self.budget - len(chunks)
        self._outputs_left = self._spare_outputs
        for sequence in self.running:
            if left > 0 and sequence.is_ready and not sequence.is_decoding:
                left -= self._append(chunks, sequence, left)
        while left > 0 and self.waiting and self.slots.has_free:
            sequence = self.waiting.popleft()
            self._admit(sequence)
            if sequence.is_ready:
                left -= self._append(chunks, sequence, left)
        self._rows_left = left
        # With a KV stream for each sequence, llama.cpp starts a new pass wherever the ids do not ascend by one.
        return sorted(chunks, key=lambda chunk: chunk.sequence.slot)

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, wherever it is, and free what it holds."""
        assert not sequence.is_finished, f"sequence {sequence.id} has finished already"
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
            self.slots.give_back(sequence.slot, sequence.tokens[: sequence.computed])
        else:
            self.waiting.remove(sequence)
        sequence.status = Status.FINISHED
        sequence.finish_reason = reason

    def _admit(self, sequence: Sequence) -> None:
        sequence.slot, sequence.computed = self.slots.take(sequence.tokens, reuse=not sequence.prompt_logprobs)
        sequence.cached = sequence.computed
        sequence.status = Status.RUNNING
        self.running.append(sequence)

    def _append(self, chunks: list[Chunk], sequence: Sequence, left: int) -> int:
        count = min(sequence.wanted, left)
        if sequence.prompt_logprobs:
            count = min(count, 1 + self._outputs_left)
            self._outputs_left -= count - 1
        chunks.append(Chunk(sequence, sequence.computed, count))
        return count
