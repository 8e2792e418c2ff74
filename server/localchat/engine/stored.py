"""Prefixes whose states are in files, and which of those in memory are worth a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from localchat.engine.saved import Saved, worth
from localchat.engine.slots import Slot

if TYPE_CHECKING:
    from localchat.engine.prefix_cache import PrefixCache

MIN_SHARED = 256
"""Tokens of what was used again, before they are worth a file."""
MIN_WHOLE = 512
"""The same of what was used once."""
MIN_GAIN = 64
"""A file must spare so many tokens that none spares yet."""
MOST_READ = 4
"""Tokens of a file that are read at most for each that need not be computed: reading takes a fraction of that time."""


@dataclass(slots=True, eq=False)
class Stored:
    """A file that holds the state of these tokens. `is_shared` says that several prompts began with them."""

    name: str
    tokens: list[int]
    is_shared: bool = False
    is_coming: bool = False
    """Whether it is being read."""
    loaded: Saved | None = None
    """What was read, while somebody waits for it."""

    @property
    def length(self) -> int:
        """Tokens whose keys and values it holds."""
        return len(self.tokens)


class Archive(Protocol):
    """Where files are."""

    def stored(self) -> list[Stored]:
        """The files there are at the start."""

    def read(self, stored: Stored, then: Callable[[memoryview | None], None]) -> None:
        """Begin to read a state; `then` gets it from another thread, or None where it is not to be had."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is worth a file: these tokens, which a free slot begins with or a saved state holds."""

    tokens: list[int]
    holder: Slot | Saved
    is_shared: bool


def candidates(cache: PrefixCache) -> Iterator[Candidate]:
    """What is worth a file and in none, the best first: what prompts share, then what was used lately and often."""
    if cache.can_cut:
        for depth, holders in cache.tree.branches(MIN_SHARED):
            slots = [holder for holder in holders if isinstance(holder, Slot) and holder.is_free]
            if slots and not _is_stored(cache, slots[0].left[:depth]):
                slot = min(slots, key=lambda slot: (slot.length, slot.id))
                yield Candidate(slot.left[:depth], slot, is_shared=True)
    owners: list[Slot | Saved] = [*cache.saved, *cache.slots.free]
    for one in sorted(owners, key=lambda one: -worth(one, cache.clock)):
        tokens = one.tokens if isinstance(one, Saved) else one.left
        is_shared = one in cache.tree and cache.tree.is_branch(one)
        if len(tokens) >= (MIN_SHARED if is_shared or one.uses else MIN_WHOLE) and not _is_stored(cache, tokens):
            yield Candidate(tokens, one, is_shared)


def superseded(cache: PrefixCache, newcomer: Stored) -> list[Stored]:
    """Files that are of no use beside a new one, which holds all of theirs."""
    if not cache.can_cut:
        return []
    most = newcomer.length
    return [
        holder
        for holder, length in cache.tree.match(newcomer.tokens).items()
        if isinstance(holder, Stored) and holder.length == length < most <= MOST_READ * length and not holder.is_shared
    ]


def best(cache: PrefixCache, common: dict[Stored, int], held: int) -> Stored | None:
    """The file that spares most, where `common` says how many tokens each could give and `held` are there already."""
    useful = [
        (length, -stored.length, stored.name, stored)
        for stored, length in common.items()
        if (cache.can_cut or length == stored.length)
        and length - held >= MIN_GAIN
        and stored.length <= MOST_READ * (length - held)
    ]
    return max(useful)[-1] if useful else None


def _is_stored(cache: PrefixCache, tokens: list[int]) -> bool:
    """Whether files spare nearly all of these tokens."""
    for holder, length in cache.tree.match(tokens).items():
        if not isinstance(holder, Stored):
            continue
        if not cache.can_cut:
            if holder.length == length == len(tokens):
                return True
        elif length > len(tokens) - MIN_GAIN and holder.length <= MOST_READ * len(tokens):
            return True
    return False
