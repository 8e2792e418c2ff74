"""Text that is still coming, read by generators that wait for more of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

_T = TypeVar("_T")

Steps = Generator[None, None, _T]
"""Reads on whenever it is resumed, and waits by yielding; its result is what it read."""

_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[\s,{}\[\]\"]")
_SPACE = " \t\r\n"


class Unreadable(Exception):
    """The text is not what was expected."""


class Source:
    """Text up to where it has come. `at` is how far it has been read; what is before it is kept until it is dropped."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False

    def drop(self) -> str:
        """What has been read, which is kept no longer."""
        read, self.text, self.at = self.text[: self.at], self.text[self.at :], 0
        return read

    def peek(self) -> Steps[str]:
        """The next character; empty at the end."""
        while self.at >= len(self.text):
            if self.ended:
                return ""
            yield
        return self.text[self.at]

    def space(self) -> Steps[None]:
        """Read over white space."""
        while (yield from self.peek()) in _SPACE and self.at < len(self.text):
            self.at += 1

    def accept(self, words: str) -> Steps[bool]:
        """Whether the text goes on with these words; if so, they are read."""
        while not self.ended and len(self.text) - self.at < len(words) and words.startswith(self.text[self.at :]):
            yield
        if not self.text.startswith(words, self.at):
            return False
        self.at += len(words)
        return True

    def expect(self, words: str) -> Steps[None]:
        """Read over these words. Raises Unreadable where there are others."""
        if not (yield from self.accept(words)):
            raise Unreadable

    def before(self, *marks: str) -> bool:
        """Read what is certainly before any mark, but not the white space in front of one; whether one is there.

        What the text ends with, and may be a mark's beginning or white space before one, waits for more.
        """
        found = [place for mark in marks if (place := self.text.find(mark, self.at)) >= 0]
        end = min(found, default=len(self.text))
        if not found and not self.ended:
            end -= _overlap(self.text, marks)
        if found or not self.ended:
            end = max(len(self.text[:end].rstrip()), self.at)
        self.at = end
        return bool(found)

    def until(self, mark: str) -> Steps[str]:
        """The text before a mark, which is read as well. Raises Unreadable where none comes."""
        while (end := self.text.find(mark, self.at)) < 0:
            if self.ended:
                raise Unreadable
            yield
        found = self.text[self.at : end]
        self.at = end + len(mark)
        return found

    def string(self) -> Steps[str]:
        """A JSON string. Raises Unreadable."""
        raw = yield from self.json()
        try:
            value = json.loads(raw, strict=False)
        except ValueError:
            raise Unreadable from None
        if not isinstance(value, str):
            raise Unreadable
        return value

    def json(self, pass_on: Callable[[str], None] | None = None) -> Steps[str]:
        """The text of a JSON value, as far as its brackets and quotes say. Raises Unreadable where the text ends first.

        `pass_on` gets it piece by piece, and what has been passed on is dropped.
        """
        pieces: list[str] = []
        nesting = _Nesting()
        while True:
            start = self.at
            self.at, is_whole = nesting.follow(self.text, self.at)
            if pass_on is not None and self.at > start:
                pass_on(self.drop()[start:])
            elif pass_on is None:
                pieces.append(self.text[start : self.at])
            if is_whole:
                return "".join(pieces)
            if self.ended:
                if nesting.is_scalar:
                    return "".join(pieces)
                raise Unreadable
            yield


def _overlap(text: str, marks: Sequence[str]) -> int:
    """How much of the text's end may become a mark."""
    longest = 0
    for mark in marks:
        for length in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:length]):
                longest = length
                break
    return longest


class _Nesting:
    """Where in a JSON value a text stands."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self.is_scalar = False

    def follow(self, text: str, at: int) -> tuple[int, bool]:
        """Read on from a place: the end of the value and True, or the end of the text and False."""
        if at == len(text):
            return at, False
        if not self._depth and not self._in_string and text[at] not in '{["':
            self.is_scalar = True
        if self.is_scalar:
            end = _SCALAR_END.search(text, at)
            return (end.start(), True) if end else (len(text), False)
        while True:
            if self._is_escaped:
                if at == len(text):
                    return at, False
                at, self._is_escaped = at + 1, False
            found = (_STRING_END if self._in_string else _STRUCTURE).search(text, at)
            if found is None:
                return len(text), False
            at = found.end()
            self._take(found[0])
            if not self._depth and not self._in_string:
                return at, True

    def _take(self, sign: str) -> None:
        if sign == "\\":
            self._is_escaped = True
        elif sign == '"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if sign in "{[" else -1
