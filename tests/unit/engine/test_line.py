"""Who is next: lanes, turns between keys, order within a key."""

from __future__ import annotations

import itertools
from collections.abc import Sequence as Items

from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.line import Line
from localchat.engine.sequence import Sequence
from localchat.lane import Lane

from .scripted import Greedy

LENGTHS = st.integers(1, 40)
KEYS = st.sampled_from(["", "a", "b", "c"])
LANES = st.sampled_from(list(Lane))
ids = itertools.count()


def make(key: str = "", length: int = 10, lane: Lane = Lane.INTERACTIVE) -> Sequence:
    return Sequence(
        next(ids),
        [0] * length,
        max_tokens=10,
        sampler=Greedy(),
        detokenizer=Detokenizer(),
        lane=lane,
        key=key,
    )


def line_of(sequences: Items[Sequence]) -> Line[Sequence]:
    line: Line[Sequence] = Line()
    for sequence in sequences:
        line.add(sequence)
    return line


def take_all(line: Line[Sequence]) -> list[Sequence]:
    """Everybody, in the order in which a scheduler with room for all would take them."""
    taken = []
    for lane in Lane:
        while line.waits(lane):
            taken.append(line.take(lane))
    return taken


requests = st.lists(st.builds(make, KEYS, LENGTHS, LANES), max_size=30)


@given(requests)
def test_everybody_is_taken_once_and_then_nobody_waits(sequences: list[Sequence]) -> None:
    line = line_of(sequences)
    assert len(line) == len(list(line)) == len(sequences)
    taken = take_all(line)
    assert sorted(sequence.id for sequence in taken) == sorted(sequence.id for sequence in sequences)
    assert not line
    assert len(line) == 0


@given(requests)
def test_requests_of_a_key_keep_their_order(sequences: list[Sequence]) -> None:
    taken = take_all(line_of(sequences))
    for lane, key in itertools.product(Lane, ["", "a", "b", "c"]):
        mine = [sequence.id for sequence in taken if (sequence.lane, sequence.key) == (lane, key)]
        assert mine == sorted(mine)


@given(requests, requests)
def test_lanes_do_not_know_of_each_other(interactive: list[Sequence], background: list[Sequence]) -> None:
    for sequence in interactive:
        sequence.lane = Lane.INTERACTIVE
    for sequence in background:
        sequence.lane = Lane.BACKGROUND
    alone = take_all(line_of(interactive))
    both = line_of([*background, *interactive])
    assert [both.take(Lane.INTERACTIVE) for _ in interactive] == alone


@given(st.lists(st.tuples(KEYS, LENGTHS), max_size=60), st.integers(0, 60), LENGTHS)
def test_first_request_of_a_key_waits_for_one_of_each_other_key_at_most(
    others: list[tuple[str, int]], taken_before: int, length: int
) -> None:
    line = line_of([make(key, size) for key, size in others])
    for _ in range(min(taken_before, len(line))):
        line.charge(line.take(Lane.INTERACTIVE), 7)
    late = make("late", length)
    line.add(late)
    before = list(itertools.takewhile(lambda sequence: sequence is not late, take_all(line)))
    keys = [sequence.key for sequence in before]
    assert len(keys) == len(set(keys))


@given(st.lists(LENGTHS, min_size=20, max_size=20), st.lists(LENGTHS, min_size=20, max_size=20), st.integers(0, 30))
def test_keys_that_always_wait_are_served_alike(mine: list[int], yours: list[int], output: int) -> None:
    line = line_of([*(make("mine", length) for length in mine), *(make("yours", length) for length in yours)])
    served = {"mine": 0, "yours": 0}
    left = {"mine": 20, "yours": 20}
    while all(left.values()):
        sequence = line.take(Lane.INTERACTIVE)
        line.charge(sequence, output)
        served[sequence.key] += sequence.prompt_tokens + output
        left[sequence.key] -= 1
        assert abs(served["mine"] - served["yours"]) <= max([*mine, *yours]) + output


def test_hundred_requests_of_a_key_do_not_delay_the_first_of_another() -> None:
    line = line_of([make("many") for _ in range(100)])
    line.take(Lane.INTERACTIVE)
    line.add(make("few"))
    assert [line.take(Lane.INTERACTIVE).key for _ in range(3)] == ["few", "many", "many"]


def test_keys_with_equal_requests_alternate() -> None:
    line = line_of([make(key) for key in "aaabbbcc"])
    assert "".join(sequence.key for sequence in take_all(line)) == "abcabcab"


def test_key_with_long_requests_has_fewer_of_them() -> None:
    line = line_of([*(make("long", 30) for _ in range(3)), *(make("short", 10) for _ in range(9))])
    first = [sequence.key for sequence in take_all(line)][:8]
    assert first.count("short") == 3 * first.count("long")


def test_long_answers_count_too() -> None:
    line = line_of([make(key, 1) for key in "aabb"])
    line.charge(line.take(Lane.INTERACTIVE), 100)
    assert "".join(sequence.key for sequence in take_all(line)) == "bba"


def test_nobody_owes_for_what_nobody_else_wanted() -> None:
    line = line_of([make("busy", 1000)])
    line.charge(line.take(Lane.INTERACTIVE), 1000)
    for key in ("busy", "idle", "busy", "idle"):
        line.add(make(key))
    assert [sequence.key for sequence in take_all(line)] == ["busy", "idle", "busy", "idle"]


def test_nobody_saves_up_turns() -> None:
    line = line_of([make("busy", 1) for _ in range(50)])
    for _ in range(30):
        line.take(Lane.INTERACTIVE)
    for _ in range(3):
        line.add(make("idle", 1))
    assert [line.take(Lane.INTERACTIVE).key for _ in range(5)] == ["idle", "busy", "idle", "busy", "idle"]


def test_one_put_back_is_next_whatever_its_key_has_had() -> None:
    line = line_of([make(key, lane=Lane.BACKGROUND) for key in "aab"])
    first = line.take(Lane.BACKGROUND)
    line.put_back(first)
    assert line.take(Lane.BACKGROUND) is first
    assert [sequence.key for sequence in take_all(line)] == ["b", "a"]


@given(st.lists(st.tuples(st.builds(make, KEYS, LENGTHS, LANES), st.booleans()), max_size=30))
def test_whoever_leaves_is_not_taken(sequences: list[tuple[Sequence, bool]]) -> None:
    line = line_of([sequence for sequence, _ in sequences])
    for sequence, leaves in sequences:
        if leaves:
            line.remove(sequence)
    assert sorted(sequence.id for sequence in take_all(line)) == [s.id for s, leaves in sequences if not leaves]


def test_one_put_back_can_leave() -> None:
    line = line_of([make()])
    sequence = line.take(Lane.INTERACTIVE)
    line.put_back(sequence)
    line.remove(sequence)
    assert not line
