"""Gives mapped weights back that llama.cpp has read for the last time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4


def release(path: Path) -> None:
    """Drop the pages of a mapped file from this process; what is still used comes back from the page cache.

    llama.cpp maps the whole file and keeps a copy of the matrices that it packs for its kernels. Until the originals
    are dropped, both count as resident. Linux only; elsewhere the system has to notice by itself.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, end in _mappings(path):
        libc.madvise(start, end - start, _MADV_DONTNEED)


def _mappings(path: Path) -> Iterator[tuple[int, int]]:
    """Where the file is mapped for reading alone: pages that were written to would lose what was written."""
    name = str(path.resolve())
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == name and "w" not in fields[1]:
            start, _, end = fields[0].partition("-")
            yield int(start, 16), int(end, 16)
