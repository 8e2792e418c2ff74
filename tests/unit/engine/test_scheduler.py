"""What the next step computes."""

from __future__ import annotations

from collections.abc import Sequence as Items
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.cost_model import CostModel
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.prefix_cache import PrefixCache
from localchat.engine.scheduler import TURN, Chunk, Scheduler
from localchat.engine.sequence import Sequence, Status

from .scripted import Greedy


def make(id: int, length: int, *, first: int | None = None, prompt_logprobs: bool = False) -> Sequence:
    """A sequence with a prompt of this many tokens, all its own."""
    tokens = [1000 * (first or id) + i for i in range(length)]
    return Sequence(
        id, tokens, max_tokens=1000, sampler=Greedy(), detokenizer=Detokenizer(), prompt_logprobs=prompt_logprobs
    )


def make_scheduler(
    *,
    slots: int = 4,
    budget: int = 32,
    can_cut: bool = True,
    outputs: int | None = None,
    cost_model: CostModel | None = None,
    max_seconds: float = inf,
) -> Scheduler:
    return Scheduler(
        PrefixCache(slots, can_cut=can_cut),
        budget=budget,
        outputs=outputs,
        cost_model=cost_model,
        max_seconds=max_seconds,
    )


def compute(chunks: Items[Chunk]) -> None:
    """What the engine does with a step, the model aside: each sequence that has caught up gets a token."""
    for chunk in chunks:
        assert chunk.start == chunk.sequence.computed, "a gap"
        chunk.sequence.computed += chunk.count
        if chunk.catches_up:
            chunk.sequence.tokens.append(0)


def outputs(chunk: Chunk) -> int:
    """Rows of logits that a chunk asks for."""
    sequence = chunk.sequence
    return chunk.count if sequence.prompt_logprobs and not sequence.is_decoding else int(chunk.catches_up)


def step(scheduler: Scheduler) -> dict[int, int]:
    """Run a step; how many tokens of each sequence it computed."""
    chunks = scheduler.schedule()
    compute(chunks)
    return {chunk.sequence.id: chunk.count for chunk in chunks}


def start(scheduler: Scheduler, *sequences: Sequence) -> None:
    for sequence in sequences:
        scheduler.add(sequence)


def test_prompt_within_the_budget_is_read_in_one_step() -> None:
    scheduler = make_scheduler()
    start(scheduler, make(1, 10))
    assert step(scheduler) == {1: 10}
    assert step(scheduler) == {1: 1}
    assert step(scheduler) == {1: 1}


def test_long_prompt_is_chunked_while_the_others_decode_every_step() -> None:
    scheduler = make_scheduler(budget=32)
    start(scheduler, make(1, 5), make(2, 5))
    step(scheduler)
    start(scheduler, make(3, 100))
    steps = [step(scheduler) for _ in range(5)]
    assert steps == [{1: 1, 2: 1, 3: 30}] * 3 + [{1: 1, 2: 1, 3: 10}] + [{1: 1, 2: 1, 3: 1}]


def test_decoding_sequences_come_first_even_where_they_fill_the_budget() -> None:
    scheduler = make_scheduler(slots=4, budget=4)
    start(scheduler, *(make(id, 1) for id in (1, 2, 3)))
    step(scheduler)
    start(scheduler, make(4, 9))
    assert step(scheduler) == {1: 1, 2: 1, 3: 1, 4: 1}


def test_prompt_waits_while_the_budget_is_used_up() -> None:
    scheduler = make_scheduler(slots=4, budget=2)
    start(scheduler, make(1, 1), make(2, 1))
    step(scheduler)
    late = make(3, 5)
    start(scheduler, late)
    assert step(scheduler) == {1: 1, 2: 1}
    assert late.status is Status.WAITING


def test_those_that_wait_come_before_a_prompt_that_left_them_nothing() -> None:
    scheduler = make_scheduler(budget=TURN)
    start(scheduler, make(1, TURN + 18), make(2, TURN - 12), make(3, 20))
    assert step(scheduler) == {1: TURN}
    assert step(scheduler) == {2: TURN - 12, 3: 12}
    assert step(scheduler) == {1: 18, 2: 1, 3: 8}


def test_sequence_without_a_slot_waits_for_one() -> None:
    scheduler = make_scheduler(slots=2)
    first, second, third = make(1, 3), make(2, 3), make(3, 3)
    start(scheduler, first, second, third)
    assert step(scheduler) == {1: 3, 2: 3}
    assert list(scheduler.waiting) == [third]
    scheduler.finish(first, "stop")
    assert step(scheduler) == {2: 1, 3: 3}


