"""Whether one way is faster than another, on a machine that others use as well: in turns, and by medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean, median

from localchat.tuning.messages import Times

LEAST_ROUNDS, MOST_ROUNDS = 3, 7
OVERTIME = 2
"""So many times its time a comparison may take until it has its least rounds."""
_HOPELESS, _POOR, _EVIDENT = 0.5, 0.8, 1.25
_BEARABLE = 0.95
"""What is faster on the whole may be so much slower at one kind of work."""


@dataclass
class Comparison:
    """Seconds of each kind of work, of both ways, round by round; `worth` is how much faster the second has to be."""

    worth: float
    first: list[Sequence[float]] = field(default_factory=list)
    second: list[Sequence[float]] = field(default_factory=list)

    @property
    def gains(self) -> tuple[float, ...]:
        """How many times as fast the second is at each kind of work."""
        return tuple(median(column) for column in zip(*self._ratios(), strict=True))

    @property
    def gain(self) -> float:
        """How many times as fast the second is on the whole."""
        return median(self._scores()) * self.worth

    @property
    def is_clear(self) -> bool:
        """Whether further rounds would only confirm it."""
        scores = self._scores()
        if max(scores) < _HOPELESS:
            return True
        if len(scores) > 1 and (max(scores) < _POOR or min(scores) > _EVIDENT):
            return True
        return len(scores) >= LEAST_ROUNDS and (min(scores) > 1 or max(scores) < 1)

    @property
    def is_better(self) -> bool:
        """Whether the second is to be preferred: in the median, in most rounds, and nowhere much worse."""
        scores = self._scores()
        return (
            (len(scores) >= LEAST_ROUNDS or self.is_clear)
            and median(scores) >= 1
            and 3 * sum(score >= 1 for score in scores) >= 2 * len(scores)
            and min(self.gains) >= _BEARABLE * min(1.0, self.worth)
        )

    def _ratios(self) -> list[tuple[float, ...]]:
        return [tuple(a / b for a, b in zip(*pair, strict=True)) for pair in zip(self.first, self.second, strict=True)]

    def _scores(self) -> list[float]:
        return [geometric_mean(ratios) / self.worth for ratios in self._ratios()]


def compare(
    first: Callable[[], Times],
    second: Callable[[], Times],
    *,
    worth: float,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    stops_early: bool = True,
) -> Comparison:
    """Measure both in turn until it is clear, or for about so many seconds."""
    found, start = Comparison(worth), clock()
    for round in range(MOST_ROUNDS):
        if round % 2:  # whoever comes second may find the caches warm, or the processor hot
            after = second().seconds
            before = first().seconds
        else:
            before = first().seconds
            after = second().seconds
        found.first.append(before)
        found.second.append(after)
        elapsed = clock() - start
        if (stops_early and found.is_clear) or elapsed > seconds * OVERTIME:
            break
        if round + 1 >= LEAST_ROUNDS and elapsed > seconds:
            break
    return found
