"""How many threads compute, on a machine that others use as well.

Threads wait for each other after every operation. With a core taken by a neighbour, all of them run at the pace of the
one that shares it; one thread less leaves that core to the neighbour, and the others run undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

SLOW = 1.35
"""A step that took so much longer than expected is a reason to suspect a neighbour."""
_SUSPECT = 4
"""Slow steps, less the others, before something is tried."""
_CLEAR = 2
"""What is so many times beyond its bound is clear: a slow step counts twice, a trial needs one step to compare with."""
_BETTER = 0.9
"""Fewer threads are kept where they make steps shorter than this share of what they took; more, where any shorter."""
_HOPELESS = 1.3
_TRIAL_STEPS = 5
_RECENT = 3
_SHORTEST, _LONGEST, _RARELY = 0.5, 16.0, 60.0
"""Seconds between trials: they double with every one that fails; trials that cost much are rare."""
_LASTED = 4
"""A choice that lasted so many waits was no mistake: the next wait is short again."""
_COST = 30
"""A trial that lost a second is followed by so many without."""


class Pace:
    """Tries one thread less when steps are slow, one more from time to time afterwards, and keeps what is faster.

    It compares only steps that are close in time, each by how it stands to what the cost model expects: a slow model
    or a growing context does not matter, nor what the cost model learns meanwhile. Steps of a single row are left out
    where they take fewer threads anyway (`single`). `change` sets the number of threads from the next step on.
    """

    def __init__(
        self,
        threads: int,
        change: Callable[[int], None],
        *,
        single: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._least_rows = 1 if single in (None, threads) else 2
        self.threads = self._all = self._kept = threads
        self._change = change
        self._clock = clock
        self._recent: list[float] = []
        self._trial: list[float] = []
        self._control: list[float] = []
        self._tried = 0
        self._lost = 0.0
        self._suspicion = 0
        self._wait = _SHORTEST
        self._since = self._next = clock()

    def observe(self, rows: int, expected: float, seconds: float) -> None:
        """Take note of a step, whose last pass had so many rows, and choose the threads of the next."""
        if rows < self._least_rows or expected <= 0 or self._all == 1:
            return
        ratio = seconds / expected
        if self._tried:
            self._go_on_trying(ratio, seconds)
            return
        recent = self._recent
        if len(recent) == _RECENT:
            del recent[0]
        recent.append(ratio)
        weight = (ratio > SLOW) + (ratio > SLOW * _CLEAR)
        self._suspicion = self._suspicion + weight if weight else max(self._suspicion - 1, 0)
        if len(recent) < _RECENT or self._clock() < self._next:
            return
        if self._suspicion >= _SUSPECT and self._kept > 1:
            self._try(self._kept - 1)
        elif self._kept < self._all:
            self._try(self._kept + 1)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Meanwhile all threads compute: with others, sums come out a little different."""
        threads = self.threads
        self._set(self._all)
        try:
            yield
        finally:
            self._set(threads)

    def _try(self, threads: int) -> None:
        self._trial.clear()
        self._tried = threads
        self._set(threads)

    def _go_on_trying(self, ratio: float, seconds: float) -> None:
        if self.threads != self._tried:
            self._control.append(ratio)
            trial, control = median(self._trial), median(self._control)
            if len(self._control) == _TRIAL_STEPS or trial * _CLEAR < control:
                self._end(is_better=trial < control * _BETTER)
            return
        usual = median(self._recent)
        self._trial.append(ratio)
        self._lost += seconds * (1 - usual / ratio)
        if ratio > usual * _HOPELESS:
            self._end(is_better=False)
        elif len(self._trial) < _TRIAL_STEPS:
            return
        elif self._tried > self._kept:
            self._end(is_better=median(self._trial) < usual)
        elif median(self._trial) < usual * _BETTER:
            self._set(self._kept)  # slow steps were the reason to try, and the next may be faster by themselves
        elif self._tried > max(self._all // 2, 1):
            self._try(self._tried - 1)  # there may be several neighbours
        else:
            self._end(is_better=False)

    def _end(self, *, is_better: bool) -> None:
        now = self._clock()
        if is_better:
            lasted = now - self._since > _LASTED * self._wait
            self._wait = _SHORTEST if lasted else min(self._wait * 2, _LONGEST)
            self._kept, self._since = self._tried, now
        else:
            self._wait = min(self._wait * 2, _LONGEST)
        self._next = now + min(max(self._wait, self._lost * _COST), _RARELY)
        self._lost = 0.0
        self._tried = self._suspicion = 0
        self._recent.clear()
        self._control.clear()
        self._set(self._kept)

    def _set(self, threads: int) -> None:
        if threads != self.threads:
            self.threads = threads
            self._change(threads)
