"""What is known of the files that were checked: one small file for each, in the models folder."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from localchat.hub.checksum import Digest
from localchat.registry import Choice

_FOLDER = ".installed"


@dataclass(frozen=True)
class Record:
    """A file that was found to be right, and when."""

    id: str
    quant: str
    source: dict[str, str | None]
    path: str
    commit: str | None
    """Of the Hub's repository, whatever the revision was called."""
    digest: Digest
    modified_ns: int
    verified: float

    @property
    def is_unchanged(self) -> bool:
        """Whether the file looks as it did when it was checked; no content is read."""
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return found.st_size == self.digest.size and found.st_mtime_ns == self.modified_ns


def write(choice: Choice, models_dir: Path, path: Path, digest: Digest, commit: str | None) -> Record:
    """Note a file that was just checked."""
    record = Record(
        id=choice.spec.id,
        quant=choice.quant.name,
        source=choice.quant.source.model_dump(),
        path=str(path),
        commit=commit,
        digest=digest,
        modified_ns=path.stat().st_mtime_ns,
        verified=time.time(),
    )
    file = _file(choice, models_dir)
    with suppress(OSError):  # a folder that may only be read: it works without, only not as well
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        os.replace(draft, file)
    return record


def find(choice: Choice, models_dir: Path) -> Record | None:
    """What is known of a choice's file, whether or not that is still there."""
    return _read(_file(choice, models_dir))


def records(models_dir: Path) -> Iterator[tuple[Path, Record]]:
    """All of them, with the files that hold them."""
    for file in sorted((models_dir / _FOLDER).glob("*.json")):
        if record := _read(file):
            yield file, record


def forget(path: Path, models_dir: Path) -> None:
    """Forget all that is known of a file."""
    for file, record in records(models_dir):
        if record.path == str(path):
            file.unlink(missing_ok=True)


def touch(choice: Choice, models_dir: Path) -> None:
    """Note that a file is used now."""
    with suppress(OSError):
        os.utime(_file(choice, models_dir))


def _read(file: Path) -> Record | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def _file(choice: Choice, models_dir: Path) -> Path:
    source = choice.quant.source.model_dump_json()
    # Two repositories may have files of the same name, and a repository two revisions of one.
    tail = hashlib.sha256(source.encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", choice.quant.name)
    return models_dir / _FOLDER / f"{choice.spec.id}.{name}.{tail}.json"
