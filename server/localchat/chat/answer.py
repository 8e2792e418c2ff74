"""What an answer is made of: words, thoughts, and calls of tools, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Content(msgspec.Struct, frozen=True, gc=False):
    """Words for the user."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """Words that the model thinks with."""

    text: str


class CallStart(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool begins; calls count from 0."""

    index: int
    id: str
    name: str


class CallArguments(msgspec.Struct, frozen=True, gc=False):
    """More of the JSON text of a call's arguments."""

    index: int
    text: str


AnswerDelta = Content | Reasoning | CallStart | CallArguments


class AnswerParser(Protocol):
    """Reads one choice's text. What it gives does not depend on how the text is cut into pieces."""

    def feed(self, text: str) -> Sequence[AnswerDelta]:
        """What the next piece of text adds."""
        ...

    def finish(self) -> Sequence[AnswerDelta]:
        """What was held back, now that the text has ended."""
        ...


class PlainParser:
    """Reads the text of a model that neither thinks nor calls: all of it is content."""

    def feed(self, text: str) -> Sequence[AnswerDelta]:
        """The text as it is."""
        return (Content(text),) if text else ()

    def finish(self) -> Sequence[AnswerDelta]:
        """Nothing is ever held back."""
        return ()
