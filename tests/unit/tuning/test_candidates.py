"""What is tried, by what is best so far."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.tuning.candidates import AXES, Axis, Processors, kv_types, layouts, single_row_threads, threads, ubatches
from localchat.tuning.messages import Setup

from .machine import setup

BEST = setup(threads=4, single_row_threads=3)


def tried(axis: Axis, best: Setup = BEST, cores: int = 4, logical: int = 8) -> list[dict[str, Any]]:
    return [candidate.changes for candidate in axis(best, Processors(cores, logical))]


def test_threads_are_fewer_than_cores_or_as_many_as_they_run_at_once() -> None:
    assert tried(threads) == [
        {"threads": 8, "single_row_threads": 3},
        {"threads": 3, "single_row_threads": 3},
        {"threads": 2, "single_row_threads": 2},
    ]
    assert tried(threads, setup(threads=1, single_row_threads=1), 1, 1) == []


def test_single_rows_never_take_more_threads_than_others() -> None:
    assert tried(single_row_threads) == [{"single_row_threads": 2}, {"single_row_threads": 4}]


def test_one_more_thread_has_to_be_worth_it_and_one_less_may_cost_a_little() -> None:
    fewer, more = single_row_threads(BEST, Processors(4, 4))
    assert fewer.worth < 1 < more.worth


def test_larger_passes_need_a_larger_step_and_room_in_the_context() -> None:
    assert tried(ubatches) == [{"ubatch_size": 128}, {"ubatch_size": 256}]
    assert tried(ubatches, setup(n_ctx=1280))[-1] == {"ubatch_size": 1024, "batch_size": 1024}


def test_layout_does_not_matter_to_one_sequence() -> None:
    assert tried(layouts) == [{"kv_unified": True}]
    assert tried(layouts, setup(kv_unified=True)) == [{"kv_unified": False}]
    assert tried(layouts, setup(parallel=1)) == []


def test_what_changes_answers_is_left_to_a_person() -> None:
    assert [candidate.is_free for axis in AXES for candidate in axis(BEST, Processors(4, 4))].count(False) == 1
    assert tried(kv_types, setup(kv_type="q8_0")) == []


@pytest.mark.parametrize("axis", AXES)
def test_every_candidate_differs_from_the_best(axis: Axis) -> None:
    for changes in tried(axis):
        assert any(getattr(BEST, name) != value for name, value in changes.items())
