"""How fast this machine reads its memory: what bounds the tokens per second of one sequence."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import platformdirs

from localchat.hardware.machine import Machine

MIB = 1 << 20

_SECONDS = 0.25
# Others at work can only lower the figure, so the best of so many calls counts; later ones do not measure any more.
_CALLS = 5
# Far larger than the caches of any home machine, and quickly written.
_BYTES = 512 * MIB


def memory_bandwidth(machine: Machine, cache: Path | None = None, *, again: bool = False) -> float:
    """Bytes per second that all cores read together; the best of the first few calls on a machine, kept in `cache`.

    Where the figure matters it is measured `again`: others may have been at work each time before.
    """
    cache = cache or Path(platformdirs.user_cache_dir("localchat")) / "bandwidth.json"
    known = _load(cache)
    key = f"{machine.cpu.name} x {machine.cores}"
    figures = known.get(key, [])
    if again or len(figures) < _CALLS:
        figures = [*sorted(figures)[1 - _CALLS :], measure(machine.cores, min(_BYTES, machine.ram_available // 4))]
        _save(cache, {**known, key: figures})
    return max(figures)


def measure(cores: int, size: int = _BYTES, seconds: float = _SECONDS) -> float:
    """Read `size` bytes with all cores, again and again; the best round counts, as others may use the machine too."""
    # numpy takes a tenth of a second to import, and the figure is mostly there already.
    import numpy as np  # noqa: PLC0415

    def read(part: np.ndarray) -> None:
        np.bitwise_or.reduce(part)  # as fast as the memory, and lets go of the interpreter's lock

    each = max(1, size // cores // 8)
    best = 0.0
    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(lambda _: np.ones(each, np.uint64), range(cores)))  # written, so that it is memory
        end = time.perf_counter() + seconds
        while not best or time.perf_counter() < end:
            start = time.perf_counter()
            list(pool.map(read, parts))
            best = max(best, each * 8 * cores / (time.perf_counter() - start))
    return best


def _load(cache: Path) -> dict[str, list[float]]:
    try:
        return msgspec.json.decode(cache.read_bytes(), type=dict[str, list[float]])
    except (OSError, msgspec.MsgspecError):
        return {}


def _save(cache: Path, known: dict[str, list[float]]) -> None:
    part = cache.with_name(f"{cache.name}.{os.getpid()}")
    with suppress(OSError):  # a home that cannot be written costs a quarter of a second each time, no more
        cache.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(known))
        part.replace(cache)
