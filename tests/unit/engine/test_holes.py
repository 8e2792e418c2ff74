"""Rows between the slots of a step, and what is left of them."""

from __future__ import annotations

from localchat.engine.cost_model import CostModel
from localchat.engine.holes import Filler, Holes
from localchat.engine.runner import Runner
from localchat.engine.slots import Slots

from .scripted import ScriptedContext
from .test_passes import chunk

DEAR_PASSES = ((1, 0.011), (4, 0.017), (16, 0.041))
DEAR_ROWS = ((1, 0.010), (2, 0.020), (16, 0.160))


def holes(stairs: tuple[tuple[int, float], ...], *, n_ctx: int = 256, capacity: int = 64) -> Holes:
    slots = Slots(8)
    for slot in range(8):
        slots[slot].left = [0] * 10 * slot
    return Holes(slots, CostModel(stairs), n_ctx, capacity)


def test_a_gap_is_filled_behind_what_its_slots_hold() -> None:
    step = [chunk(0, 9, 1), chunk(3, 9, 1)]
    assert list(holes(DEAR_PASSES).fill(step)) == [Filler(1, 10), Filler(2, 20)]


def test_slots_in_a_row_need_nothing() -> None:
    assert not holes(DEAR_PASSES).fill([chunk(4, 9, 1), chunk(5, 9, 1)])


def test_a_gap_stays_where_rows_cost_more_than_the_pass() -> None:
    assert not holes(DEAR_ROWS).fill([chunk(0, 9, 1), chunk(4, 9, 1)])


def test_a_gap_stays_where_nothing_was_measured() -> None:
    assert not holes(()).fill([chunk(0, 9, 1), chunk(2, 9, 1)])


def test_a_gap_with_a_full_slot_stays() -> None:
    step = [chunk(0, 9, 1), chunk(2, 9, 1), chunk(5, 9, 1)]
    assert list(holes(DEAR_PASSES, n_ctx=40).fill(step)) == [Filler(1, 10)]


def test_a_gap_that_the_batch_has_no_room_for_stays() -> None:
    assert not holes(DEAR_PASSES, capacity=2).fill([chunk(0, 9, 1), chunk(2, 9, 1)])


def test_fillers_give_no_logits_and_leave_nothing_behind() -> None:
    context = ScriptedContext(lambda tokens: tokens[-1] + 1, parallel=3)
    context.kv = [[5], [7, 7], [6]]
    step = [chunk(0, 1, 1), chunk(2, 1, 1)]
    rows = Runner(context).run(step, [Filler(1, 2)])
    assert context.steps == [[(0, 1, 1), (1, 2, 1), (2, 1, 1)]]
    assert [None if row is None else len(row) for row in rows] == [1, 1]
    assert [len(held) for held in context.kv] == [2, 2, 2]