def test_chunks_come_by_ascending_slot() -> None:
    scheduler = make_scheduler(slots=4)
    sequences = [make(id, 3) for id in range(1, 5)]
    start(scheduler, *sequences)
    step(scheduler)
    scheduler.finish(sequences[1], "stop")
    start(scheduler, make(5, 3))
    chunks = scheduler.schedule()
    assert [chunk.sequence.slot for chunk in chunks] == [0, 1, 2, 3]
    assert [chunk.sequence.id for chunk in chunks] == [1, 5, 3, 4]


def test_chunk_that_leaves_nothing_catches_up() -> None:
    scheduler = make_scheduler(budget=8)
    start(scheduler, make(1, 12))
    (chunk,) = scheduler.schedule()
    assert (chunk.start, chunk.count, chunk.catches_up) == (0, 8, False)
    compute([chunk])
    (chunk,) = scheduler.schedule()
    assert (chunk.start, chunk.count, chunk.catches_up) == (8, 4, True)


def test_shared_prefix_is_not_computed_again() -> None:
    scheduler = make_scheduler(slots=1)
    first = make(1, 20)
    start(scheduler, first)
    step(scheduler)
    scheduler.finish(first, "stop")
    again = make(2, 25, first=1)
    start(scheduler, again)
    (chunk,) = scheduler.schedule()
    assert (chunk.start, chunk.count, again.cached) == (20, 5, 20)


def test_prompt_logprobs_are_read_from_the_start_in_chunks_of_the_rows_of_logits_there_are() -> None:
    scheduler = make_scheduler(slots=1, budget=512, outputs=65)
    first = make(1, 200)
    start(scheduler, first)
    step(scheduler)
    scheduler.finish(first, "stop")
    start(scheduler, make(2, 150, first=1, prompt_logprobs=True))
    limit = 65
    assert [step(scheduler) for _ in range(4)] == [{2: limit}, {2: limit}, {2: 150 - 2 * limit}, {2: 1}]


def test_prompt_logprobs_leave_the_rest_of_the_budget_to_others() -> None:
    scheduler = make_scheduler(budget=512, outputs=68)
    start(scheduler, make(1, 100, prompt_logprobs=True), make(2, 100))
    assert step(scheduler) == {1: 65, 2: 100}  # each of the other three slots keeps a row


def test_prompt_logprobs_advance_where_each_slot_has_one_row_of_logits_only() -> None:
    scheduler = make_scheduler(slots=2, budget=512, outputs=2)
    start(scheduler, make(1, 3, prompt_logprobs=True), make(2, 2, prompt_logprobs=True), make(3, 9))
    assert [step(scheduler) for _ in range(3)] == [{1: 1, 2: 1}] * 3


def test_no_step_asks_for_more_rows_of_logits_than_there_are() -> None:
    scheduler = make_scheduler(slots=3, budget=512, outputs=20)
    start(scheduler, *(make(id, 30, prompt_logprobs=True) for id in (1, 2, 3)))
    for _ in range(12):
        chunks = scheduler.schedule()
        assert sum(map(outputs, chunks)) <= 20
        compute(chunks)
    assert all(sequence.is_decoding for sequence in scheduler.running)


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["queued", "prefilling", "decoding"])
def test_finish_frees_a_sequence_wherever_it_is(steps: int) -> None:
    scheduler = make_scheduler(slots=1, budget=8)
    sequence = make(1, 12)
    start(scheduler, sequence)
    for _ in range(steps):
        step(scheduler)
    scheduler.finish(sequence, "abort")
    assert sequence.is_finished
    assert sequence.finish_reason == "abort"
    assert scheduler.is_idle
    assert scheduler.cache.has_free
    assert scheduler.cache.cached_tokens == (0, 8, 12)[steps]
    start(scheduler, make(2, 5))
    assert step(scheduler) == {2: 5}


def test_finished_sequence_leaves_what_is_computed_of_it() -> None:
    scheduler = make_scheduler(slots=1)
    sequence = make(1, 5)
    start(scheduler, sequence)
    for _ in range(3):
        step(scheduler)
    scheduler.finish(sequence, "stop")
    assert len(sequence.tokens) == 8
    assert scheduler.cache.slots[0].tokens == sequence.tokens[:7]  # the last token was chosen, never computed


def test_sequence_cannot_finish_twice() -> None:
    scheduler = make_scheduler()
    sequence = make(1, 5)
    start(scheduler, sequence)
    scheduler.finish(sequence, "abort")
    with pytest.raises(AssertionError, match="sequence 1 has finished already"):
        scheduler.finish(sequence, "abort")


def test_idle_is_neither_waiting_nor_running() -> None:
    scheduler = make_scheduler()
    assert scheduler.is_idle
    assert scheduler.schedule() == []
    sequence = make(1, 3)
    start(scheduler, sequence)
    assert not scheduler.is_idle
    step(scheduler)
    assert not scheduler.is_idle


