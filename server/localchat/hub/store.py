"""The models folder: where a file goes, room for it, and the step that puts it in place.

A file has its final name only after it was checked, so a file that is there was a good one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import FetchFailed, LocalchatError
from localchat.hub.checksum import Digest, check_sha256, check_size
from localchat.hub.form import GGUF, Form
from localchat.hub.lock import locked
from localchat.hub.progress import Progress, format_bytes
from localchat.hub.quarantine import quarantine, quarantined, set_aside
from localchat.registry import Choice

PART = ".part"


@dataclass(frozen=True)
class Slot:
    """The place of one file on the disk, and what the registry says of it."""

    label: str
    path: Path
    part: Path
    size: int | None = None
    sha256: str | None = None
    form: Form = GGUF

    @property
    def is_filled(self) -> bool:
        """Whether the file is here, with the size that the registry names."""
        return self.path.is_file() and self.size in (None, self.path.stat().st_size)

    @property
    def quarantined(self) -> Path:
        """Where the file goes when it is bad."""
        return quarantined(self.path)

    @property
    def arrived(self) -> int:
        """How many bytes of it are here already, good or bad."""
        return next((path.stat().st_size for path in (self.part, self.quarantined) if path.exists()), 0)

    def needed(self, size: int | None, copies: float = 1.02) -> int:
        """Room that a file of this size still takes; `copies` is how many times that at the worst moment."""
        return 0 if self.path.exists() else max(0, int((size or 0) * copies) - self.arrived)


@dataclass(frozen=True)
class Delivery:
    """A file in its place; its digest unless another process brought it."""

    path: Path
    digest: Digest | None


Download = Callable[[Slot, Progress], Digest]
"""Writes `slot.part`."""


def store(choice: Choice, models_dir: Path, progress: Progress, download: Download, copies: float = 1.05) -> Delivery:
    """The file of this choice in the models folder, downloaded unless it is there.

    `copies` is how many times its size the download needs at its worst moment.
    """
    slot = slot_of(choice, models_dir)
    slot.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(slot.path.parent / ".lock", slot.label, progress):
        if slot.is_filled:  # another process may have filled it while this one waited
            return Delivery(slot.path, None)
        if slot.path.exists():
            set_aside(slot.path)
        check_room(slot.label, slot.path.parent, slot.needed(slot.size, copies))
        digest = download(slot, progress)
        install(slot, digest, slot.path.name)
    return Delivery(slot.path, digest)


def slot_of(choice: Choice, models_dir: Path) -> Slot:
    """Where this choice belongs, whether or not it is there."""
    spec, quant = choice.spec, choice.quant
    # Named after the entry: sources may give two quants the same name, or one that is no good as a file name.
    name = f"{spec.id}.{re.sub(r'[^A-Za-z0-9._-]', '_', quant.name)}.gguf"
    path = models_dir / spec.id / name
    return Slot(f"{spec.id} {quant.name}", path, path.with_name(name + PART), quant.size, quant.sha256)


def find(choice: Choice, models_dir: Path) -> Path | None:
    """The file of this choice in the models folder, if it is there."""
    slot = slot_of(choice, models_dir)
    return slot.path if slot.is_filled else None


def check_room(label: str, folder: Path, needed: int) -> None:
    """FetchFailed unless the disk that holds `folder`, or will hold it, has `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchFailed(f"{label} needs {format_bytes(needed)} free in {folder}, which has {format_bytes(free)}")


def install(slot: Slot, digest: Digest, name: str, sha256: str | None = None) -> None:
    """Check the part and give it its place; a bad one is quarantined.

    `name` is what to call it; `sha256` is what its source says, where the registry does not.
    """
    try:
        check_size(name, digest.size, slot.size)
        if slot.sha256 is not None:
            check_sha256(name, digest.sha256, slot.sha256)
        elif sha256 is not None:
            check_sha256(name, digest.sha256, sha256, "the Hub")
        slot.form.check_structure(slot.part, name)
    except LocalchatError as error:
        where = quarantine(slot.part, slot.path)
        raise type(error)(f"{error}; it was moved to {where}") from None
    with slot.part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(slot.part, slot.path)
