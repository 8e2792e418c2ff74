"""Prompt and decode speed at several numbers of sequences: the median of several rounds, in bounded time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from localchat.tuning.messages import Decode, Prompt, Setup, Times, Work

Measure = Callable[[Setup, tuple[Work, ...]], Times]

LEAST_ROUNDS = 3
"""So many are made unless that takes `OVERTIME` times as long as it may."""
OVERTIME = 2
MOST_ROUNDS = 9
MOST_STEPS = 128
_AIM = 5
_LEAST_STEPS, _LEAST_PROMPT = 4, 128
_PILOT_STEPS, _PILOT_PROMPT = 2, 32
_GRAIN = 32


@dataclass
class Row:
    """One kind of work and the seconds of each round."""

    setup: Setup
    work: Work
    seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The work, in words."""
        if isinstance(self.work, Prompt):
            return f"prompt of {self.tokens}"
        return f"decode {self.sequences}" + (f" behind {self.work.depth}" if self.work.depth else "")

    @property
    def sequences(self) -> int:
        """That decode together; 1 for a prompt."""
        return self.work.sequences if isinstance(self.work, Decode) else 1

    @property
    def tokens(self) -> int:
        """Of one round, in all sequences."""
        return self.work.tokens if isinstance(self.work, Prompt) else self.work.sequences * self.work.steps

    @property
    def speeds(self) -> list[float]:
        """Tokens per second of each round, the slowest first."""
        return sorted(self.tokens / seconds for seconds in self.seconds)

    @property
    def speed(self) -> float:
        """The median."""
        return statistics.median(self.speeds)

    def bytes_per_second(self, weights: int, cell: int) -> float | None:
        """What decoding reads: the weights once a step, and the context's cells of so many bytes; None for a prompt."""
        if isinstance(self.work, Prompt):
            return None
        cells = self.sequences * (self.work.depth + self.work.steps // 2)
        return self.speed / self.sequences * (weights + cells * cell)


def bench(
    measure: Measure,
    rows: Sequence[Row],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Fill rows with the seconds of their work, or of as much of it as fits; returns the threads for single rows.

    The first look, which warms up too, tells how much work fits; rounds take turns, so that a machine that grows slower
    does so for all rows alike.
    """
    pilots = [_pilot(row.work) for row in rows]
    looks = [measure(row.setup, (pilot,)) for row, pilot in zip(rows, pilots, strict=True)]
    each, start = seconds / _AIM / len(rows), clock()
    for row, pilot, look in zip(rows, pilots, looks, strict=True):
        row.work = sized(row.work, pilot, look.seconds[0], each)
    for round in range(MOST_ROUNDS):
        if round and clock() - start > seconds * (1 - 1 / _AIM if round >= LEAST_ROUNDS else OVERTIME):
            break
        for row in rows:
            row.seconds += measure(row.setup, (row.work,)).seconds
    return looks[0].single_row_threads


def readable(speed: float) -> str:
    """Three digits of it, or all that are whole."""
    return f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}"


def sized(asked: Work, done: Work, taken: float, seconds: float) -> Work:
    """As much of what is asked as takes about so many seconds, by how long a part of it took."""
    fits = seconds / max(taken, 1e-6)
    if isinstance(asked, Prompt):
        assert isinstance(done, Prompt)
        return Prompt(min(asked.tokens, max(_LEAST_PROMPT, int(done.tokens * fits) // _GRAIN * _GRAIN)))
    assert isinstance(done, Decode)
    return Decode(asked.sequences, max(_LEAST_STEPS, min(asked.steps, int(done.steps * fits))), asked.depth)


def _pilot(work: Work) -> Work:
    if isinstance(work, Prompt):
        return Prompt(min(work.tokens, _PILOT_PROMPT))
    return Decode(work.sequences, _PILOT_STEPS, work.depth)
