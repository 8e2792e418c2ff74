"""Thoughts that an answer begins with: how many tokens they take, and where they must end."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from localchat.constraint import Thoughts
from localchat.engine.seam import Matcher, Vocabulary

Tokenize = Callable[[str], Items[int]]
_GAP = "\n\n"


class _Phase(Enum):
    BEFORE = "before"
    THINKING = "thinking"
    ANSWERING = "answering"


class Thinking:
    """A matcher that lets thoughts pass, ends them when their budget is spent, and then hands over to another.

    `tokens` counts those of the thoughts so far, with the tags around them.
    """

    def __init__(self, thoughts: Thoughts, answer: Matcher | None, vocabulary: Vocabulary, tokenize: Tokenize) -> None:
        self.tokens = 0
        self._answer = answer
        self._vocabulary = vocabulary
        self._tokenize = tokenize
        self._start, self._end = thoughts.start.encode(), thoughts.end.encode()
        self._opening = list(tokenize(thoughts.start))
        self._closing = list(tokenize("\n" + thoughts.end + _GAP))
        self._gap = list(tokenize(_GAP))
        self._budget = thoughts.budget
        self._phase = _Phase.THINKING if thoughts.is_begun else _Phase.BEFORE
        self._seen: list[int] = []
        self._text = b""
        self._forced: list[int] = []
        self._spend()

    @property
    def is_awake(self) -> bool:
        """Whether there are tokens that may not come next."""
        return bool(self._forced) or (self._answer is not None and self._answer.is_awake)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow any more."""
        return self._phase is _Phase.ANSWERING and self._answer is not None and self._answer.is_complete

    def prepare(self) -> None:
        """Compute ahead what `allowed` will say."""
        if self._answer is not None and self._phase is not _Phase.THINKING and not self._forced:
            self._answer.prepare()

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): the tokens that may come next. Thoughts are not the end of an answer that must follow."""
        if self._forced:
            return self._only(self._forced[0])
        assert self._answer is not None, "nobody restricts what comes next"
        if self._phase is _Phase.THINKING:
            mask = np.ones(self._vocabulary.size, np.bool_)
            mask[list(self._vocabulary.end_tokens)] = False
            return mask
        mask = self._answer.allowed()
        if self._phase is _Phase.BEFORE:
            mask[self._opening[0]] = True
        return mask

    def accept(self, token: int) -> None:
        """Take note of a token."""
        if self._phase is _Phase.ANSWERING and not self._forced:
            if self._answer is not None:
                self._answer.accept(token)
            return
        is_forced = bool(self._forced) and self._forced.pop(0) == token
        if self._phase is _Phase.BEFORE:
            self._begin(token)
        elif self._phase is _Phase.THINKING:
            self._think(token, is_forced=is_forced)

    def _begin(self, token: int) -> None:
        is_restricted = self._answer is not None and self._answer.is_awake
        self._seen.append(token)
        self._text += self._vocabulary.piece(token, special=True)
        said = self._text.lstrip()
        if said.startswith(self._start):
            self._phase, self.tokens, self._text = _Phase.THINKING, len(self._seen), said[len(self._start) :]
            self._forced = []
            self._spend()
        elif not said and not is_restricted:
            return
        elif said and self._start.startswith(said) and (not is_restricted or self._is_opening()):
            if is_restricted:
                self._forced = self._opening[len(self._seen) :]
        else:
            self._phase = _Phase.ANSWERING
            for seen in self._seen if self._answer is not None else ():
                self._answer.accept(seen)  # type: ignore[union-attr]

    def _is_opening(self) -> bool:
        return self._opening[: len(self._seen)] == self._seen

    def _think(self, token: int, *, is_forced: bool) -> None:
        self.tokens += 1
        text = self._text + self._vocabulary.piece(token, special=True)
        end = text.find(self._end)
        if end < 0:
            self._text = text[-len(self._end) :]
            self._spend()
            return
        self._phase = _Phase.ANSWERING
        rest = text[end + len(self._end) :].strip().decode("utf-8", "replace")
        if self._answer is None:
            return
        if rest:
            for behind in self._tokenize(rest):
                self._answer.accept(behind)
        elif self._answer.is_awake and not is_forced:
            self._forced = list(self._gap)

    def _spend(self) -> None:
        """End the thoughts if they have had what they may have."""
        if self._phase is _Phase.THINKING and self._budget is not None and self.tokens >= self._budget:
            self._forced = self._forced or list(self._closing)

    def _only(self, token: int) -> NDArray[np.bool_]:
        mask = np.zeros(self._vocabulary.size, np.bool_)
        mask[token] = True
        return mask
