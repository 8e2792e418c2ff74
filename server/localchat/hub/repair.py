"""Mends a file of which is known what each block was: only the bad ones are fetched again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import httpx

from localchat.errors import FetchFailed
from localchat.hub.checksum import BLOCK, Digest, bad_blocks, digest_of
from localchat.hub.progress import Progress, phase
from localchat.hub.store import Slot
from localchat.hub.transfer import Remote, client, download, translated


def obtain(remote: Remote, slot: Slot, known: Digest | None, progress: Progress) -> Digest:
    """Fill `slot.part`: from what is here of a file whose blocks are known, or else by a download."""
    if known is not None and remote.sha256 in (None, known.sha256) and remote.size in (None, known.size):
        if not slot.part.exists() and slot.quarantined.exists():
            os.replace(slot.quarantined, slot.part)
        if slot.part.exists() and _mend(remote, slot, known, progress):
            with phase(progress, f"{slot.label}: checking", known.size):
                digest = digest_of(slot.part, progress)
            if digest.sha256 == known.sha256 or remote.sha256 is not None:
                return digest
            slot.part.unlink()  # the address has another file by now
    return download(remote, slot, progress)


def _mend(remote: Remote, slot: Slot, known: Digest, progress: Progress) -> bool:
    """Whether the part is whole again; False where the server sends no ranges, and nothing is left of the part."""
    with phase(progress, f"{slot.label}: looking for what is bad", slot.part.stat().st_size):
        bad = bad_blocks(digest_of(slot.part, progress), known)
    slot.part.chmod(slot.part.stat().st_mode | 0o200)  # the Hub's store makes files read-only
    total = sum(min(BLOCK, known.size - index * BLOCK) for index in bad)
    with (
        phase(progress, f"{slot.label}: fetching {len(bad)} bad blocks again", total),
        slot.part.open("r+b") as file,
        client() as http,
    ):
        file.truncate(known.size)
        done = 0
        for start, end in _runs(bad, known.size):
            for arrived in _fetch_range(http, remote, file, start, end):
                if not arrived:
                    file.truncate(0)
                    return False
                done += arrived
                progress.update(done)
    return True


def _runs(blocks: list[int], size: int) -> Iterator[tuple[int, int]]:
    """The ranges of bytes that these blocks take, neighbours in one."""
    start = previous = None
    for block in blocks:
        if previous is None or block != previous + 1:
            if start is not None and previous is not None:
                yield start * BLOCK, (previous + 1) * BLOCK
            start = block
        previous = block
    if start is not None and previous is not None:
        yield start * BLOCK, min((previous + 1) * BLOCK, size)


def _fetch_range(http: httpx.Client, remote: Remote, file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Put these bytes in their place; yields how many have come, 0 where the server has sent something else."""
    while start < end:
        before = start
        headers = {**remote.headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
        try:
            with translated(remote), http.stream("GET", remote.url, headers=headers) as response:
                response.raise_for_status()
                if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-{end - 1}/"):
                    yield 0
                    return
                file.seek(start)
                for chunk in response.iter_raw():
                    file.write(chunk[: end - start])
                    start += len(chunk)
                    yield len(chunk)
        except FetchFailed:
            if start == before:  # a cut connection is taken up again for as long as that brings the file further
                raise
