"""What steps are said to cost."""

from __future__ import annotations

import pytest

from localchat.engine.cost_model import UNBOUNDED, CostModel

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
    model = CostModel(STAIRS, kv_seconds=1e-6)
    assert model.step_seconds(1, 1000) == pytest.approx(0.084)
    assert model.rows_within(1.0, 1, 0, context=4000) < model.rows_within(1.0, 1, 0)


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
    model.observe(4, 100, 1.0)
    assert not model.is_measured
    assert model.rows_within(0.001, 4, 0) == UNBOUNDED
    assert model.free_rows(1, 0) == 0


def test_it_follows_what_steps_take() -> None:
    model = CostModel(STAIRS)
    for _ in range(60):
        model.observe(4, 0, 0.3)
    assert model.step_seconds(4, 0) == pytest.approx(0.3, rel=0.05)


def test_a_hiccup_does_not_spoil_it() -> None:
    model = CostModel(STAIRS)
    model.observe(4, 0, 60.0)
    assert model.step_seconds(4, 0) < 0.17
