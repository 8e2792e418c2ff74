"""Guesses how a text goes on by what followed the same words before."""

from __future__ import annotations

from collections.abc import Sequence as Items

GRAM = 3
"""So many tokens must be the same before what followed them is a guess."""
LONGEST = 32
"""A longer match says no more."""
READ = 2048
"""Tokens of a prompt that are read between two steps; more would be noticed."""
_CHAIN = 8
"""Earlier places that are compared, the last ones first."""
_BITS = 21
"""More than any vocabulary's ids have."""
_MASK = (1 << _BITS * GRAM) - 1
_LEARN = 1 / 8

_LONG = 12
"""After a match of so many tokens, one that differs is taken for an exception."""

_CLASS = tuple(sum(length >= least for least in (GRAM, 6, _LONG, 24)) for length in range(LONGEST + 1))
_FIRST_RATES = (0.3, 0.4, 0.6, 0.8, 0.9)
"""How often a guess is right after matches of these five classes of length, before anything is known of a text."""


class Lookup:
    """An index of the n-grams of one text, which grows by a token at a time; costs about a microsecond for each.

    A place in the earlier text runs along for as long as that goes on as this does; where they part, the one that
    agrees with most of the last words is looked for. Whether guesses came true is noted for all of them, made use of
    or not, so what they are worth is known without paying for it.

    A `prediction` is a text that is expected to come, and stands before all others.
    """

    __slots__ = ("_at", "_came", "_key", "_last", "_match", "_previous", "_rates", "_text", "predicted")

    def __init__(self, prediction: Items[int] = ()) -> None:
        self._text: list[int] = []
        self._last: dict[int, int] = {}
        """Where each n-gram ended last."""
        self._previous: list[int] = [-1]
        """For the end of an n-gram, where it ended the time before."""
        self._key = 0
        self._at = -1
        self._match = 0
        self._rates = list(_FIRST_RATES)
        self.predicted = len(prediction)
        self._came = bytearray(self.predicted)
        self.read(prediction)

    def __len__(self) -> int:
        """Tokens of the text, the prediction apart."""
        return len(self._text) - self.predicted

    @property
    def right(self) -> int:
        """Tokens of the prediction that came, each counted once."""
        return sum(self._came)

    @property
    def has_guess(self) -> bool:
        """Whether anything is to be expected."""
        return self._at >= 0

    def follow(self, tokens: Items[int], given: int, most: int = READ) -> None:
        """Get to know a text that has grown, of whose first `given` tokens no more than `most` are read at a time."""
        known = len(self)
        if known < given:
            self.read(tokens[known : min(given, known + most)])
            known = len(self)
            if known < given:
                return
        for token in tokens[known:]:
            self.push(token)

    def read(self, tokens: Items[int]) -> None:
        """Add tokens that were given: a prompt, all at once or in parts."""
        last, previous, key, end = self._last, self._previous, self._key, len(self._text)
        for token in tokens:
            end += 1
            key = (key << _BITS | token) & _MASK
            previous.append(last.get(key, -1))
            last[key] = end
        self._text += tokens
        self._key = key
        self._find(previous[-1])
        if self.predicted:
            self._at, self._match = 0, _LONG

    def push(self, token: int) -> None:
        """Add a token that was chosen, and see whether it was expected."""
        text, at, match = self._text, self._at, self._match
        is_right = False
        if at >= 0:
            is_right = text[at] == token
            kind = _CLASS[match]
            self._rates[kind] += (is_right - self._rates[kind]) * _LEARN
        text.append(token)
        end = len(text)
        key = self._key = (self._key << _BITS | token) & _MASK
        before = self._last.get(key, -1)
        self._last[key] = end
        self._previous.append(before)
        if is_right:
            if at < self.predicted:
                self._came[at] = 1
            self._at = at + 1
            self._match = match + 1 if match < LONGEST else match
            return
        if before >= 0:
            self._find(before)
        else:
            self._at, self._match = at + 1 if match >= _LONG else -1, 0

    def guess(self, most: int) -> tuple[int, ...]:
        """What is expected to come next; a text that has come to its own end is expected to go round."""
        guess = self._text[self._at : self._at + most]
        while len(guess) < most:
            guess += guess[: most - len(guess)]
        return tuple(guess)

    def chances(self, most: int) -> list[float]:
        """How likely it is that the guess is right up to its first token, its second, and so on."""
        chance, chances = 1.0, []
        for length in range(self._match, self._match + most):
            chance *= self._rates[_CLASS[length] if length < LONGEST else -1]
            chances.append(chance)
        return chances

    def _find(self, at: int) -> None:
        """Follow the place where most of the last tokens are the same, of several the last one."""
        text, end, best, place = self._text, len(self._text), 0, -1
        for _ in range(_CHAIN):
            if at < 0:
                break
            length = GRAM
            while length < LONGEST and length < at and text[at - length - 1] == text[end - length - 1]:
                length += 1
            if length > best:
                best, place = length, at
            at = self._previous[at]
        self._at, self._match = place, best
