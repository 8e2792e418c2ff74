"""Decides how many tokens are guessed ahead, of which sequences: as many as pay for their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from math import exp, log

from localchat.engine.cost_model import CostModel
from localchat.engine.draft_model import MOST, DraftModel
from localchat.engine.scheduler import Chunk
from localchat.engine.sequence import Sequence
from localchat.errors import EngineError

logger = logging.getLogger(__name__)

WORTH = 1.05
"""A step with guesses must promise so many times the tokens per second of one without: measured costs are not exact."""
_LEAST_CHANCE = 0.1
_LEARN = 1 / 4
_FORGET = 1 / 256
_LEAST_OFF, _MOST_OFF = 0.5, 6.0
"""A step that took longer still was disturbed by something else."""
_TRIAL_PAUSE, _TRIAL_STEPS, _TRIAL_LENGTH = 256, 4, 3
_SURE = 0.8


@dataclass(frozen=True, slots=True)
class _Plan:
    """How far each of some sequences guesses, whether the draft model is asked, and tokens per second from that."""

    rate: float
    lengths: Items[int]
    asks: bool = False


class Speculation:
    """Guesses by what followed the same words before, by predictions, and by a draft model where there is one.

    A guess costs a row, and rows slow down everyone who shares the step. So as many are taken as give the step most
    tokens per second by what rows were measured to cost on this machine. Where the next rows are nearly free, little
    chance is enough; where every row counts, only what is all but certain. Steps that read prompts have none.

    With a KV stream for each sequence (`streams`), llama.cpp makes passes of as many rows of one sequence as of the
    next, and a pass costs more than its rows. So neighbours guess equally far, and who does not know makes something
    up, as far as that makes the streams faster on the geometric mean: what one gains, the others are slowed for. With
    one buffer for all, rows go to the likeliest guesses, whosever they are.

    Costs change while others use the machine. Where steps with guesses take longer than expected, and those without
    do not, there are no more of them for a while. Where it is the costs that speak against sure guesses, these are
    tried every now and then: measured with a neighbour at work, rows seem dearer than they are.
    """

    def __init__(
        self, cost_model: CostModel, n_ctx: int, *, streams: bool = True, draft_model: DraftModel | None = None
    ) -> None:
        self._cost_model = cost_model
        self._n_ctx = n_ctx
        self._streams = streams
        self._draft_model = draft_model
        self._plain = 0.0
        """How far off the costs of steps without guesses were lately, if there were any,"""
        self._guessing = 1.0
        """and those with guesses, compared to them."""
        self._untried = 0
        self._has_guessed: bool | None = None

    def draft(self, chunks: Items[Chunk], spare: int) -> Items[Chunk]:
        """The chunks, some of those that decode with a draft; at most `spare` tokens of drafts in all."""
        self._has_guessed = None
        if not self._cost_model.is_measured:
            return chunks
        knows = self._draft_model is not None
        for chunk in chunks:
            if not chunk.sequence.is_decoding:
                return chunks
            knows |= chunk.sequence.look_up().has_guess
        self._has_guessed = False
        if not knows:
            return chunks
        drafted: list[Chunk] = []
        for group in _neighbours(chunks) if self._streams else (chunks,):
            for chunk, guess in zip(group, self._guesses(group, spare), strict=True):
                drafted.append(Chunk(chunk.sequence, chunk.start, 1, guess) if guess else chunk)
                spare -= len(guess)
                self._has_guessed |= bool(guess)
        return drafted

    def observe(self, expected: float, seconds: float) -> None:
        """Take note of what the last step took, and of what its rows were expected to."""
        if self._has_guessed is None or expected <= 0:
            return
        off = seconds / expected
        if not self._has_guessed:
            self._plain = self._plain + (off - self._plain) * _LEARN if self._plain else off
            self._guessing += (1 - self._guessing) * _FORGET
        elif self._plain:
            off = min(max(off / self._plain, _LEAST_OFF), _MOST_OFF)
            self._guessing += (off - self._guessing) * _LEARN

    def _guesses(self, chunks: Items[Chunk], spare: int) -> Items[tuple[int, ...]]:
        """A guess at each of some sequences that share a pass; empty where it does not pay."""
        kv_tokens = sum(chunk.start + 1 for chunk in chunks)
        least = len(chunks) / self._cost_model.step_seconds(len(chunks), kv_tokens) * WORTH
        plan = self._even(chunks, spare, kv_tokens) if self._streams else self._likeliest(chunks, spare, kv_tokens)
        if self._draft_model is not None:
            asking = self._even(chunks, spare, kv_tokens, self._draft_model)
            if asking.rate > max(plan.rate, least) and self._has_read(self._draft_model, chunks):
                plan = asking
        if plan.rate <= least:
            return self._trial(chunks, spare)
        asked = self._ask(chunks, max(plan.lengths)) if plan.asks else {}
        return [
            asked.get(chunk.sequence.id) or _known(chunk.sequence, length)
            for chunk, length in zip(chunks, plan.lengths, strict=True)
        ]

    def _trial(self, chunks: Items[Chunk], spare: int) -> Items[tuple[int, ...]]:
        """Guesses that do not seem to pay, if they are sure and the last ones are long ago; else none."""
        chances = [_chances(chunk.sequence, 1) for chunk in chunks]
        length = self._most(chunks, spare, _TRIAL_LENGTH)
        if length and all(chance and chance[0] > _SURE for chance in chances):
            self._untried += 1
            if self._untried > _TRIAL_PAUSE:
                if self._untried == _TRIAL_PAUSE + _TRIAL_STEPS:
                    self._untried = 0
                return [_known(chunk.sequence, length) for chunk in chunks]
        return [()] * len(chunks)

    def _most(self, chunks: Items[Chunk], spare: int, most: int) -> int:
        """How far all may guess: those who will end before that do it for the others, if the context allows."""
        return max(0, min(most, spare // len(chunks), self._n_ctx - 1 - max(chunk.start for chunk in chunks)))

    def _even(self, chunks: Items[Chunk], spare: int, kv_tokens: int, draft_model: DraftModel | None = None) -> _Plan:
        """The same number of guesses for all: the one at which they are fastest, on the geometric mean."""
        streams, seconds = len(chunks), self._cost_model.step_seconds
        most = self._most(chunks, spare, MOST)
        gains, asked = [0.0] * most, 0
        for chunk in chunks:
            chances, room = _chances(chunk.sequence, most), _room(chunk.sequence)
            if draft_model is not None and _prefers(draft_model, chunk.sequence, chances):
                chances = draft_model.chances(chunk.sequence, most)
                asked += 1
            expected = 1.0
            for index in range(most):
                expected += chances[index] if index < len(chances) and index < room else 0.0
                gains[index] += log(expected)
        asking = draft_model.seconds(asked, kv_tokens // streams) if draft_model is not None else 0.0
        best, count = 0.0, 0
        for length, gain in enumerate(gains, start=1):
            tokens = streams * exp(gain / streams)
            taken = seconds(streams * (1 + length), kv_tokens * (1 + length), 1 + length) * self._guessing
            rate = tokens / (taken + asking * length)
            if rate > best:
                best, count = rate, length
        return _Plan(best, [count] * streams, asks=asked > 0)

    def _likeliest(self, chunks: Items[Chunk], spare: int, kv_tokens: int) -> _Plan:
        """The likeliest guesses of all."""
        streams, seconds = len(chunks), self._cost_model.step_seconds
        each = kv_tokens // streams
        chances = [
            (chance, index)
            for index, chunk in enumerate(chunks)
            for chance in _chances(chunk.sequence, min(MOST, _room(chunk.sequence)))
            if chance >= _LEAST_CHANCE
        ]
        chances.sort(reverse=True)
        best, count, tokens = 0.0, 0, float(streams)
        for added, (chance, _) in enumerate(chances[:spare], start=1):
            tokens += chance
            rate = tokens / (seconds(streams + added, kv_tokens + added * each) * self._guessing)
            if rate > best:
                best, count = rate, added
        lengths = [0] * streams
        for _, index in chances[:count]:
            lengths[index] += 1
        return _Plan(best, lengths)

    def _has_read(self, draft_model: DraftModel, chunks: Items[Chunk]) -> bool:
        """Let the draft model read on, if need be; whether it knows what all have said."""
        try:
            return draft_model.read([chunk.sequence for chunk in chunks])
        except EngineError as error:
            self._give_up(error)
            return False

    def _ask(self, chunks: Items[Chunk], length: int) -> dict[int, tuple[int, ...]]:
        """The draft model's guesses, by sequence."""
        draft_model = self._draft_model
        assert draft_model is not None, "nobody to ask"
        asked = [
            chunk.sequence
            for chunk in chunks
            if _prefers(draft_model, chunk.sequence, _chances(chunk.sequence, length))
        ]
        try:
            return dict(zip((s.id for s in asked), draft_model.guess(asked, length), strict=True))
        except EngineError as error:
            self._give_up(error)
            return {}

    def _give_up(self, error: EngineError) -> None:
        logger.warning("the draft model is not asked any more: %s", error)
        self._draft_model = None


