"""Who waits, and who is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from localchat.lane import Lane


class Waiter(Protocol):
    """Somebody who waits: in which lane, by whose key, and how much there is to read."""

    @property
    def lane(self) -> Lane:
        """The lane."""

    @property
    def key(self) -> str:
        """Whose request it is."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens to be read."""


W = TypeVar("W", bound=Waiter)


class Line(Generic[W]):
    """A line for each lane. Within it keys take turns, and what one key asks for comes in its order.

    The key that was served the fewest tokens is next. Only what is served while others wait counts: nobody saves up
    turns by asking for nothing, and nobody owes for what nobody else wanted.
    """

    def __init__(self) -> None:
        self._lanes = {lane: _Turns[W]() for lane in Lane}

    def __len__(self) -> int:
        """How many wait."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return any(turns.waits for turns in self._lanes.values())

    def __iter__(self) -> Iterator[W]:
        """Those who wait, in no order that means anything."""
        for turns in self._lanes.values():
            yield from turns

    def waits(self, lane: Lane) -> bool:
        """Whether anybody waits in a lane."""
        return self._lanes[lane].waits

    def add(self, sequence: W) -> None:
        """Queue a sequence behind those of its key."""
        self._lanes[sequence.lane].add(sequence)

    def put_back(self, sequence: W) -> None:
        """Queue a sequence that was taken already, before all others of its lane."""
        self._lanes[sequence.lane].returned.appendleft(sequence)

    def take(self, lane: Lane) -> W:
        """Who is next in a lane where somebody waits; its prompt counts as served."""
        return self._lanes[lane].take()

    def remove(self, sequence: W) -> None:
        """Let a sequence leave that waits."""
        self._lanes[sequence.lane].remove(sequence)

    def charge(self, sequence: W, tokens: int) -> None:
        """Count tokens as served to a sequence's key."""
        self._lanes[sequence.lane].charge(sequence.key, tokens)


class _Turns(Generic[W]):
    """The line of one lane. The keys of `_waiting` are in the order in which they were last served, or came."""

    def __init__(self) -> None:
        self.returned: deque[W] = deque()
        self._waiting: dict[str, deque[W]] = {}
        self._served: dict[str, int] = {}
        self._least = 0

    @property
    def waits(self) -> bool:
        return bool(self.returned or self._waiting)

    def __iter__(self) -> Iterator[W]:
        yield from self.returned
        for sequences in self._waiting.values():
            yield from sequences

    def add(self, sequence: W) -> None:
        if not self._waiting:
            self._served.clear()
            self._least = 0
        if sequence.key not in self._waiting:
            self._waiting[sequence.key] = deque()
            self._served[sequence.key] = max(self._served.get(sequence.key, 0), self._least)
        self._waiting[sequence.key].append(sequence)

    def take(self) -> W:
        if self.returned:
            return self.returned.popleft()
        key = min(self._waiting, key=self._served.__getitem__)
        self._least = self._served[key]
        sequences = self._waiting.pop(key)
        sequence = sequences.popleft()
        if sequences:
            self._waiting[key] = sequences
        self.charge(key, sequence.prompt_tokens)
        return sequence

    def remove(self, sequence: W) -> None:
        if sequence in self.returned:
            self.returned.remove(sequence)
            return
        sequences = self._waiting[sequence.key]
        sequences.remove(sequence)
        if not sequences:
            del self._waiting[sequence.key]

    def charge(self, key: str, tokens: int) -> None:
        self._served[key] = self._served.get(key, self._least) + tokens
