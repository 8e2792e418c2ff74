"""What steps are said to cost."""

from __future__ import annotations

import pytest

from localchat.engine.cost_model import TILE, UNBOUNDED, CostModel

STAIRS = ((1, 0.083), (2, 0.155), (4, 0.153), (8, 0.285), (16, 0.5))


def test_measured_rows_cost_what_was_measured() -> None:
    model = CostModel(STAIRS)
    assert model.step_seconds(1, 0) == pytest.approx(0.083)
    assert model.step_seconds(8, 0) == pytest.approx(0.285)
    assert model.step_seconds(24, 0) > 0.5, "the last slope goes on"


def test_more_rows_never_cost_less() -> None:
    model = CostModel(STAIRS)
    costs = [model.step_seconds(rows, 0) for rows in range(1, 40)]
    assert costs == sorted(costs)


def test_rows_that_look_at_more_cost_more() -> None:
    model = CostModel(STAIRS, few=1e-6, many=1e-7)
    assert model.step_seconds(1, 1000) == pytest.approx(0.084)
    assert model.step_seconds(64, 1000, TILE) == pytest.approx(model.step_seconds(64, 0) + 1e-4)
    assert model.rows_within(1.0, 1, 400_000) < model.rows_within(1.0, 1, 0)


def test_rows_within_are_the_most_that_fit() -> None:
    model = CostModel(STAIRS)
    fitting = model.rows_within(0.3, 2, 0)
    assert model.step_seconds(2 + fitting, 0) <= 0.3 < model.step_seconds(3 + fitting, 0)
    assert model.rows_within(0.01, 2, 0) == 0


def test_a_step_on_a_wide_stair_has_free_rows() -> None:
    model = CostModel(STAIRS)
    assert model.free_rows(2, 0) == 2
    assert model.free_rows(1, 0) == 0


def test_without_measurements_everything_is_free_and_nothing_is_guessed() -> None:
    model = CostModel()
    assert model.observe([(4, 100, 1)], 1.0) == 0
    assert model.prompt_rows(0.001, 4, 400, 0, most=500) == 500
    assert not model.is_measured
    assert model.rows_within(0.001, 4, 0) == UNBOUNDED
    assert model.free_rows(1, 0) == 0


def test_prompts_get_whole_tiles_within_the_limit_and_a_row_for_the_first_pass() -> None:
    model = CostModel([(1, 0.001), (512, 0.512)], few=1e-6, many=1e-7)
    assert model.prompt_rows(0.15, 2, 0, context=0, most=510) == 2 * TILE + 1
    assert model.prompt_rows(0.15, 2, 0, context=8000, most=510) == TILE + 1, "a long context makes rows dearer"
    assert model.prompt_rows(9.0, 2, 0, context=0, most=510) == 510
    assert model.prompt_rows(0.03, 2, 0, context=0, most=510) == 27, "no tile fits"


def test_prompts_get_as_much_time_as_those_who_decode_where_the_limit_leaves_less() -> None:
    model = CostModel([(1, 0.08), (2, 0.15), (4, 0.15), (64, 1.5)])
    rows = model.prompt_rows(0.07, 4, 0, context=0, most=510)
    assert rows == 4
    assert model.step_seconds(rows, 0) <= 0.15


@pytest.mark.parametrize("limit", [0.0, 1e-6, 0.07])
def test_a_prompt_always_gets_a_row(limit: float) -> None:
    model = CostModel([(1, 5.0), (2, 9.0)], few=1.0)
    assert model.prompt_rows(limit, 1, 0, context=4000, most=510) == 1
    assert model.prompt_rows(limit, 1, 0, context=4000, most=0) == 0


def test_it_follows_what_steps_take() -> None:
    model = CostModel(STAIRS)
    for _ in range(60):
        model.observe([(4, 0, 1)], 0.3)
    assert model.step_seconds(4, 0) == pytest.approx(0.3, rel=0.05)


def test_a_hiccup_does_not_spoil_it() -> None:
    model = CostModel(STAIRS)
    model.observe([(4, 0, 1)], 60.0)
    assert model.step_seconds(4, 0) < 0.17


def test_it_learns_what_looking_costs() -> None:
    model = CostModel([(1, 0.01), (4, 0.01)], few=1e-7)
    for _ in range(400):
        model.observe([(4, 40_000, 1)], 0.05)
        model.observe([(4, 40, 1)], 0.01)
    assert model.step_seconds(4, 40_000) == pytest.approx(0.05, rel=0.1)
    assert model.step_seconds(4, 40) == pytest.approx(0.01, rel=0.1)


def test_a_step_of_several_passes_teaches_all_of_them() -> None:
    model = CostModel([(1, 0.01), (4, 0.01), (64, 0.06)])
    for _ in range(100):
        expected = model.observe([(4, 0, 1), (64, 0, 64)], 0.14)
    assert expected == pytest.approx(0.14, rel=0.05)
    assert model.step_seconds(4, 0) == pytest.approx(0.02, rel=0.1)
    assert model.step_seconds(64, 0) == pytest.approx(0.12, rel=0.1)
