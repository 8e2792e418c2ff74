"""A grammar that holds only behind certain words."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from localchat.engine.seam import Grammar, Matcher, Vocabulary
from localchat.errors import EngineError

Tokenize = Callable[[str], Items[int]]


class Triggered:
    """A matcher that sleeps until the text has one of the triggers, and sleeps again when its grammar has ended.

    Where a token has a trigger's end and more behind it that the grammar does not allow, it sleeps on.
    """

    def __init__(
        self, grammar: Grammar, triggers: Items[str], vocabulary: Vocabulary, tokenize: Tokenize, *, repeats: bool
    ) -> None:
        self._grammar = grammar
        self._triggers = [trigger.encode() for trigger in triggers]
        self._vocabulary = vocabulary
        self._tokenize = tokenize
        self._repeats = repeats
        self._longest = max(map(len, self._triggers))
        self._tail = b""
        self._matcher: Matcher | None = None
        self.is_complete = False

    @property
    def is_awake(self) -> bool:
        """Whether the grammar holds."""
        return self._matcher is not None

    def prepare(self) -> None:
        """Compute ahead what `allowed` will say."""
        if self._matcher is not None:
            self._matcher.prepare()

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): the tokens that may come next, while it is awake."""
        assert self._matcher is not None, "nobody restricts what comes next"
        return self._matcher.allowed()

    def accept(self, token: int) -> None:
        """Take note of a token."""
        if self._matcher is None:
            self._watch(token)
        else:
            self._matcher.accept(token)
        if self._matcher is not None and self._matcher.is_complete:
            self._matcher = None
            self.is_complete = not self._repeats

    def _watch(self, token: int) -> None:
        text = self._tail + self._vocabulary.piece(token, special=True)
        ends = [place + len(trigger) for trigger in self._triggers if (place := text.find(trigger)) >= 0]
        if not ends:
            self._tail = text[-self._longest :]
            return
        self._tail = b""
        rest = text[min(ends) :].decode("utf-8", "replace")
        matcher = self._grammar.fork()
        try:
            for behind in self._tokenize(rest) if rest else ():
                matcher.accept(behind)
        except EngineError:
            return
        self._matcher = matcher
