"""What guesses at the next tokens cost: a step with more rows of one sequence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

from localchat.tuning.bench import Measure
from localchat.tuning.messages import Decode, Setup

ROWS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Of one sequence in a step: a token and guesses at those that follow."""
ACCEPTED = 0.8
"""Of the guesses, in text that is mostly copied."""
_STEPS, _ROUNDS = 3, 5


def stairs(
    measure: Measure, setup: Setup, depth: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Seconds of a step by its rows; each is measured once, and more often while there is time."""
    times: dict[int, list[float]] = {rows: [] for rows in ROWS}
    deadline = clock() + seconds
    for round in range(_ROUNDS):
        for rows, taken in times.items():
            if not round or clock() < deadline:
                taken.append(measure(setup, (Decode(1, _STEPS, depth, rows),)).seconds[0] / _STEPS)
    return {rows: median(taken) for rows, taken in times.items()}


def worthwhile(stairs: Mapping[int, float], accepted: float = ACCEPTED) -> tuple[int, float]:
    """How many guesses make a step write most tokens a second, and how many times as many, if so many prove right."""

    def gain(rows: int) -> float:
        return sum(accepted**place for place in range(rows)) * stairs[1] / stairs[rows]

    best = max(stairs, key=gain)
    return best - 1, gain(best)
