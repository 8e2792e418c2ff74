"""Threads on a busy machine, by a scripted clock and scripted steps."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from localchat.engine.cost_model import CostModel
from localchat.engine.pace import Pace


class Machine:
    """Steps of four rows: their time hangs on threads, on neighbours that keep cores busy, and on noise."""

    def __init__(self, cores: int = 2, quiet: float = 0.01, single: int | None = None) -> None:
        self.cores = cores
        self.quiet = quiet
        self.now = 100.0
        self.neighbours = 0
        self.penalty = 3.0
        self.noise: Callable[[], float] = lambda: 1.0
        self.changes: list[tuple[float, int]] = []
        self.model = CostModel([(1, quiet), (4, quiet)])
        self.pace = Pace(cores, self._change, single=single, clock=lambda: self.now)

    def _change(self, threads: int) -> None:
        self.changes.append((self.now, threads))

    def seconds(self, threads: int) -> float:
        """They share the work; where they outnumber the cores left, all wait for the one that shares its core."""
        share = self.quiet * (0.4 + 0.6 * self.cores / threads)
        return share * (self.penalty if threads + self.neighbours > self.cores else 1.0)

    def run(self, seconds: float, rows: int = 4, growth: float = 1.0) -> None:
        """Step for so long; `growth` is how much longer each step is than the one before, as the model expects."""
        end, factor = self.now + seconds, 1.0
        while self.now < end:
            took = self.seconds(self.pace.threads) * self.noise() * factor
            self.now += took
            expected = self.model.observe([(rows, 0, 1)], took / factor) * factor
            self.pace.observe(rows, expected, took)
            factor *= growth

    def share_with(self, threads: int, since: float) -> float:
        """Of the time since then, how much was computed with so many threads."""
        spans = [(at, count) for at, count in [(0.0, self.cores), *self.changes]]
        total = 0.0
        for (at, count), (until, _) in zip(spans, [*spans[1:], (self.now, 0)], strict=True):
            if count == threads:
                total += max(until - max(at, since), 0.0)
        return total / (self.now - since)


def test_a_quiet_machine_is_left_alone() -> None:
    machine = Machine()
    machine.run(60)
    assert machine.changes == []


def test_a_neighbour_soon_gets_its_core() -> None:
    machine = Machine()
    machine.run(5)
    machine.neighbours, came = 1, machine.now
    machine.run(0.5)
    assert machine.pace.threads == 1
    machine.run(60)
    assert machine.share_with(2, came) < 0.05, "trials are cheap"


def test_a_neighbour_that_makes_steps_very_slow_is_found_after_a_few_of_them() -> None:
    machine = Machine()
    machine.run(5)
    machine.neighbours, machine.penalty = 1, 20.0
    machine.run(5 * 20 * machine.quiet)  # four slow steps, and the quick ones of the trial
    assert machine.pace.threads == 1
    machine.run(1)
    assert machine.pace.threads == 1


@pytest.mark.parametrize("stayed", [2.0, 30.0, 300.0])
def test_when_the_neighbour_goes_all_threads_come_back(stayed: float) -> None:
    machine = Machine()
    machine.run(5)
    machine.neighbours = 1
    machine.run(stayed)
    machine.neighbours, left = 0, machine.now
    machine.run(60)
    assert machine.pace.threads == 2
    back = next(at for at, threads in reversed(machine.changes) if threads == 2)
    assert back - left < min(stayed + 1, 20)


def test_noise_does_not_make_it_flap() -> None:
    machine, rng = Machine(), random.Random(1)
    machine.noise = lambda: rng.choice((1.0, 1.0, 1.0, 1.0, 1.1, 1.2, 1.6, 4.0))
    machine.run(120)
    assert machine.share_with(2, 100.0) > 0.9
    assert len(machine.changes) < 24


def test_a_neighbour_that_comes_and_goes_is_not_followed_for_ever() -> None:
    machine = Machine()
    for _ in range(60):
        machine.neighbours = 1 - machine.neighbours
        machine.run(1)
    assert len([at for at, _ in machine.changes if at > machine.now - 30]) < 15


def test_a_slow_machine_is_no_neighbour() -> None:
    machine = Machine()
    machine.noise = lambda: 2.0  # everything takes twice as long, whatever the threads
    machine.run(60)
    assert machine.pace.threads == 2
    assert machine.share_with(2, 100.0) > 0.9


def test_a_context_that_grows_is_no_neighbour() -> None:
    machine = Machine()
    machine.run(20, growth=1.002)
    assert machine.changes == []


def test_a_step_that_was_paged_out_is_no_neighbour() -> None:
    machine = Machine()
    for _ in range(10):
        machine.run(0.2)
        machine.pace.observe(4, 0.01, 30.0)
    assert machine.changes == []


def test_two_neighbours_of_eight_get_their_cores() -> None:
    machine = Machine(cores=8)
    machine.run(5)
    machine.neighbours, came = 2, machine.now
    machine.run(20)
    assert machine.share_with(6, came + 10) > 0.9
    machine.neighbours, left = 0, machine.now
    machine.run(60)
    assert machine.share_with(8, left + 40) > 0.9


def test_steps_that_never_take_all_threads_say_nothing() -> None:
    machine = Machine(single=1)
    machine.neighbours = 1
    machine.run(10, rows=1)
    assert machine.changes == []
