"""How busy the machine is with other things: figures of a busy machine mislead."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

BUSY = 0.1
"""Share of the processors from which on others' work is worth a warning."""


class Neighbours:
    """Watches the processors from now on."""

    def __init__(self) -> None:
        self.load = psutil.getloadavg()[0]
        """Programs that wanted to run, on average over the minute before."""
        self._start = time.perf_counter()
        self._busy = _busy_seconds()

    def cores(self, own_seconds: float) -> float:
        """Processors that others kept busy since, on average; `own_seconds` of CPU time were ours."""
        seconds = max(time.perf_counter() - self._start, 1e-3)
        return max(0.0, (_busy_seconds() - self._busy - own_seconds) / seconds)


def busy_now(seconds: float = 0.3) -> float:
    """Processors that others keep busy at the moment."""
    neighbours, before = Neighbours(), cpu_seconds(None)
    time.sleep(seconds)
    return neighbours.cores(cpu_seconds(None) - before)


def cpu_seconds(*pids: int | None) -> float:
    """CPU time that these processes have taken; None is this one, one that has ended has taken none."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle)  # what is behind it counts guests, who are in user time already
