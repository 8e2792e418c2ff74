"""Items of a response while they grow, and what each of them is called in events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from localchat.api.encoders.common import to_json
from localchat.api.schemas.items import kind_and_text

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How events speak of one kind of item. Where `part` is, the words are in a part of the item."""

    event: str
    words: str
    part: Callable[[str], Json] | None = None


def _output_text(text: str) -> Json:
    return kind_and_text("output_text", text)


def _reasoning_text(text: str) -> Json:
    return {"type": "reasoning_text", "text": text}


MESSAGE = Kind("response.output_text", "text", _output_text)
REASONING = Kind("response.reasoning_text", "text", _reasoning_text)
CALL = Kind("response.function_call_arguments", "arguments")


@dataclass(slots=True)
class Growing:
    """An item that is being written."""

    kind: Kind
    index: int
    head: Json
    """The item without its words."""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Json] = field(default_factory=list)
    status: str = "in_progress"
    opening: bytes = b""
    """What all frames of new words begin with."""

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.head["id"])

    @property
    def words(self) -> str:
        """What is written so far."""
        return "".join(self.pieces)

    @property
    def part(self) -> Json | None:
        """The part that holds the words, for items that have one."""
        if self.kind.part is None:
            return None
        part = self.kind.part(self.words)
        return {**part, "logprobs": self.logprobs} if self.kind is MESSAGE else part

    def delta(self, number: int, text: str, logprobs: Sequence[Json]) -> bytes:
        """The frame of new words. There are so many of these that all they share is encoded once."""
        if not self.opening:
            event = f"{self.kind.event}.delta"
            same = {"type": event, "item_id": self.id, "output_index": self.index}
            same |= {} if self.kind.part is None else {"content_index": 0}
            self.opening = b"event: %s\ndata: %s" % (event.encode(), to_json(same)[:-1])
        more = b',"logprobs":' + to_json(logprobs) if self.kind is MESSAGE else b""
        return b'%s%s,"sequence_number":%d,"delta":%s}\n\n' % (self.opening, more, number, to_json(text))

    def empty(self) -> Json:
        """The item as it is added."""
        return {**self.head, **({"content": []} if self.kind.part else {"arguments": ""}), "status": "in_progress"}

    def item(self) -> Json:
        """The item as it is now."""
        words = {"content": [self.part]} if self.kind.part else {"arguments": self.words}
        return {**self.head, **words, "status": self.status}
