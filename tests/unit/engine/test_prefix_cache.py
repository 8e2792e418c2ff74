"""Which slot a new sequence gets, and what of its prompt need not be computed."""

from __future__ import annotations

import pytest

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.prefix_cache import FAR, MIN_COPY, MIN_REUSE, MIN_SAVED, Placement, PrefixCache
from localchat.engine.sequence import Sequence, Status
from localchat.engine.slots import Slot

from .scripted import Greedy

LONG = 1000


def make(tokens: list[int], *, prompt_logprobs: bool = False) -> Sequence:
    return Sequence(
        0, list(tokens), max_tokens=9, sampler=Greedy(), detokenizer=Detokenizer(), prompt_logprobs=prompt_logprobs
    )


def take(cache: PrefixCache, tokens: list[int]) -> tuple[int, int]:
    """Give a slot to a new sequence; which one, and how many tokens it begins with."""
    sequence = start(cache, tokens)
    return sequence.slot, sequence.computed


def start(cache: PrefixCache, tokens: list[int], *, computed: int | None = None) -> Sequence:
    """A running sequence of which so much is computed."""
    sequence = make(tokens)
    cache.take(sequence)
    sequence.status = Status.RUNNING
    if computed is not None:
        sequence.computed = computed
    return sequence


def occupy(cache: PrefixCache, *ids: int) -> None:
    """Let these slots run something that nobody shares."""
    for id in ids:
        cache.slots[id].owner = make([-id])


def leave(cache: PrefixCache, id: int, tokens: list[int]) -> None:
    """Let a slot have had a sequence that left these tokens."""
    sequence, slot = make(tokens), cache.slots[id]
    slot.owner, sequence.slot, sequence.computed = sequence, id, len(tokens)
    cache.give_back(sequence)


def only(placements: list[Placement]) -> Placement:
    (placement,) = placements
    return placement


def save(cache: PrefixCache, tokens: list[int]) -> None:
    cache.keep(tokens, memoryview(bytes(len(tokens))))


# Which slot.


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
    cache = PrefixCache(8)
    occupy(cache, *running)
    assert take(cache, [1, 2, 3]) == (taken, 0)


def test_hole_that_remembers_is_preferred_to_an_empty_neighbour() -> None:
    cache = PrefixCache(4)
    leave(cache, 1, [9] * 50)
    occupy(cache, 0, 2)
    assert take(cache, [1, 2, 3]) == (1, 0)


def test_empty_slot_is_preferred_among_equals() -> None:
    cache = PrefixCache(3)
    leave(cache, 0, [9] * 50)
    leave(cache, 1, [8] * 50)
    assert take(cache, [1, 2, 3]) == (2, 0)


def test_slot_unused_longest_is_given_up_first() -> None:
    cache = PrefixCache(3)
    for slot in (1, 2, 0):
        leave(cache, slot, [slot] * 50)
    assert take(cache, [7, 8, 9]) == (1, 0)


def test_short_prefix_is_given_up_before_a_long_one_that_is_as_old() -> None:
    cache = PrefixCache(2)
    leave(cache, 0, [0] * 500)
    leave(cache, 1, [1] * 50)
    assert take(cache, [7, 8, 9]) == (1, 0)


def test_prefix_that_somebody_else_holds_too_is_given_up_first() -> None:
    cache = PrefixCache(3)
    leave(cache, 0, [1] * 50)
    leave(cache, 1, [2] * 500)
    leave(cache, 2, [2] * 500)
    assert take(cache, [7, 8, 9]) == (1, 0)


def test_all_slots_can_be_had_and_no_more() -> None:
    cache = PrefixCache(3)
    assert [take(cache, [1])[0] for _ in range(3)] == [0, 1, 2]
    assert not cache.has_free
    with pytest.raises(AssertionError, match="no free slot"):
        take(cache, [1])


def test_slot_cannot_be_given_back_twice() -> None:
    cache = PrefixCache(2)
    sequence = start(cache, [1, 2])
    cache.give_back(sequence)
    with pytest.raises(AssertionError, match="slot 0 is free already"):
        cache.give_back(sequence)


# In place.


def test_longest_prefix_wins_over_place_where_it_cannot_be_copied() -> None:
    cache = PrefixCache(4, can_copy=False)
    prompt = list(range(1000))
    leave(cache, 1, prompt[:20])
    leave(cache, 3, prompt[: FAR + 30])
    occupy(cache, 0)
    assert take(cache, prompt) == (3, FAR + 30)
    assert only(cache.placements()).source is None


def test_place_wins_over_a_prefix_that_is_not_much_longer() -> None:
    cache = PrefixCache(4, can_copy=False)
    prompt = list(range(1000))
    leave(cache, 3, prompt[: FAR - 1])
    occupy(cache, 0)
    assert take(cache, prompt) == (1, 0)


