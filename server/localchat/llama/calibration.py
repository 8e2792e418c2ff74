"""Finds, once after loading, how many threads a step with a single row is worth, and what steps cost.

A single row is bound by memory, not by arithmetic: on few cores the last thread adds little to it, and it takes the
core on which the API process and the clients would run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from localchat.llama.batch import Batch

WORTH = 1.15
"""One thread less is taken unless all threads are this much faster: less than that, they lose again over HTTP."""
_TRIALS = 8
_SECONDS = 1.0

STAIRS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256, 512)
_FIRST = (2, 4, 8, 16, 64, 128, 3, 6, 32)
"""In this order, while there is time."""
_STAIR_SECONDS = 0.6
_CONTEXT = 512
_TILE = 64
# Where there is no time to measure it: of what a single row takes, the part that another one adds;
_NEXT_ROW = 0.25
# and of a pass with a single row, what its looking at one more token takes.
_FEW = 1 / 4000
_MANY = 1 / 16000


class Calibrated(Protocol):
    """What is asked of a context here."""

    n_ctx: int
    batch: Batch

    def decode(self) -> None:
        """Compute the batch."""

    def logits(self, rows: int) -> object:
        """Wait for the result."""

    def keep(self, sequence: int, length: int) -> bool:
        """Cut a sequence."""

    def drop(self, sequence: int) -> None:
        """Forget a sequence."""

    def set_threads(self, single: int, several: int) -> None:
        """Change the number of threads."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found: `stairs` as (rows, seconds), and the seconds of looking at a token for `few` and `many` rows."""

    single_row_threads: int
    stairs: tuple[tuple[int, float], ...]
    few: float
    many: float


def calibrate(
    context: Calibrated, threads: int, clock: Callable[[], float] = time.perf_counter, known: int = 0
) -> Calibration:
    """Measure, and set the number of threads for single rows; steps of more rows take all `threads`.

    A number that is `known` is not measured. Also warms up: the first decode pages the weights in.
    """
    _decode_once(context, clock)
    single, seconds = _single_row(context, threads, clock, known)
    deadline = clock() + _STAIR_SECONDS
    measured = {1: seconds}
    most = min(context.batch.capacity, context.n_ctx)
    for rows in _FIRST:
        if rows <= most and clock() + 2 * _guess(measured, rows) < deadline:
            taken = min(_decode_once(context, clock, rows) for _ in range(2))
            measured[rows] = min(taken, measured[1] * rows)  # more only where others use the machine
    few, many = _looks(context, measured, clock, deadline)
    stairs = tuple((rows, measured[rows] if rows in measured else _guess(measured, rows)) for rows in STAIRS)
    return Calibration(single, stairs, few, many)


def _single_row(context: Calibrated, threads: int, clock: Callable[[], float], known: int) -> tuple[int, float]:
    """The number of threads, and the seconds of a single row with it."""
    fewer = threads - 1
    if known or not fewer:
        single = known or threads
        context.set_threads(single, threads)
        return single, _decode_once(context, clock)
    times = {threads: float("inf"), fewer: float("inf")}
    start = clock()
    for trial in range(_TRIALS):
        for count in times:
            context.set_threads(count, threads)
            times[count] = min(times[count], _decode_once(context, clock))
        if trial and clock() - start > _SECONDS:
            break
    single = threads if times[fewer] > times[threads] * WORTH else fewer
    context.set_threads(single, threads)
    return single, times[single]


def _looks(
    context: Calibrated, measured: dict[int, float], clock: Callable[[], float], deadline: float
) -> tuple[float, float]:
    """Seconds of looking at one token behind a long context, for few rows of a sequence and for many."""
    few, many = measured[1] * _FEW, measured[1] * _MANY
    most = min(context.batch.capacity, context.n_ctx - _TILE)
    if most < _CONTEXT or clock() + 2 * _guess(measured, _CONTEXT) > deadline + _STAIR_SECONDS / 2:
        return few, many
    measured[_CONTEXT] = _decode_once(context, clock, _CONTEXT, leave=True)
    for rows in (4, _TILE):
        if rows not in measured:
            continue
        longer = float("inf")
        for _ in range(2):
            longer = min(longer, _decode_once(context, clock, rows, _CONTEXT, leave=True))
            if not context.keep(0, _CONTEXT):  # its memory cannot be cut: nor does it grow
                context.drop(0)
                return few, many
        price = max(longer - measured[rows], 0.0) / (rows * _CONTEXT)
        few, many = (price or few, many) if rows < _TILE else (few, price or many)
    context.drop(0)
    return few, many


def _guess(measured: dict[int, float], rows: int) -> float:
    """The nearest fewer, and for each row more the usual part of what one alone takes, if no less is known."""
    nearest = max(known for known in measured if known <= rows)
    return measured[nearest] + (rows - nearest) * min(measured[1] * _NEXT_ROW, measured[nearest] / nearest)


def _decode_once(
    context: Calibrated, clock: Callable[[], float], rows: int = 1, start: int = 0, *, leave: bool = False
) -> float:
    """Seconds of rows of one sequence, which is forgotten again unless it is to be left there."""
    context.batch.clear()
    context.batch.add(0, start, [0] * rows, last=True)
    begun = clock()
    context.decode()
    context.logits(1)
    elapsed = clock() - begun
    if not leave:
        context.drop(0)
    return elapsed
