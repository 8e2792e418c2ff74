"""Items of a response while they grow, and what each of them is called in events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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

    def empty(self) -> Json:
        """The item as it is added."""
        return {**self.head, **({"content": []} if self.kind.part else {"arguments": ""}), "status": "in_progress"}

    def item(self) -> Json:
        """The item as it is now."""
        words = {"content": [self.part]} if self.kind.part else {"arguments": self.words}
        return {**self.head, **words, "status": self.status}
