"""A smaller model that reads along, and says how it would go on."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from localchat.engine.cost_model import CostModel
from localchat.engine.seam import Context
from localchat.engine.sequence import Sequence

MOST = 15
"""Guesses of one sequence in one step."""
READ = 256
"""Most tokens that it reads of all prompts between two steps,"""
_READ_SECONDS = 0.03
"""for at most about so long: others wait for it."""
_LEAST_READ = 16
FEW = 8
"""Tokens that it can make up for when it is asked."""
_FIRST_RATE = 0.75
_LEARN = 1 / 8
_LEARN_OF_ALL = 1 / 64


@dataclass(slots=True)
class _Held:
    """What a slot of the draft model's memory holds, for which sequence."""

    sequence: int = -1
    tokens: list[int] = field(default_factory=list)
    same: int = 0
    """Tokens, from the first on, that are known to be the sequence's."""
    start: int = 0
    guess: tuple[int, ...] = ()
    rate: float = _FIRST_RATE
    """How often it was right about this sequence lately."""


class DraftModel:
    """Guesses greedily, one token after the other, for several sequences at once.

    Its context has a slot for each of the large model's. What came of its guesses is seen from the text when it is
    asked again. A new sequence is taken to be between as predictable as the last ones and as one hopes for, so each is
    given a try where that may pay.
    """

    def __init__(self, context: Context, cost_model: CostModel, vocabulary_size: int) -> None:
        self._context = context
        self._cost_model = cost_model
        self._vocabulary_size = min(vocabulary_size, context.vocabulary.size)
        self._slots = [_Held() for _ in range(context.parallel)]
        self._rate = _FIRST_RATE

    def chances(self, sequence: Sequence, most: int) -> list[float]:
        """How likely its guess is to be right as far as the first token, the second, and so on; none without room."""
        if len(sequence.tokens) + MOST > self._context.n_ctx:
            return []
        rate = self._meet(sequence).rate
        return [rate**length for length in range(1, most + 1)]

    def seconds(self, streams: int, context: int) -> float:
        """What a guess for each of so many sequences takes."""
        return self._cost_model.step_seconds(streams, streams * context) if streams else 0.0

    def read(self, sequences: Items[Sequence]) -> bool:
        """Read on, of those who are far ahead; whether none is any more."""
        behind = [
            (sequence, missing)
            for sequence in sequences
            if (missing := len(sequence.tokens) - self._agree(sequence)) > FEW
            and len(sequence.tokens) < self._context.n_ctx
        ]
        batch = self._context.batch
        in_time = max(self._cost_model.rows_within(_READ_SECONDS, 0, 0), _LEAST_READ)
        left = min(READ, batch.capacity, in_time)
        batch.clear()
        for sequence, missing in behind:
            count = min(left, missing - 1)
            if count > 0:
                self._add(sequence, count)
                left -= count
        if batch.size:
            self._context.decode()
        return not behind

    def guess(self, sequences: Items[Sequence], length: int) -> list[tuple[int, ...]]:
        """How it would go on with each, so many tokens. Raises EngineError."""
        if not sequences or not length:
            return []
        # As many rows of one as of the next: with a KV stream for each, they then share a pass.
        missing = max(len(sequence.tokens) - self._agree(sequence) for sequence in sequences)
        batch = self._context.batch
        batch.clear()
        for sequence in sequences:
            self._cut(sequence, max(0, len(sequence.tokens) - missing))
            self._add(sequence, len(sequence.tokens) - self._slots[sequence.slot].same, last=True)
        guesses: list[list[int]] = [[] for _ in sequences]
        for index in range(length):
            if index:
                batch.clear()
                for sequence, guess in zip(sequences, guesses, strict=True):
                    tokens = self._slots[sequence.slot].tokens
                    batch.add(sequence.slot, len(tokens), guess[-1:], last=True)
                    tokens.append(guess[-1])
            for guess, token in zip(guesses, self._choose(len(sequences)), strict=True):
                guess.append(token)
        drafts = [tuple(guess) for guess in guesses]
        for sequence, draft in zip(sequences, drafts, strict=True):
            held = self._slots[sequence.slot]
            held.start, held.guess = len(sequence.tokens), draft
        return drafts

    def _choose(self, count: int) -> list[int]:
        """The likeliest token of each row."""
        start = time.perf_counter()
        self._context.decode()
        logits = self._context.logits(count)
        seconds = time.perf_counter() - start
        rows = self._context.batch.size
        length = max(len(held.tokens) for held in self._slots)
        self._cost_model.observe([(rows, rows * length, rows // count)], seconds)
        chosen: list[int] = logits[:, : self._vocabulary_size].argmax(axis=1).tolist()
        return chosen

    def _meet(self, sequence: Sequence) -> _Held:
        """The slot of a sequence, which may have been another's; what its last guess was worth is noted."""
        held = self._slots[sequence.slot]
        if held.sequence != sequence.id:
            held.sequence, held.same, held.guess = sequence.id, 0, ()
            held.rate = (self._rate + _FIRST_RATE) / 2
        for token, guess in zip(sequence.tokens[held.start :], held.guess, strict=False):
            is_right = token == guess
            held.rate += (is_right - held.rate) * _LEARN
            self._rate += (is_right - self._rate) * _LEARN_OF_ALL
            if not is_right:
                break
        held.guess = ()
        return held

    def _agree(self, sequence: Sequence) -> int:
        """Leave in memory what is the sequence's, except the last token; how many that are."""
        held, tokens = self._meet(sequence), sequence.tokens
        most = min(len(held.tokens), len(tokens) - 1)
        while held.same < most and held.tokens[held.same] == tokens[held.same]:
            held.same += 1
        self._cut(sequence, min(held.same, most))
        return held.same

    def _cut(self, sequence: Sequence, length: int) -> None:
        held = self._slots[sequence.slot]
        held.same = min(held.same, length)
        if len(held.tokens) > length:
            del held.tokens[length:]
            if length:
                self._context.keep(sequence.slot, length)
            else:
                self._context.drop(sequence.slot)

    def _add(self, sequence: Sequence, count: int, *, last: bool = False) -> None:
        held = self._slots[sequence.slot]
        tokens = sequence.tokens[held.same : held.same + count]
        self._context.batch.add(sequence.slot, held.same, tokens, last=last)
        held.tokens += tokens
        held.same += count
