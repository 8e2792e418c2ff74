"""A place in a file of little-endian values: no length is believed before the file is known to hold it."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from localchat.errors import NotGguf
from localchat.hardware.ggml_types import ValueType

# Real headers reach 16 MiB (262,144 tokens with their merges); a file of empty strings would be read for minutes.
MAX_HEADER = 128 << 20
# Most bytes of one string; the longest in use, chat templates, stay under 64 KiB.
MAX_STRING = 16 << 20
# Every so many strings of an array their place is kept, so that one string can be reached without walking all.
STRIDE = 1024

_WINDOW = 1 << 20
_MESSAGE = 400
_U64 = struct.Struct("<Q")


class Cursor:
    """Reads forward from `at`, through a window, so that nothing depends on how long the header is."""

    def __init__(self, file: BinaryIO, name: str, at: int = 0) -> None:
        self.name = name
        self.at = at
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        self._window = b""
        self._start = 0

    def error(self, message: str) -> NotGguf:
        """The error to raise, with the file's name in front; cut, for it may quote a long text of the file."""
        return NotGguf(f"{self.name}: {message if len(message) <= _MESSAGE else message[:_MESSAGE] + '…'}")

    def require(self, count: int, what: str) -> None:
        """Refuse when the file or the header's limit ends before `count` more bytes."""
        end = self.at + count
        if end > self.size:
            missing = end - self.size
            raise self.error(f"at least {missing} bytes are missing: it ends inside {what}, at byte {self.size}")
        if end > MAX_HEADER:
            raise self.error(f"the header is longer than {MAX_HEADER >> 20} MiB, in {what}")

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes."""
        self._load(count, what)
        start = self.at - self._start
        self.at += count
        return self._window[start : start + count]

    def number(self, code: str, what: str) -> int:
        """The next integer, by its `struct` code."""
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))
        return int(value)

    def numbers(self, kind: ValueType, count: int, what: str) -> tuple[int | float | bool, ...]:
        """The next `count` values of one type."""
        return struct.unpack(f"<{count}{kind.code}", self.take(count * kind.size, what))

    def string(self, what: str, limit: int = MAX_STRING) -> bytes:
        """The next string, of at most `limit` bytes."""
        length = self.number("Q", what)
        if length > limit:
            raise self.error(f"{what} is {length} bytes long, more than {limit}")
        return self.take(length, what)

    def skip(self, count: int, what: str) -> None:
        """Pass over `count` bytes."""
        self.require(count, what)
        self.at += count

    def skip_strings(self, count: int, what: str) -> tuple[int, ...]:
        """Pass over `count` strings; returns the place of every `STRIDE`th."""
        self.require(count * _U64.size, what)
        marks = []
        for done in range(0, count, STRIDE):
            marks.append(self.at)
            self._skip_some(min(STRIDE, count - done), what)
        return tuple(marks)

    def _skip_some(self, left: int, what: str) -> None:
        # The one hot loop: a vocabulary has 50,000 to 800,000 strings.
        length_at = _U64.unpack_from
        while left:
            self._load(_U64.size, what)
            window, local = self._window, self.at - self._start
            last = len(window) - _U64.size
            while left and local <= last:
                local += _U64.size + length_at(window, local)[0]
                left -= 1
            self.at = self._start + local
        self.require(0, what)

    def _load(self, count: int, what: str) -> None:
        self.require(count, what)
        if self._start <= self.at and self.at + count <= self._start + len(self._window):
            return
        self._file.seek(self.at)
        self._window = self._file.read(max(count, _WINDOW))
        self._start = self.at
        if len(self._window) < count:
            raise self.error(f"the file became shorter while it was read, at byte {self.at + len(self._window)}")
