"""Prefixes that have lost their slot, kept in ordinary memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, eq=False)
class Saved:
    """What the KV cache held of these tokens."""

    tokens: list[int]
    data: memoryview
    used: int = 0
    uses: int = 0

    @property
    def length(self) -> int:
        """Tokens whose keys and values it holds."""
        return len(self.tokens)


class SavedPrefixes:
    """At most `most` bytes of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._bytes_per_token = 0.0
        self._entries: list[Saved] = []

    def has_room_for(self, tokens: int) -> bool:
        """Whether a state of so many tokens is not too large by itself, as far as can be told."""
        return 0 < self._most >= tokens * self._bytes_per_token

    @property
    def bytes(self) -> int:
        """Bytes of all."""
        return self._bytes

    def __iter__(self) -> Iterator[Saved]:
        """All of them."""
        return iter(self._entries)

    def put(self, entry: Saved, clock: int) -> list[Saved]:
        """Keep one more; the ones least worth it that had to go, or itself where it is too large."""
        self._bytes_per_token = len(entry.data) / max(1, entry.length)
        if len(entry.data) > self._most:
            return [entry]
        self._entries.append(entry)
        self._bytes += len(entry.data)
        gone = []
        while self._bytes > self._most:
            least = min(self._entries, key=lambda other: (worth(other, clock), other.used))
            self._entries.remove(least)
            self._bytes -= len(least.data)
            gone.append(least)
        return gone


class Used(Protocol):
    """What tells how likely something is to be used again."""

    used: int
    uses: int


def worth(holder: Used, clock: int) -> float:
    """How likely something is to be used again, from 0 to 1: the sooner, the later it was used and the more often."""
    return (1 + holder.uses) / (1 + holder.uses + max(0, clock - holder.used))
