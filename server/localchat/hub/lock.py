"""One process at a time: the second waits for the first, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from localchat.hub.progress import Progress, phase

# The Hub library's own mode, so that all users of a shared cache can take the lock.
_MODE = 0o664


@contextmanager
def locked(path: Path, label: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of this file, which is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with phase(progress, f"{label}: waiting for another process that downloads it", None):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
