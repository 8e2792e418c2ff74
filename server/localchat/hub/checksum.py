"""What a file must pass before it is used: its SHA-256 and its size.

Every pass over a file also hashes its blocks, so that a file which is damaged later can be mended where it is bad.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from localchat.errors import ChecksumMismatch
from localchat.hub.progress import Progress

BLOCK = 16 << 20

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digest:
    """What a content comes to: its size, its SHA-256, and that of each block of 16 MiB."""

    size: int
    sha256: str
    blocks: tuple[str, ...]


class Hasher:
    """Hashes a content while it passes by, whole and in blocks."""

    def __init__(self) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._block = hashlib.sha256()
        self._blocks: list[str] = []

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._whole.update(data)
        rest = memoryview(data)
        while rest:
            piece = rest[: BLOCK - self.size % BLOCK]
            self._block.update(piece)
            self.size += len(piece)
            rest = rest[len(piece) :]
            if self.size % BLOCK == 0:
                self._blocks.append(self._block.hexdigest())
                self._block = hashlib.sha256()

    def digest(self) -> Digest:
        """What has passed so far."""
        begun = [self._block.hexdigest()] if self.size % BLOCK else []
        return Digest(self.size, self._whole.hexdigest(), (*self._blocks, *begun))


def copy_hashing(source: IO[bytes], target: IO[bytes], progress: Progress) -> Digest:
    """Copy to the end of `source`; the digest of what was copied."""
    hasher = Hasher()
    for chunk in _chunks(source, hasher, progress):
        target.write(chunk)
    return hasher.digest()


def digest_of(path: Path, progress: Progress) -> Digest:
    """The digest of a file's content."""
    hasher = Hasher()
    hash_file(path, hasher, progress)
    return hasher.digest()


def hash_file(path: Path, hasher: Hasher, progress: Progress) -> None:
    """Show a file's content to a hasher."""
    with path.open("rb") as file:
        for _ in _chunks(file, hasher, progress):
            pass


def _chunks(file: IO[bytes], hasher: Hasher, progress: Progress) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        hasher.update(chunk)
        yield chunk
        progress.update(hasher.size)


def bad_blocks(actual: Digest, known: Digest) -> list[int]:
    """Which blocks are missing, or are not what they were."""
    pairs = enumerate(known.blocks)
    return [index for index, block in pairs if index >= len(actual.blocks) or actual.blocks[index] != block]


def check_sha256(name: str, actual: str, expected: str, namer: str = "the registry") -> None:
    """ChecksumMismatch unless the two are equal."""
    if actual != expected:
        raise ChecksumMismatch(f"{name} is not the file {namer} names: its SHA-256 is {actual}, expected {expected}")


def check_size(name: str, actual: int, expected: int | None, namer: str = "the registry") -> None:
    """ChecksumMismatch if another size is expected."""
    if expected is not None and actual != expected:
        raise ChecksumMismatch(f"{name} is not the file {namer} names: it has {actual} bytes, expected {expected}")
