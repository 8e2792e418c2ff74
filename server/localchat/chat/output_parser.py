"""Reads the calls of tools out of what a model writes, as it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from localchat.chat.answer import AnswerDelta, CallArguments, CallStart, Content
from localchat.chat.source import Source, Steps, Unreadable


class Syntax(Protocol):
    """How a family of models writes calls."""

    @property
    def triggers(self) -> Sequence[str]:
        """What calls begin with, wherever it stands."""

    @property
    def openings(self) -> Sequence[str]:
        """What calls begin with at the beginning of an answer only; this is not read over."""

    def read(self, calls: CallParser) -> Steps[None]:
        """Read what follows a trigger. Raises Unreadable where it is no call."""


class CallParser:
    """Content and calls of one answer.

    With `live`, arguments are passed on as they come, since a grammar sees to it that they are whole. Otherwise a call
    is passed on when it has been read; what cannot be read is content, as are calls of tools that nobody offered.
    """

    def __init__(
        self,
        syntax: Syntax,
        names: Sequence[str],
        *,
        live: bool = False,
        new_id: Callable[[int], str] = "call_{}".format,
    ) -> None:
        self.source = Source()
        self._syntax = syntax
        self._names = frozenset(names)
        self._live = live
        self._new_id = new_id
        self._out: list[AnswerDelta] = []
        self._count = 0
        self._is_after_call = False
        self._steps = self._parse()
        next(self._steps)

    def feed(self, text: str) -> Sequence[AnswerDelta]:
        """What the next piece of text adds."""
        self.source.text += text
        return self._resume()

    def finish(self) -> Sequence[AnswerDelta]:
        """What was held back, now that the text has ended."""
        self.source.ended = True
        return self._resume()

    # For syntaxes.

    def check(self, name: str) -> None:
        """Raise Unreadable for a tool that nobody offered."""
        if name not in self._names:
            raise Unreadable

    def arguments(self, name: str | None) -> Steps[str | None]:
        """Read arguments; None if they have been passed on already, as those of this call."""
        if not self._live or name is None or (yield from self.source.peek()) != "{":
            return (yield from self.source.json())
        index = self._start(name)
        yield from self.source.json(lambda text: self._out.append(CallArguments(index, text)))
        return None

    def call(self, name: str, arguments: str) -> None:
        """A call has been read. Raises Unreadable where the arguments are no JSON object."""
        whole = _object(arguments)
        self.source.drop()
        self._out.append(CallArguments(self._start(name), whole))

    def say(self, text: str) -> None:
        """Words for the user."""
        if self._is_after_call:
            text = text.lstrip()
        if text:
            self._is_after_call = False
            self._out.append(Content(text))

    # The way through an answer.

    def _resume(self) -> Sequence[AnswerDelta]:
        next(self._steps, None)
        out, self._out = self._out, []
        return out

    def _start(self, name: str) -> int:
        index, self._count = self._count, self._count + 1
        self._is_after_call = True
        self._out.append(CallStart(index, self._new_id(index), name))
        return index

    def _parse(self) -> Steps[None]:
        if not self.source.text:
            yield
        if self._syntax.openings and (yield from self._opens()):
            yield from self._read()
        while (yield from self._words()):
            yield from self._read()

    def _opens(self) -> Steps[bool]:
        yield from self.source.space()
        for opening in self._syntax.openings:
            if (yield from self.source.accept(opening)):
                self.source.at -= len(opening)
                return True
        self.source.at = 0
        return False

    def _read(self) -> Steps[None]:
        """Read calls; from where they cannot be read, it is content again."""
        try:
            yield from self._syntax.read(self)
            self.source.drop()
        except Unreadable:
            self.say(self.source.drop())

    def _words(self) -> Steps[bool]:
        """Pass on words up to a call; False if none came. White space before a call is no content."""
        source, triggers = self.source, self._syntax.triggers
        while not source.before(*triggers):
            self.say(source.drop())
            if source.ended:
                return False
            yield
        self.say(source.drop())
        yield from source.space()
        for trigger in triggers:
            if (yield from source.accept(trigger)):
                return True
        raise AssertionError("no trigger where one was found")


def _object(text: str) -> str:
    """Arguments as JSON text, also where a model wrote that text as a JSON string."""
    try:
        value = json.loads(text)
        if isinstance(value, str):
            text, value = value, json.loads(value)
    except (ValueError, RecursionError):
        raise Unreadable from None
    if not isinstance(value, dict):
        raise Unreadable
    return text
