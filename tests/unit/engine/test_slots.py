"""Which place in the KV cache a new sequence gets, and what it finds there."""

from __future__ import annotations

import pytest

from localchat.engine.slots import MIN_REUSE, Slots


def occupy(slots: Slots, *ids: int) -> None:
    """Make these slots the running ones; the others stay free, empty and unused."""
    for slot in range(slots.count):
        slots[slot].is_free = slot not in ids


def leave(slots: Slots, slot: int, tokens: list[int]) -> None:
    """Let the slot have had a sequence that left these tokens."""
    slots[slot].is_free = False
    slots.give_back(slot, tokens)


@pytest.mark.parametrize(
    ("running", "taken"),
    [
        ((), 0),
        ((0,), 1),
        ((0, 2), 1),
        ((0, 3), 1),  # the lowest of two holes
        ((1, 2), 0),  # no hole: the lower of two neighbours
        ((2, 3), 1),
        ((3, 4), 2),
        ((0, 1, 4), 2),
        ((5,), 4),
        ((7,), 6),
    ],
)
def test_slot_is_a_hole_else_a_neighbour_else_the_lowest(running: tuple[int, ...], taken: int) -> None:
    slots = Slots(8)
    occupy(slots, *running)
    assert slots.take([1, 2, 3]) == (taken, 0)


def test_hole_that_remembers_is_preferred_to_an_empty_neighbour() -> None:
    slots = Slots(4)
    leave(slots, 1, [9] * 50)
    occupy(slots, 0, 2)
    assert slots.take([1, 2, 3]) == (1, 0)


def test_empty_slot_is_preferred_among_equals() -> None:
    slots = Slots(3)
    leave(slots, 0, [9] * 50)
    leave(slots, 1, [8] * 50)
    assert slots.take([1, 2, 3]) == (2, 0)


def test_slot_that_was_emptied_counts_as_empty() -> None:
    slots = Slots(2)
    leave(slots, 0, [9] * 50)
    leave(slots, 1, [])
    assert slots.take([1, 2, 3]) == (1, 0)


def test_slot_unused_longest_is_given_up_first() -> None:
    slots = Slots(3)
    for slot in (1, 2, 0):
        leave(slots, slot, [slot] * 50)
    assert slots.take([7, 8, 9]) == (1, 0)


def test_longest_prefix_wins_over_place() -> None:
    slots = Slots(4)
    prompt = list(range(100))
    leave(slots, 1, prompt[:20])
    leave(slots, 3, prompt[:60])
    occupy(slots, 0)
    assert slots.take(prompt) == (3, 60)


def test_of_equal_prefixes_the_lowest_slot_wins() -> None:
    slots = Slots(4)
    prompt = list(range(100))
    leave(slots, 3, prompt[:40])
    leave(slots, 2, prompt[:40])
    assert slots.take(prompt) == (2, 40)


def test_prefix_ends_where_the_texts_part() -> None:
    slots = Slots(1)
    leave(slots, 0, [*range(30), 77, *range(31, 60)])
    assert slots.take(list(range(60))) == (0, 30)


def test_short_prefix_does_not_decide_but_is_used() -> None:
    slots = Slots(3)
    prompt = list(range(100))
    leave(slots, 2, prompt[: MIN_REUSE - 1])
    assert slots.take(prompt) == (0, 0)
    assert slots.take(prompt) == (1, 0)
    assert slots.take(prompt) == (2, MIN_REUSE - 1)


def test_prefix_of_min_reuse_tokens_decides() -> None:
    slots = Slots(3)
    prompt = list(range(100))
    leave(slots, 2, prompt[:MIN_REUSE])
    assert slots.take(prompt) == (2, MIN_REUSE)


def test_last_token_of_the_prompt_is_never_reused() -> None:
    slots = Slots(1)
    prompt = list(range(40))
    leave(slots, 0, prompt)
    assert slots.take(prompt) == (0, 39)


def test_prompt_shorter_than_what_is_held_reuses_all_but_its_last_token() -> None:
    slots = Slots(1)
    leave(slots, 0, list(range(40)))
    assert slots.take(list(range(25))) == (0, 24)


def test_prompt_of_one_token_reuses_nothing() -> None:
    slots = Slots(1)
    leave(slots, 0, [5, 6])
    assert slots.take([5]) == (0, 0)


def test_reuse_can_be_declined() -> None:
    slots = Slots(2)
    prompt = list(range(40))
    leave(slots, 1, prompt)
    assert slots.take(prompt, reuse=False) == (0, 0)


def test_memory_that_cannot_be_cut_is_reused_whole_or_not_at_all() -> None:
    slots = Slots(2, can_cut=False)
    leave(slots, 0, list(range(30)))
    assert slots.take([*range(20), 99, 98]) == (1, 0)  # parts from it
    assert slots.take([*range(30), 99, 98]) == (0, 30)  # goes on from it


def test_memory_that_cannot_be_cut_is_not_reused_for_the_same_prompt() -> None:
    slots = Slots(1, can_cut=False)
    leave(slots, 0, list(range(30)))
    assert slots.take(list(range(30))) == (0, 0)


def test_taken_slot_forgets_what_it_held() -> None:
    slots = Slots(1)
    leave(slots, 0, list(range(40)))
    assert slots.cached_tokens == 40
    slots.take(list(range(80)))
    assert slots.cached_tokens == 0
    assert slots[0].tokens == []


def test_cached_tokens_are_those_of_free_slots() -> None:
    slots = Slots(3)
    leave(slots, 0, [1] * 10)
    leave(slots, 2, [2] * 5)
    assert slots.cached_tokens == 15


def test_all_slots_can_be_had_and_no_more() -> None:
    slots = Slots(3)
    assert [slots.take([1])[0] for _ in range(3)] == [0, 1, 2]
    assert not slots.has_free
    with pytest.raises(AssertionError, match="no free slot"):
        slots.take([1])


def test_slot_cannot_be_given_back_twice() -> None:
    slots = Slots(2)
    slot, _ = slots.take([1, 2])
    slots.give_back(slot, [1, 2])
    with pytest.raises(AssertionError, match="slot 0 is free already"):
        slots.give_back(slot, [1, 2])
