"""How llama.cpp cuts a batch into passes through the graph."""

from __future__ import annotations

from collections.abc import Sequence as Items

from localchat.engine.scheduler import Chunk

Pass = tuple[int, int, int]
"""Rows; the tokens of context they look at, added up; rows of each sequence."""


def passes(chunks: Items[Chunk], *, streams: bool, fillers: Items[tuple[int, int]] = ()) -> Items[Pass]:
    """The passes of chunks in ascending order of slots.

    With a KV stream for each sequence a pass has as many rows of one sequence as of the next, and slots in a row. Where
    `streams` is False, all share one pass. `fillers` are slots with a row more each, and what these hold. Longer
    batches than a pass allows are not told apart.
    """
    rows = kv_tokens = 0
    for chunk in chunks:
        each = chunk.rows
        rows += each
        kv_tokens += each * (chunk.start + each)
    count = len(chunks)
    is_even = rows == count * chunks[0].rows
    if not streams or (is_even and chunks[-1].sequence.slot - chunks[0].sequence.slot == count - 1):
        return ((rows, kv_tokens, rows // count),)
    parts = [[chunk.sequence.slot, chunk.start, chunk.rows] for chunk in chunks]
    if fillers:
        parts = sorted(parts + [[slot, start, 1] for slot, start in fillers])
    return _split(parts)


def _split(left: list[list[int]]) -> Items[Pass]:
    """Take as many rows of every slot in a row as the one with the least has, until none is left."""
    found: list[Pass] = []
    while left:
        group = [left[0]]
        for part in left[1:]:
            if part[0] != group[-1][0] + 1:
                break
            group.append(part)
        each = min(part[2] for part in group)
        for part in group:
            part[1] += each
            part[2] -= each
        found.append((each * len(group), each * sum(part[1] for part in group), each))
        left = [part for part in left if part[2]]
    return found
