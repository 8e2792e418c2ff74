"""How many guesses pay, by what a step with them costs."""

from __future__ import annotations

import pytest

from localchat.tuning.guesses import ROWS, stairs, worthwhile
from localchat.tuning.messages import Decode

from .machine import ScriptedMachine, setup


@pytest.mark.parametrize(
    ("costs", "guesses"),
    [
        (dict.fromkeys(ROWS, 1.0), 15),
        ({rows: float(rows) for rows in ROWS}, 0),
        ({1: 83, 2: 155, 3: 154, 4: 153, 6: 230, 8: 285}, 3),
    ],
    ids=["rows are free", "rows cost as much as steps", "four rows cost as much as two"],
)
def test_as_many_as_the_stairs_allow(costs: dict[int, float], guesses: int) -> None:
    count, gain = worthwhile(costs)
    assert count == guesses
    assert gain >= 1


def test_guesses_pay_less_the_fewer_are_right() -> None:
    costs = {rows: 1 + 0.2 * (rows - 1) for rows in ROWS}
    assert worthwhile(costs, 0.9) > worthwhile(costs, 0.6) > worthwhile(costs, 0.1) == (0, 1.0)


def test_every_step_is_measured_once_even_without_time() -> None:
    machine = ScriptedMachine(lambda setup, work: work.rows if isinstance(work, Decode) else 0)
    found = stairs(machine.measure, setup(), 64, 0, machine.clock)
    assert found == {rows: float(rows) for rows in ROWS}
    assert len(machine.asked) == len(ROWS)
