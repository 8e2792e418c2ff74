"""The file: private, ours, whole, and of a version that we know; or nothing is touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localchat.errors import ConfigError
from localchat.settings import load_settings
from localchat.store import open_store
from localchat.store.file import connect
from localchat.store.migrations import STEPS, migrate, version

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect(path)) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name").fetchall()


@posix
def test_file_is_private_and_so_are_its_side_files(path: Path) -> None:
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO objects VALUES (1, 'i', '', 'k', 'm', 1, NULL, NULL, 1, '')")
        connection.execute("COMMIT")
        assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
            "store.sqlite3": 0o600,
            "store.sqlite3-wal": 0o600,
            "store.sqlite3-shm": 0o600,
        }
    assert path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_file_that_others_could_read_is_made_private(path: Path) -> None:
    with opened(path):
        pass
    path.chmod(0o644)
    with opened(path):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("age", range(len(STEPS)))
def test_file_of_every_age_becomes_what_a_new_one_is(path: Path, tmp_path: Path, age: int) -> None:
    with opened(path) as connection:
        fresh = tables(connection)
    with contextlib.closing(sqlite3.connect(tmp_path / "old", isolation_level=None)) as connection:
        migrate(connection, STEPS[:age])
        assert version(connection) == age
        migrate(connection)
        assert tables(connection) == fresh
        assert version(connection) == len(STEPS)


def test_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old", isolation_level=None)) as connection:
        migrate(connection)
        before = tables(connection)
        with pytest.raises(sqlite3.Error):
            migrate(connection, (*STEPS, ("CREATE TABLE more (a)",), ("CREATE TABLE more (a)",)))
        assert (tables(connection), version(connection)) == (before, len(STEPS))


def write_foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()


def write_newer(path: Path) -> None:
    with opened(path) as connection:
        connection.execute("PRAGMA user_version = 999")


def write_damaged(path: Path) -> None:
    with opened(path) as connection:
        connection.executemany(
            "INSERT INTO objects VALUES (?, ?, '', 'k', 'm', 1, NULL, NULL, 1, ?)",
            [(n, str(n), b"x" * 900) for n in range(1, 200)],
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[8192:40960] = b"\xa5" * (40960 - 8192)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_text("this is a diary, and no database at all" * 99), "file is not a database"),
        (write_foreign, "is another program's database"),
        (write_newer, r"was written by a newer localchat \(version 999, not"),
        (write_damaged, "is damaged|malformed"),
    ],
    ids=["text", "foreign", "newer", "damaged"],
)
def test_file_that_is_no_good_is_refused_and_left_alone(path: Path, write: Callable[[Path], None], words: str) -> None:
    path.parent.mkdir()
    write(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=words) as caught:
        connect(path)
    assert "--store off" in caught.value.message
    assert str(path) in caught.value.message
    assert path.read_bytes() == before


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        connect(tmp_path)


def test_off_keeps_nothing() -> None:
    assert open_store(load_settings(store="off")) is None


async def test_settings_say_where(path: Path) -> None:
    store = open_store(load_settings(store=path, store_age="1d", store_size="1M"))
    assert store
    await store.close()
    assert path.is_file()


_WRITER = """
import asyncio, math, sys
from pathlib import Path
from localchat.store import NewObject
from localchat.store.cleaning import Limits
from localchat.store.file import connect
from localchat.store.store import Store

async def main():
    store = Store(connect(Path(sys.argv[1])), Limits(math.inf, 1 << 40))
    for n in range(50):
        new = NewObject(id=f"{sys.argv[2]}{n}", kind="response", model="m", created=1, body={}, inputs=[])
        await store.put("", new)
    await store.close()

asyncio.run(main())
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM objects").fetchone() == (100,)
