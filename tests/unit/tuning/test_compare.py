"""When one way counts as faster than another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import pytest

from localchat.tuning.compare import LEAST_ROUNDS, MOST_ROUNDS, OVERTIME, Comparison, compare
from localchat.tuning.messages import Times


class Script:
    """Two ways that take the seconds of a script, one round after the other."""

    def __init__(self, first: Sequence[float], second: Sequence[float]) -> None:
        self.now = 0.0
        self.order = ""
        self._seconds: dict[str, Iterator[float]] = {
            "a": chain(first, repeat(first[-1])),
            "b": chain(second, repeat(second[-1])),
        }

    def clock(self) -> float:
        return self.now

    def way(self, name: str) -> Callable[[], Times]:
        def measure() -> Times:
            self.order += name
            seconds = next(self._seconds[name])
            self.now += seconds
            return Times((seconds,), 1)

        return measure

    def compare(self, worth: float = 1.03, seconds: float = 1e9) -> Comparison:
        return compare(self.way("a"), self.way("b"), worth=worth, seconds=seconds, clock=self.clock)


def test_first_of_a_round_takes_turns() -> None:
    script = Script([1, 1.1, 1, 1.1, 1, 1.1, 1], [1])
    script.compare()
    assert script.order == "abba" * (MOST_ROUNDS // 2) + "ab"


@pytest.mark.parametrize(
    ("second", "rounds", "is_better"),
    [
        ([3.0], 1, False),
        ([1.5], 2, False),
        ([1.1], LEAST_ROUNDS, False),
        ([0.9], LEAST_ROUNDS, True),
        ([0.5], 2, True),
        ([0.99], LEAST_ROUNDS, False),
    ],
    ids=["hopeless", "far slower", "slower", "faster", "far faster", "hardly faster"],
)
def test_comparison_ends_when_it_is_clear(second: list[float], rounds: int, is_better: bool) -> None:
    found = Script([1.0], second).compare()
    assert (len(found.first), found.is_better) == (rounds, is_better)


def test_round_that_others_disturbed_does_not_decide() -> None:
    assert Script([1.0], [0.9, 3.0, 0.9, 0.9, 0.9]).compare().is_better
    assert not Script([1.0, 3.0, 1.0], [1.0]).compare().is_better
    assert not Script([1.0], [3.0, 0.9]).compare().is_better, "where a round is hopeless no time is spent on more"


def test_what_swings_is_not_taken() -> None:
    found = Script([1.0], [0.9, 1.1, 0.9, 1.1, 0.9, 1.1, 0.9]).compare()
    assert len(found.first) == MOST_ROUNDS
    assert found.gain > 1.03
    assert not found.is_better


def test_time_bounds_the_rounds() -> None:
    swinging = [0.9, 1.1] * 4
    assert len(Script([1.0], swinging).compare(seconds=1).first) == 1 + OVERTIME // 2
    assert len(Script([1.0], swinging).compare(seconds=7).first) == 4
    assert not Script([1.0], [0.9]).compare(seconds=0.5).is_better, "one round proves nothing"


def test_fewer_threads_are_taken_though_a_little_slower() -> None:
    assert Script([1.0], [1.1]).compare(worth=1 / 1.15).is_better
    assert not Script([1.0], [1.2]).compare(worth=1 / 1.15).is_better


def test_gain_at_one_kind_of_work_does_not_pay_for_loss_at_another() -> None:
    found = Comparison(1.0, [(1.0, 1.0)] * 3, [(0.5, 1.2)] * 3)
    assert found.gain > 1
    assert found.gains == pytest.approx((2.0, 1 / 1.2))
    assert not found.is_better
