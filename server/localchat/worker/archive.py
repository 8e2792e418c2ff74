"""Prefixes in files, which outlive the process that computed them.

A file is a magic, the length and the checksum of a header, the header, and the state as llama.cpp gives it. Nothing in
it is used before its checksum is found to be right. The name has the key of weights, settings and engine, so that a
file is only found by whom it can serve. Prompts are private: only the user can read the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import ENOSPC
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import psutil

from localchat.engine.stored import Stored

MAGIC = b"lcprefix1\n"
SUFFIX = ".prefix"
DIGEST = 32
MAX_HEADER = 16 << 20
MIN_DISK = 1 << 30
"""Bytes of the disk that are left to others."""
MAX_AGE = 30 * 86400
"""Seconds after which a file that was of no use is removed."""
_BUILD = 8
_BLOCK = 4 << 20
_ABANDONED = 3600
_HASHERS = 2


class Header(msgspec.Struct, frozen=True):
    """What a file holds."""

    key: str
    tokens: list[int]
    is_shared: bool
    size: int
    digest: bytes


class Archive:
    """The files of one key in a folder that many share, of `most` bytes for all together.

    Each use of a file sets its time of change, and the oldest make room for new ones. Reading and writing happen on
    threads of their own; whatever goes wrong is told to `warn`, and the file is as if it were not there.
    """

    def __init__(self, folder: Path, key: str, most: int, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._key = key
        self._most = most
        self._warn = warn
        self._writing = threading.Lock()
        self._parts = count()

    def stored(self) -> list[Stored]:
        """The files there are now. What is broken, of another build or too old is removed."""
        found: list[Stored] = []
        now = time.time()
        for file in self._files():
            with suppress(OSError):
                age = now - file.stat().st_mtime
                if not file.name.startswith(self._key[:_BUILD]) or age > MAX_AGE:
                    file.unlink()
                elif file.name.startswith(self._key):
                    header = _header(file, self._key)
                    if header is None:
                        file.unlink()
                    else:
                        found.append(Stored(file.name, header.tokens, header.is_shared))
        with suppress(OSError):
            for part in self._folder.glob(f"*{SUFFIX}.*"):
                if now - part.stat().st_mtime > _ABANDONED:
                    part.unlink()
        return found

    def fits(self, size: int) -> bool:
        """Whether a state of so many bytes may be copied and written."""
        return size <= min(self._most // 2, psutil.virtual_memory().available // 4)

    def read(self, stored: Stored, then: Callable[[memoryview | None], None]) -> None:
        """Begin to read a state; `then` gets it from another thread, or None where it is not to be had."""
        _begin(lambda: then(self._read(stored)))

    def write(
        self, tokens: list[int], data: memoryview, then: Callable[[Stored | None], None], *, is_shared: bool
    ) -> None:
        """Begin to write a state; `then` is told from another thread, with None where it was not possible."""
        _begin(lambda: then(self.put(tokens, data, is_shared=is_shared)))

    def put(self, tokens: list[int], data: memoryview, *, is_shared: bool) -> Stored | None:
        """Write a state."""
        name = f"{self._key}.{hashlib.sha256(np.array(tokens, np.int32).tobytes()).hexdigest()[:32]}{SUFFIX}"
        header = Header(self._key, tokens, is_shared, len(data), _digest(data))
        part = self._folder / f"{name}.{os.getpid()}-{next(self._parts)}"
        try:
            with self._writing:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._make_room(len(data))
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
                with open(descriptor, "wb", buffering=0) as file:
                    _write(file.write, header, data)
                part.replace(self._folder / name)
        except OSError as error:
            self._warn(f"prefixes cannot be kept in {self._folder}: {error.strerror}")
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return None
        return Stored(name, tokens, is_shared)

    def remove(self, files: Iterable[Stored]) -> None:
        """Remove files that are of no use any more."""
        for stored in files:
            with suppress(OSError):
                (self._folder / stored.name).unlink(missing_ok=True)

    def touch(self, files: Iterable[Stored]) -> None:
        """Take note that files are of use."""
        for stored in files:
            with suppress(OSError):
                os.utime(self._folder / stored.name)

    def _read(self, stored: Stored) -> memoryview | None:
        path = self._folder / stored.name
        try:
            with path.open("rb") as file:
                header = _read_header(file.read, self._key)
                if header is None or header.tokens != stored.tokens or header.size > _rest(file.fileno(), file.tell()):
                    raise ValueError("its header is not what it was")
                if header.size > psutil.virtual_memory().available // 2:
                    return None
                start = file.tell()
            data = np.empty(header.size, np.uint8).data
            if _load(path, start, data) != header.digest:
                raise ValueError("its content is not what it was")
            os.utime(path)
        except FileNotFoundError:  # another process needed the room
            return None
        except (OSError, ValueError) as error:
            self._warn(f"{path} is removed: {error}")
            self.remove([stored])
            return None
        return data

    def _make_room(self, size: int) -> None:
        """Remove the files that were of no use for longest. Raises OSError where the disk is full all the same."""
        sizes: list[tuple[float, int, Path]] = []
        for file in self._files():
            with suppress(OSError):  # another process removed it
                status = file.stat()
                sizes.append((status.st_mtime, status.st_size, file))
        total = size + sum(each for _, each, _ in sizes)
        free = shutil.disk_usage(self._folder).free - size
        for _, each, file in sorted(sizes):
            if total <= self._most and free >= MIN_DISK:
                break
            with suppress(OSError):
                file.unlink(missing_ok=True)
            total, free = total - each, free + each
        if free < MIN_DISK:
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def _files(self) -> list[Path]:
        with suppress(OSError):
            return sorted(self._folder.glob(f"*{SUFFIX}"))
        return []


def _begin(job: Callable[[], None]) -> None:
    threading.Thread(target=job, name="archive", daemon=True).start()


def _write(write: Callable[[bytes | memoryview], int | None], header: Header, data: memoryview) -> None:
    body = msgspec.msgpack.encode(header)
    view = memoryview(b"".join((MAGIC, len(body).to_bytes(4, "little"), hashlib.sha256(body).digest(), body)))
    for piece in (view, data):
        while piece:
            piece = piece[write(piece[:_BLOCK]) :]


def _header(path: Path, key: str) -> Header | None:
    """The header of a file that is whole as far as its length tells; None of any other."""
    with path.open("rb") as file:
        header = _read_header(file.read, key)
        return header if header is not None and header.size == _rest(file.fileno(), file.tell()) else None


def _read_header(read: Callable[[int], bytes | None], key: str) -> Header | None:
    if read(len(MAGIC)) != MAGIC:
        return None
    length = int.from_bytes(read(4) or b"", "little")
    digest = read(DIGEST)
    body = (read(length) if length <= MAX_HEADER else None) or b""
    if hashlib.sha256(body).digest() != digest:
        return None
    with suppress(msgspec.MsgspecError):
        header = msgspec.msgpack.decode(body, type=Header)
        if header.key == key:
            return header
    return None


def _rest(descriptor: int, position: int) -> int:
    return os.fstat(descriptor).st_size - position


def _load(path: Path, start: int, data: memoryview) -> bytes:
    """Fill a buffer from a place in a file; its checksum."""

    def fill(place: int) -> bytes:
        block = data[place : place + _BLOCK]
        with path.open("rb", buffering=0) as file:
            file.seek(start + place)
            filled = 0
            while filled < len(block) and (more := file.readinto(block[filled:])):
                filled += more
        return hashlib.sha256(block[:filled]).digest()

    return _digest_of_blocks(fill, len(data))


def _digest(data: memoryview) -> bytes:
    return _digest_of_blocks(lambda place: hashlib.sha256(data[place : place + _BLOCK]).digest(), len(data))


def _digest_of_blocks(digest: Callable[[int], bytes], size: int) -> bytes:
    """The checksum of the checksums of all blocks, which two threads find by where they begin."""
    with ThreadPoolExecutor(_HASHERS) as pool:
        return hashlib.sha256(b"".join(pool.map(digest, range(0, size, _BLOCK)))).digest()
