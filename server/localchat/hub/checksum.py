"""What a downloaded file must pass: its SHA-256 and the first bytes of the GGUF format."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from localchat.errors import ChecksumMismatch, NotGguf
from localchat.hub.progress import Progress

_CHUNK = 1 << 20
_MAGIC = b"GGUF"


def copy_hashing(source: IO[bytes], target: IO[bytes], progress: Progress) -> str:
    """Copy to the end of `source`; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    done = 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
        done += len(chunk)
        progress.update(done)
    return digest.hexdigest()


def sha256_of(path: Path, progress: Progress) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress.update(done)
    return digest.hexdigest()


def check_sha256(name: str, actual: str, expected: str) -> None:
    """ChecksumMismatch unless the two are equal."""
    if actual != expected:
        raise ChecksumMismatch(
            f"{name} is not the file the registry names: its SHA-256 is {actual}, expected {expected}"
        )


def check_size(name: str, actual: int, expected: int | None) -> None:
    """ChecksumMismatch if the registry names another size."""
    if expected is not None and actual != expected:
        raise ChecksumMismatch(f"{name} is not the file the registry names: it has {actual} bytes, expected {expected}")


def check_magic(path: Path, name: str | None = None) -> None:
    """NotGguf unless the file begins as a GGUF does; `name` is what to call it."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise NotGguf(f"{name or path} is not a GGUF file: it begins with {head!r} instead of {_MAGIC!r}")