@given(
    slots=st.integers(1, 5),
    extra=st.integers(0, 12),
    spare=st.integers(0, 12),
    arrivals=st.lists(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=3), max_size=8),
    lifetimes=st.lists(st.integers(1, 6), min_size=24, max_size=24),
)
def test_rules_hold_whatever_arrives(
    slots: int, extra: int, spare: int, arrivals: list[list[tuple[int, bool]]], lifetimes: list[int]
) -> None:
    scheduler = make_scheduler(slots=slots, budget=slots + extra, outputs=slots + spare)
    submitted: list[Sequence] = []
    started: list[int] = []
    rounds = 0
    while rounds < len(arrivals) or not scheduler.is_idle:
        for length, prompt_logprobs in arrivals[rounds] if rounds < len(arrivals) else ():
            submitted.append(make(len(submitted), length, prompt_logprobs=prompt_logprobs))
            scheduler.add(submitted[-1])
        decoding = {sequence.id for sequence in scheduler.running if sequence.is_decoding}
        chunks = scheduler.schedule()
        served = [chunk.sequence.id for chunk in chunks]
        places = [chunk.sequence.slot for chunk in chunks]
        assert sum(chunk.count for chunk in chunks) <= scheduler.budget
        assert all(chunk.count > 0 for chunk in chunks)
        assert sum(map(outputs, chunks)) <= slots + spare
        assert places == sorted(set(places))
        assert decoding <= set(served), "an arrival took the row of a running sequence"
        started += sorted(set(served) - set(started))
        compute(chunks)
        for sequence in list(scheduler.running):
            if sequence.output_length >= lifetimes[sequence.id % len(lifetimes)]:
                scheduler.finish(sequence, "length")
        rounds += 1
        assert rounds < 1000, "somebody starves"
    assert started == [sequence.id for sequence in submitted], "not first come, first served"
    assert all(sequence.is_finished for sequence in submitted)


LINEAR = ((1, 0.001), (512, 0.512))
DEAR = ((1, 0.040), (512, 0.551))


def test_a_prompt_has_the_whole_budget_while_nobody_decodes_and_little_time_beside_others() -> None:
    scheduler = make_scheduler(budget=512, cost_model=CostModel(LINEAR), max_seconds=0.1)
    start(scheduler, make(1, 600))
    assert step(scheduler) == {1: 512}
    assert step(scheduler) == {1: 88}
    start(scheduler, make(2, 600))
    assert step(scheduler) == {1: 1, 2: 65}
    assert step(scheduler) == {1: 1, 2: 65}


@given(st.floats(0.0, 0.2), st.integers(1, 3), st.integers(1, 300))
def test_no_limit_starves_a_prompt(limit: float, decoding: int, length: int) -> None:
    scheduler = make_scheduler(budget=64, cost_model=CostModel([(1, 0.08), (64, 2.0)], few=1e-4), max_seconds=limit)
    start(scheduler, *[make(id, 3) for id in range(1, decoding + 1)])
    step(scheduler)
    late = make(9, length)
    start(scheduler, late)
    for _ in range(length):
        step(scheduler)
    assert late.is_decoding


def test_long_prompts_take_turns() -> None:
    scheduler = make_scheduler(budget=TURN)
    start(scheduler, make(1, 3 * TURN), make(2, 3 * TURN))
    steps = [step(scheduler) for _ in range(4)]
    assert steps == [{1: TURN}, {2: TURN}, {1: TURN}, {2: TURN}]


def test_short_prompts_are_read_one_after_the_other() -> None:
    scheduler = make_scheduler(budget=32)
    start(scheduler, make(1, 60), make(2, 60))
    assert [step(scheduler) for _ in range(2)] == [{1: 32}, {1: 28, 2: 4}]


def test_a_short_prompt_waits_for_no_more_than_a_turn_of_a_long_one() -> None:
    scheduler = make_scheduler(budget=32)
    start(scheduler, make(1, 1000))
    step(scheduler)
    start(scheduler, make(2, 10))
    steps = [step(scheduler) for _ in range(TURN // 32)]
    assert steps[-1][2] == 10


def test_a_crowd_of_prompts_has_more_time_than_one() -> None:
    def rows(prompts: int) -> int:
        scheduler = make_scheduler(slots=8, budget=512, cost_model=CostModel(DEAR), max_seconds=0.07)
        start(scheduler, make(1, 3))
        step(scheduler)
        start(scheduler, *[make(id, 600) for id in range(2, 2 + prompts)])
        return sum(count for id, count in step(scheduler).items() if id != 1)

    alone, crowd = rows(1), rows(3)
    assert alone < 8, "as much time as the one who decodes"
    assert 64 < crowd < 4 * 70, "up to four limits of a step"


def test_newcomers_do_not_starve_a_long_prompt() -> None:
    scheduler = make_scheduler(slots=8, budget=32)
    long = make(1, 160)
    start(scheduler, long)
    for id in range(2, 12):
        step(scheduler)
        start(scheduler, make(id, 100))
    assert long.is_decoding or long.computed >= 64
