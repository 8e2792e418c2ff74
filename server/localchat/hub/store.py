"""The models folder: where a file goes, its lock, room for it, and the step that puts it in place.

A file has its final name only after it was checked, so a file that is there is a good one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from localchat.errors import FetchFailed, LocalchatError
from localchat.hub.checksum import check_magic, check_sha256, check_size
from localchat.hub.progress import Progress, format_bytes, phase
from localchat.registry import Choice, Quant


@dataclass(frozen=True)
class Slot:
    """The place of one quant in the models folder."""

    label: str
    quant: Quant
    path: Path

    @property
    def part(self) -> Path:
        """Where the file grows until it is complete."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def is_filled(self) -> bool:
        """Whether the file is here, with the size that the registry names."""
        return self.path.is_file() and self.quant.size in (None, self.path.stat().st_size)


Download = Callable[[Slot, Progress], str | None]
"""Writes `slot.part` and returns its SHA-256, which it may leave out where the registry names none."""


def store(choice: Choice, models_dir: Path, progress: Progress, download: Download, copies: float = 1.05) -> Path:
    """The file of this choice in the models folder, downloaded unless it is there.

    `copies` is how many times its size the download needs at its worst moment.
    """
    slot = slot_of(choice, models_dir)
    if slot.is_filled:
        return slot.path
    slot.path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(slot, progress):
        if not slot.is_filled:  # another process may have filled it while this one waited
            arrived = slot.part.stat().st_size if slot.part.exists() else 0
            check_room(slot.label, slot.path.parent, int((choice.quant.size or 0) * copies) - arrived)
            _install(slot, download(slot, progress))
    return slot.path


def slot_of(choice: Choice, models_dir: Path) -> Slot:
    """Where this choice belongs, whether or not it is there."""
    spec, quant = choice.spec, choice.quant
    # Named after the entry: sources may give two quants the same name, or one that is no good as a file name.
    name = f"{spec.id}.{re.sub(r'[^A-Za-z0-9._-]', '_', quant.name)}.gguf"
    return Slot(f"{spec.id} {quant.name}", quant, models_dir / spec.id / name)


def check_room(label: str, folder: Path, needed: int) -> None:
    """FetchFailed unless the disk that holds `folder`, or will hold it, has `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchFailed(f"{label} needs {format_bytes(needed)} free in {folder}, which has {format_bytes(free)}")


@contextmanager
def _locked(slot: Slot, progress: Progress) -> Iterator[None]:
    lock = FileLock(slot.path.parent / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with phase(progress, f"{slot.label}: waiting for another process that downloads it", None):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _install(slot: Slot, digest: str | None) -> None:
    try:
        if digest is not None and slot.quant.sha256 is not None:
            check_sha256(slot.path.name, digest, slot.quant.sha256)
        check_size(slot.path.name, slot.part.stat().st_size, slot.quant.size)
        check_magic(slot.part, slot.path.name)
    except LocalchatError:
        slot.part.unlink()
        raise
    with slot.part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(slot.part, slot.path)
