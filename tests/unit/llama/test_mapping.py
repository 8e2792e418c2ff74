"""Mapped pages are given back, and come back when they are wanted."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import psutil
import pytest

from localchat.llama.mapping import release

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems drop such pages by themselves")


def mapped_bytes(path: Path) -> int:
    maps = psutil.Process().memory_maps(grouped=True)
    return sum(each.rss for each in maps if each.path == str(path))


def test_pages_of_a_file_are_dropped_and_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "weights", tmp_path / "other"
    content = bytes(range(256)) * (4 * MIB // 256)
    for file in (path, other):
        file.write_bytes(content)
    with path.open("rb") as first, other.open("rb") as second:
        mine = mmap.mmap(first.fileno(), 0, access=mmap.ACCESS_READ)
        kept = mmap.mmap(second.fileno(), 0, access=mmap.ACCESS_READ)
        assert mine[:] == kept[:] == content
        link = tmp_path / "link"
        link.symlink_to(path)
        release(link)
        assert mapped_bytes(path) == 0
        assert mapped_bytes(other) == 4 * MIB
        assert mine[:] == content
        mine.close()
        kept.close()


def test_pages_that_were_written_to_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(MIB))
    with path.open("rb") as file:
        mine = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        mine[:4] = b"mine"
        release(path)
        assert mine[:4] == b"mine"
        mine.close()


def test_file_that_is_not_mapped_is_no_error(tmp_path: Path) -> None:
    release(tmp_path / "absent")