def test_long_prefix_far_away_is_copied_to_a_neighbour() -> None:
    cache = PrefixCache(4)
    prompt = list(range(1000))
    leave(cache, 3, prompt[:900])
    occupy(cache, 0)
    assert take(cache, prompt) == (1, 900)
    assert only(cache.placements()).source is cache.slots[3]


def test_every_place_is_as_good_as_another_in_one_buffer() -> None:
    cache = PrefixCache(4, streams=False)
    prompt = list(range(1000))
    leave(cache, 3, prompt[:900])
    occupy(cache, 0)
    assert take(cache, prompt) == (3, 900)


def test_prefix_ends_where_the_texts_part() -> None:
    cache = PrefixCache(1)
    leave(cache, 0, [*range(30), 77, *range(31, 60)])
    assert take(cache, list(range(60))) == (0, 30)


def test_short_prefix_does_not_decide_but_is_used() -> None:
    cache = PrefixCache(3)
    prompt = list(range(100))
    leave(cache, 2, prompt[: MIN_REUSE - 1])
    occupy(cache, 0, 1)
    assert take(cache, prompt) == (2, MIN_REUSE - 1)


def test_prefix_of_min_reuse_tokens_decides() -> None:
    cache = PrefixCache(3)
    prompt = list(range(100))
    leave(cache, 2, prompt[:MIN_REUSE])
    assert take(cache, prompt) == (2, MIN_REUSE)


def test_last_token_of_the_prompt_is_never_reused() -> None:
    cache = PrefixCache(1)
    prompt = list(range(40))
    leave(cache, 0, prompt)
    assert take(cache, prompt) == (0, 39)


def test_prompt_of_one_token_reuses_nothing() -> None:
    cache = PrefixCache(1)
    leave(cache, 0, [5, 6])
    assert take(cache, [5]) == (0, 0)


def test_prompt_whose_every_token_is_to_be_judged_reuses_nothing() -> None:
    cache = PrefixCache(2)
    leave(cache, 1, list(range(40)))
    sequence = make(list(range(40)), prompt_logprobs=True)
    cache.take(sequence)
    assert (sequence.slot, sequence.computed) == (0, 0)


@pytest.mark.parametrize(("prompt", "place"), [([*range(20), 99, 98], (1, 0)), ([*range(30), 99], (0, 30))])
def test_memory_that_cannot_be_cut_is_reused_whole_or_not_at_all(prompt: list[int], place: tuple[int, int]) -> None:
    cache = PrefixCache(2, can_cut=False)
    leave(cache, 0, list(range(30)))
    assert take(cache, prompt) == place


def test_memory_that_cannot_be_cut_is_not_reused_for_the_same_prompt() -> None:
    cache = PrefixCache(1, can_cut=False)
    leave(cache, 0, list(range(30)))
    assert take(cache, list(range(30))) == (0, 0)


def test_taken_slot_forgets_what_it_held() -> None:
    cache = PrefixCache(1)
    leave(cache, 0, list(range(40)))
    assert cache.cached_tokens == 40
    start(cache, list(range(80)))
    assert cache.cached_tokens == 0


def test_cached_tokens_are_those_of_free_slots() -> None:
    cache = PrefixCache(3)
    leave(cache, 0, [1] * 10)
    leave(cache, 2, [2] * 5)
    assert cache.cached_tokens == 15


# By a copy.


def test_prefix_of_a_running_sequence_is_copied_as_far_as_it_is_computed() -> None:
    cache = PrefixCache(2)
    prompt = list(range(300))
    start(cache, prompt, computed=200)
    cache.placements()
    assert take(cache, [*prompt[:150], 7, 8]) == (1, 150)
    assert only(cache.placements()).source is cache.slots[0]


def test_answer_of_a_running_sequence_is_copied_too() -> None:
    cache = PrefixCache(2)
    prompt = list(range(100))
    sequence = start(cache, prompt, computed=100)
    sequence.tokens += range(200, 240)
    sequence.computed = 139
    assert take(cache, [*sequence.tokens, 7, 8]) == (1, 139)


def test_running_sequence_whose_tokens_are_few_is_left_alone() -> None:
    cache = PrefixCache(2)
    prompt = list(range(MIN_COPY - 1))
    start(cache, prompt, computed=len(prompt))
    assert take(cache, [*prompt, 7, 8]) == (1, 0)


def test_conversation_is_not_cut_off_where_an_empty_slot_can_have_a_copy_of_its_beginning() -> None:
    cache = PrefixCache(2)
    system = list(range(300))
    leave(cache, 0, system + [1] * 500)
    assert take(cache, system + [2] * 20) == (1, 300)
    assert only(cache.placements()).source is cache.slots[0]
    assert take(cache, system + [1] * 500 + [3]) == (0, 800)


def test_conversation_is_cut_off_where_it_is_worth_less_than_any_other() -> None:
    cache = PrefixCache(2)
    system = list(range(300))
    leave(cache, 0, system + [1] * 10)
    leave(cache, 1, [5] * 2000)
    assert take(cache, system + [2] * 20) == (0, 300)
    assert only(cache.placements()).source is None


