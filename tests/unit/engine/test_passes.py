"""How llama.cpp would cut batches."""

from __future__ import annotations

import pytest

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.passes import Pass, passes
from localchat.engine.scheduler import Chunk
from localchat.engine.sequence import Sequence
from unit.engine.scripted import Greedy


def chunk(slot: int, start: int, count: int) -> Chunk:
    sequence = Sequence(slot, [0] * (start + count), 10, Greedy(), Detokenizer())
    sequence.slot = slot
    return Chunk(sequence, start, count)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([(0, 9, 1)], [(1, 10, 1)]),
        ([(0, 9, 1), (1, 19, 1)], [(2, 30, 1)]),
        ([(0, 0, 5), (1, 0, 5)], [(10, 50, 5)]),
        ([(0, 9, 1), (2, 19, 1)], [(1, 10, 1), (1, 20, 1)]),
        ([(0, 9, 1), (1, 19, 1), (2, 100, 65)], [(3, 131, 1), (64, 64 * 165, 64)]),
        ([(0, 0, 3), (1, 9, 1), (2, 0, 3)], [(3, 12, 1), (2, 6, 2), (2, 6, 2)]),
    ],
    ids=["one", "rows side by side", "equal prompts", "a hole", "a prompt beside two", "one between prompts"],
)
def test_streams_go_in_equal_steps(chunks: list[tuple[int, int, int]], expected: list[Pass]) -> None:
    made = [chunk(*each) for each in chunks]
    assert list(passes(made, streams=True)) == expected
    rows = sum(rows for rows, _, _ in expected)
    assert passes(made, streams=False)[0][0] == rows
    assert len(passes(made, streams=False)) == 1


def test_a_filler_is_a_row_between_others() -> None:
    made = [chunk(0, 9, 1), chunk(2, 19, 1)]
    assert list(passes(made, streams=True, fillers=[(1, 4)])) == [(3, 10 + 5 + 20, 1)]
