"""Files of prefixes: what is in them is what was put there, or they are gone."""

from __future__ import annotations

import os
import queue
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.stored import Stored
from localchat.worker import archive as module
from localchat.worker.archive import MAX_AGE, Archive

KEY = "build123" + "0" * 32
TOKENS = list(range(600))
DATA = memoryview(bytes(range(256)) * 100)

needs_modes = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="modes bind nobody here")


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prefixes"


@pytest.fixture
def archive(folder: Path, warnings: Warnings) -> Archive:
    return Archive(folder, KEY, 1 << 30, warnings)


def put(archive: Archive, tokens: list[int] = TOKENS, data: memoryview = DATA, *, is_shared: bool = False) -> Stored:
    stored = archive.put(tokens, data, is_shared=is_shared)
    assert stored is not None
    return stored


def read(archive: Archive, stored: Stored) -> bytes | None:
    answers: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
    archive.read(stored, answers.put)
    data = answers.get(timeout=30)
    return None if data is None else bytes(data)


def only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_another_process_finds_and_reads_what_was_written(archive: Archive, folder: Path, warnings: Warnings) -> None:
    put(archive, is_shared=True)
    (found,) = Archive(folder, KEY, 1 << 30, warnings).stored()
    assert (found.tokens, found.is_shared) == (TOKENS, True)
    assert read(archive, found) == bytes(DATA)
    assert not warnings


def test_writing_on_another_thread_tells_the_file(archive: Archive) -> None:
    answers: queue.SimpleQueue[Stored | None] = queue.SimpleQueue()
    archive.write(TOKENS, DATA, answers.put, is_shared=False)
    stored = answers.get(timeout=30)
    assert stored is not None
    assert read(archive, stored) == bytes(DATA)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no modes")
def test_only_the_user_can_read_prompts(archive: Archive, folder: Path) -> None:
    put(archive)
    assert only(folder).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_same_tokens_are_kept_once(archive: Archive, folder: Path) -> None:
    put(archive)
    put(Archive(folder, KEY, 1 << 30, print))
    assert len(list(folder.iterdir())) == 1


def test_other_weights_or_settings_find_nothing_and_remove_nothing(archive: Archive, folder: Path) -> None:
    put(archive)
    assert Archive(folder, "build123" + "1" * 32, 1 << 30, print).stored() == []
    assert len(archive.stored()) == 1


def test_another_build_removes_what_it_cannot_use(archive: Archive, folder: Path) -> None:
    put(archive)
    assert Archive(folder, "build456" + "0" * 32, 1 << 30, print).stored() == []
    assert not list(folder.iterdir())


def test_a_file_under_the_name_of_another_key_is_removed(archive: Archive, folder: Path) -> None:
    stored = put(archive)
    other = "build123" + "1" * 32
    (folder / stored.name).replace(folder / stored.name.replace(KEY, other))
    assert Archive(folder, other, 1 << 30, print).stored() == []
    assert not list(folder.iterdir())


def test_what_was_of_no_use_for_long_is_removed(archive: Archive, folder: Path) -> None:
    put(archive)
    old = time.time() - MAX_AGE - 60
    os.utime(only(folder), (old, old))
    assert archive.stored() == []
    assert not list(folder.iterdir())


def test_what_a_killed_process_left_half_written_is_removed(archive: Archive, folder: Path) -> None:
    stored = put(archive)
    fresh, old = (folder / f"{stored.name}.{name}" for name in ("1-0", "2-0"))
    fresh.touch()
    old.touch()
    os.utime(old, (0, 0))
    assert len(archive.stored()) == 1
    assert (fresh.exists(), old.exists()) == (True, False)


Damage = Callable[[bytes], bytes]


@given(data=st.data())
def test_damage_anywhere_is_found_and_the_file_removed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, warnings = tmp_path_factory.mktemp("damage"), Warnings()
    archive = Archive(folder, KEY, 1 << 30, warnings)
    stored = put(archive)
    path = folder / stored.name
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "at")] ^= data.draw(st.integers(1, 255), "by")
    path.write_bytes(content)
    assert read(archive, stored) is None
    assert not path.exists()
    assert "is removed: its" in warnings[0]
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"lcprefix0\n" + content[10:],
        lambda content: content[:10] + b"\xff\xff\xff\xff" + content[14:],
        lambda content: content[:60] + b"\x00" + content[61:],
    ],
    ids=["empty", "begun", "short", "long", "another version", "a header without end", "another header"],
)
def test_a_damaged_file_is_not_even_listed(archive: Archive, folder: Path, damage: Damage) -> None:
    put(archive)
    path = only(folder)
    path.write_bytes(damage(path.read_bytes()))
    assert archive.stored() == []
    assert not path.exists()


def test_a_file_that_another_process_removed_is_no_reason_to_complain(
    archive: Archive, folder: Path, warnings: Warnings
) -> None:
    stored = put(archive)
    only(folder).unlink()
    assert read(archive, stored) is None
    assert not warnings


def test_the_oldest_make_room_and_a_use_makes_young(
    folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(DATA) + 4000
    archive = Archive(folder, KEY, 3 * size, warnings)
    files = [put(archive, [n, *TOKENS]) for n in range(3)]
    for age, stored in enumerate(files):
        os.utime(folder / stored.name, (1000 + age, 1000 + age))
    archive.touch(files[:1])
    read(archive, files[1])
    put(archive, [3, *TOKENS])
    monkeypatch.setattr(module, "MAX_AGE", time.time())
    assert {stored.tokens[0] for stored in archive.stored()} == {0, 1, 3}


def test_a_state_of_half_the_room_or_more_does_not_fit(folder: Path) -> None:
    archive = Archive(folder, KEY, 1000, print)
    assert archive.fits(500)
    assert not archive.fits(501)


def test_a_full_disk_is_told_and_nothing_is_left(
    archive: Archive, folder: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(folder.parent).free
    monkeypatch.setattr(module, "MIN_DISK", free * 2)
    assert archive.put(TOKENS, DATA, is_shared=False) is None
    assert warnings == [f"prefixes cannot be kept in {folder}: No space left on device"]
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, warnings: Warnings) -> None:
    (tmp_path / "file").touch()
    archive = Archive(tmp_path / "file" / "prefixes", KEY, 1 << 30, warnings)
    assert archive.stored() == []
    assert archive.put(TOKENS, DATA, is_shared=False) is None
    assert len(warnings) == 1


@needs_modes
def test_a_folder_that_may_only_be_read_is_read(archive: Archive, folder: Path, warnings: Warnings) -> None:
    stored = put(archive)
    folder.chmod(0o500)
    try:
        assert archive.put([1, *TOKENS], DATA, is_shared=False) is None
        assert read(archive, stored) == bytes(DATA)
    finally:
        folder.chmod(0o700)
    assert len(warnings) == 1