def test_memory_that_cannot_be_copied_goes_on_in_place() -> None:
    cache = PrefixCache(2, can_copy=False)
    system = list(range(300))
    leave(cache, 0, system + [1] * 500)
    assert take(cache, system + [2] * 20) == (0, 300)


# By waiting.


def test_newcomers_wait_for_the_first_to_compute_what_they_share() -> None:
    cache = PrefixCache(3)
    system = list(range(300))
    first, second, third = (start(cache, system + [id] * 50) for id in (1, 2, 3))
    assert [sequence.is_ready for sequence in (first, second, third)] == [True, False, False]
    cache.placements()
    first.computed = 299
    assert not cache.has_due
    first.computed = 350
    assert cache.has_due
    cache.settle()
    assert [(sequence.computed, sequence.cached) for sequence in (second, third)] == [(300, 300)] * 2
    assert [placement.source for placement in cache.placements()] == [cache.slots[0]] * 2
    assert second.is_ready


def test_who_shares_more_with_another_that_waits_waits_on_for_that_one() -> None:
    cache = PrefixCache(3)
    system, tools = list(range(300)), list(range(1000, 1200))
    first, second, third = (start(cache, tokens) for tokens in (system, [*system, *tools, 1], [*system, *tools, 2]))
    first.computed = 300
    cache.settle()
    assert (second.computed, second.is_ready, third.is_ready) == (300, True, False)
    second.computed = 501
    cache.settle()
    assert (third.computed, third.is_ready) == (500, True)


def test_who_waits_for_one_that_is_aborted_begins_with_what_that_left() -> None:
    cache = PrefixCache(3)
    system = list(range(300))
    first, second, third = (start(cache, system + [id] * 50) for id in (1, 2, 3))
    first.computed = 128
    cache.give_back(first)
    first.status = Status.FINISHED
    assert cache.has_due
    cache.settle()
    assert (second.computed, second.is_ready, third.is_ready) == (128, True, False)


def test_who_is_aborted_while_it_waits_is_waited_for_no_more() -> None:
    cache = PrefixCache(2)
    system = list(range(300))
    first, second = (start(cache, system + [id] * 50) for id in (1, 2))
    cache.give_back(second)
    first.computed = 350
    assert not cache.has_due
    assert second.is_ready  # it may be queued again


def test_nobody_waits_for_few_tokens() -> None:
    cache = PrefixCache(2)
    start(cache, [1] * (MIN_COPY - 1) + [2] * 50)
    assert start(cache, [1] * (MIN_COPY - 1) + [3] * 50).is_ready


# Saved.


def test_what_is_lost_with_a_slot_is_saved_if_it_is_long() -> None:
    cache = PrefixCache(2, saved_bytes=10_000)
    leave(cache, 0, [1] * MIN_SAVED)
    leave(cache, 1, [2] * (MIN_SAVED - 1))
    assert [start(cache, [7]).slot, start(cache, [8]).slot] == [0, 1]
    assert [placement.lost for placement in cache.placements()] == [[1] * MIN_SAVED, None]


def test_what_somebody_else_holds_is_not_saved() -> None:
    cache = PrefixCache(1, saved_bytes=10_000)
    save(cache, [1] * 300)
    leave(cache, 0, [1] * 350)
    start(cache, [7])
    assert only(cache.placements()).lost is None


def test_saved_prefix_is_restored() -> None:
    cache = PrefixCache(1, saved_bytes=10_000)
    save(cache, [1] * 300)
    assert take(cache, [1] * 200 + [2] * 9) == (0, 200)
    source = only(cache.placements()).source
    assert source is not None
    assert not isinstance(source, Slot)


def test_saved_bytes_are_bounded_and_those_used_least_go() -> None:
    cache = PrefixCache(1, saved_bytes=1000)
    for token in (1, 2, 3):
        save(cache, [token] * 300)
    start(cache, [1] * LONG)
    cache.placements()
    save(cache, [4] * 300)
    assert cache.saved.bytes == 900
    assert {entry.tokens[0] for entry in cache.saved} == {1, 3, 4}


def test_state_that_is_larger_than_all_may_be_is_not_kept() -> None:
    cache = PrefixCache(1, saved_bytes=1000)
    save(cache, [1] * 300)
    save(cache, [2] * 1001)
    assert take(cache, [2] * LONG) == (0, 0)
    assert cache.saved.bytes == 300


# What goes wrong.


def test_sequence_whose_slot_could_not_be_filled_begins_anew() -> None:
    cache = PrefixCache(1, saved_bytes=10_000)
    save(cache, [1] * 300)
    sequence = start(cache, [1] * 400)
    assert (sequence.computed, sequence.cached) == (300, 300)
    cache.fail(only(cache.placements()))
    assert (sequence.computed, sequence.cached) == (0, 0)
