"""The store's file: made private, recognised as ours, and looked at before anything in it is changed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from localchat.errors import ConfigError
from localchat.store.migrations import STEPS, migrate, version

APPLICATION_ID = 0x6C636874
"""Tells our files from other programs' databases."""
_BUSY_SECONDS = 10.0


def connect(path: Path) -> sqlite3.Connection:
    """The store at a path, made if there is none and brought up to date. Raises ConfigError."""
    try:
        _make_private(path)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _check(connection, path)
            path.chmod(0o600)
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _refused(path, f"cannot be written: {reason}") from None
    except sqlite3.Error as error:
        raise _refused(path, f"cannot be read: {error}") from None
    return connection


def _make_private(path: Path) -> None:
    """SQLite gives its side files the mode of the main one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _check(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA quick_check(1)")) as found:
        verdict = found.fetchone()[0]
    if verdict != "ok":
        raise _refused(path, f"is damaged: {verdict}")
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise _refused(path, "is another program's database")
    if version(connection) > len(STEPS):
        raise _refused(path, f"was written by a newer localchat (version {version(connection)}, not {len(STEPS)})")


def _prepare(connection: sqlite3.Connection) -> None:
    if version(connection) == 0:  # both must come before the first table
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what a person deletes is gone
    migrate(connection)


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"--store: {path} {why}; move it away, name another file, or keep nothing with --store off")