def _neighbours(chunks: Items[Chunk]) -> Iterator[Items[Chunk]]:
    """Those whose slots follow each other: llama.cpp computes them in one pass."""
    start = 0
    for index in range(1, len(chunks) + 1):
        if index == len(chunks) or chunks[index].sequence.slot != chunks[index - 1].sequence.slot + 1:
            yield chunks[start:index]
            start = index


def _chances(sequence: Sequence, most: int) -> list[float]:
    """How likely what is known is to come, as far as the first guess, the second, and so on."""
    lookup = sequence.lookup
    return lookup.chances(most) if lookup is not None and lookup.has_guess else []


def _known(sequence: Sequence, length: int) -> tuple[int, ...]:
    """What is known to have followed before, or something."""
    lookup = sequence.lookup
    if lookup is not None and lookup.has_guess:
        return lookup.guess(length)
    return tuple(sequence.tokens[-1:]) * length


def _prefers(draft_model: DraftModel, sequence: Sequence, chances: Items[float]) -> bool:
    """Whether the draft model is the better guesser."""
    asked = draft_model.chances(sequence, 1)
    return bool(asked) and (not chances or asked[0] > chances[0])


def _room(sequence: Sequence) -> int:
    """Guesses that may be of use: the token after them has to fit as well."""
    return sequence.max_tokens - sequence.output_length - 1
