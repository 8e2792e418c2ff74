"""Rounds in turn, medians, bounded time."""

from __future__ import annotations

from itertools import count

import pytest

from localchat.tuning.bench import LEAST_ROUNDS, MOST_ROUNDS, MOST_STEPS, OVERTIME, Row, bench, readable
from localchat.tuning.messages import Decode, Prompt, Setup, Work

from .machine import ScriptedMachine, setup


def rows() -> list[Row]:
    return [Row(setup(), Prompt(512)), Row(setup(), Decode(1, MOST_STEPS)), Row(setup(), Decode(4, MOST_STEPS, 64))]


def test_every_kind_of_work_is_measured_in_turn_equally_often() -> None:
    machine, table = ScriptedMachine(lambda setup, work: 0.001, 2), rows()
    assert bench(machine.measure, table, 20, machine.clock) == 2
    assert {len(row.seconds) for row in table} == {MOST_ROUNDS}
    kinds = [type(work) if isinstance(work, Prompt) else work.sequences for _, work in machine.asked]
    assert kinds == [Prompt, 1, 4] * (1 + MOST_ROUNDS)
    assert [row.speed for row in table] == [pytest.approx(1000)] * 3


def test_no_more_is_done_than_was_asked_for() -> None:
    machine, table = ScriptedMachine(lambda setup, work: 1e-9), rows()
    bench(machine.measure, table, 20, machine.clock)
    assert [row.work for row in table] == [Prompt(512), Decode(1, MOST_STEPS), Decode(4, MOST_STEPS, 64)]


def test_time_is_about_what_it_may_be() -> None:
    for pace in (1e-4, 1e-3, 1e-2):
        machine = ScriptedMachine(lambda setup, work, pace=pace: pace)  # type: ignore[misc]
        bench(machine.measure, rows(), 20, machine.clock)
        assert machine.now <= 21


def test_slow_machine_gets_fewer_rounds_but_one_at_least() -> None:
    machine, table = ScriptedMachine(lambda setup, work: 60.0), rows()
    bench(machine.measure, table, 20, machine.clock)
    assert {len(row.seconds) for row in table} == {1}


def test_three_rounds_are_made_while_they_take_little_over_the_time() -> None:
    machine, table = ScriptedMachine(lambda setup, work: 0.02), rows()
    bench(machine.measure, table, 10, machine.clock)
    assert {len(row.seconds) for row in table} == {LEAST_ROUNDS}
    assert machine.now > 10
    assert machine.now < 10 * OVERTIME * 1.5


def test_round_that_others_disturbed_does_not_count() -> None:
    turn = count()

    def pace(setup: Setup, work: Work) -> float:
        return 0.01 if next(turn) == 5 else 0.001

    machine, table = ScriptedMachine(pace), rows()
    bench(machine.measure, table, 20, machine.clock)
    disturbed = [row for row in table if row.speeds[0] < 101]
    assert len(disturbed) == 1
    assert disturbed[0].speed == pytest.approx(1000)


def test_reading_is_the_weights_once_a_step_and_every_context() -> None:
    row = Row(setup(), Decode(4, 10, 100), [4.0])
    assert row.speed == 10
    assert row.bytes_per_second(1000, 2) == 2.5 * (1000 + 4 * 105 * 2)
    assert Row(setup(), Prompt(10), [1.0]).bytes_per_second(1000, 2) is None


def test_names_say_what_was_done() -> None:
    assert [row.name for row in rows()] == ["prompt of 512", "decode 1", "decode 4 behind 64"]


def test_speeds_have_three_digits() -> None:
    assert [readable(speed) for speed in (0.12345, 12.345, 123.45, 12345.6)] == ["0.123", "12.3", "123", "12346"]
