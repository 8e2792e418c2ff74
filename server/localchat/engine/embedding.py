"""The engine of a model that makes vectors: texts in, one vector each out, as many in a pass as fit."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from localchat.engine.line import Line
from localchat.engine.seam import Embedder
from localchat.errors import EngineError
from localchat.lane import Lane


@dataclass(slots=True, eq=False)
class Call:
    """Texts that are asked for together, as token ids, and their vectors as they come; `left` are still missing."""

    id: int
    texts: Items[Items[int]]
    vectors: NDArray[np.float32]
    lane: Lane = Lane.INTERACTIVE
    key: str = ""
    left: int = field(init=False)
    error: EngineError | None = None

    def __post_init__(self) -> None:
        """All are missing."""
        self.left = len(self.texts)


@dataclass(slots=True, eq=False)
class Text:
    """One text of a call, in line."""

    call: Call
    index: int

    @property
    def lane(self) -> Lane:
        """The call's."""
        return self.call.lane

    @property
    def key(self) -> str:
        """The call's."""
        return self.call.key

    @property
    def tokens(self) -> Items[int]:
        """Its token ids."""
        return self.call.texts[self.index]

    @property
    def prompt_tokens(self) -> int:
        """How many they are."""
        return len(self.tokens)


class EmbeddingEngine:
    """Makes the vectors of many calls. Not thread-safe.

    Texts wait in the same kind of line as prompts do: interactive ones first, keys in turns. A pass takes as many as
    have room, whosever they are.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._line: Line[Text] = Line()
        self._calls: dict[int, Call] = {}

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._line

    @property
    def waiting(self) -> int:
        """Texts in line."""
        return len(self._line)

    def load(self, lane: Lane, key: str) -> int:
        """Calls of a key that wait in a lane."""
        return sum(call.lane is lane and call.key == key for call in self._calls.values())

    def submit(self, call: Call) -> None:
        """Queue the texts of a call."""
        self._calls[call.id] = call
        for index in range(len(call.texts)):
            self._line.add(Text(call, index))

    def abort(self, id: int) -> None:
        """Forget a call; one that has ended already is left alone."""
        call = self._calls.pop(id, None)
        if call is not None:
            for text in [text for text in self._line if text.call is call]:
                self._line.remove(text)

    def step(self) -> list[Call]:
        """Read as many texts as fit; the calls that are done, those with an error among them."""
        texts = self._take()
        try:
            vectors = self._embedder.embed_many([text.tokens for text in texts])
        except EngineError as error:
            calls = {text.call.id: text.call for text in texts}
            for call in calls.values():
                call.error = error
                self.abort(call.id)
            return list(calls.values())
        done = []
        for text, vector in zip(texts, vectors, strict=True):
            call = text.call
            call.vectors[text.index] = vector
            call.left -= 1
            if not call.left:
                del self._calls[call.id]
                done.append(call)
        return done

    def _take(self) -> list[Text]:
        texts: list[Text] = []
        left = self._embedder.capacity
        for lane in Lane:
            while self._line.waits(lane) and len(texts) < self._embedder.texts:
                text = self._line.take(lane)
                if len(text.tokens) > left:
                    self._line.put_back(text)
                    return texts
                texts.append(text)
                left -= len(text.tokens)
        return texts
