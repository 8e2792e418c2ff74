"""The store's tables, one step after another. Steps are only ever added: files of every age are somebody's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

Step = tuple[str, ...]

STEPS: tuple[Step, ...] = (
    (
        """CREATE TABLE objects (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            kind TEXT NOT NULL,
            model TEXT NOT NULL,
            created INTEGER NOT NULL,
            previous TEXT,
            runner TEXT,
            size INTEGER NOT NULL,
            body BLOB NOT NULL
        )""",
        "CREATE INDEX objects_by_owner ON objects (owner, kind, number)",
        "CREATE INDEX objects_by_age ON objects (created, number, size)",
        "CREATE INDEX objects_by_previous ON objects (previous) WHERE previous IS NOT NULL",
        """CREATE TABLE items (
            object INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
            is_output INTEGER NOT NULL,
            position INTEGER NOT NULL,
            id TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (object, is_output, position)
        ) WITHOUT ROWID""",
        "CREATE INDEX items_by_id ON items (id)",
        """CREATE TABLE metadata (
            object INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (object, key)
        ) WITHOUT ROWID""",
    ),
)
"""What each version has that the one before it had not."""


def version(connection: sqlite3.Connection) -> int:
    """How many steps a file has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, steps: Sequence[Step] = STEPS) -> None:
    """Take the steps that a file lacks, all or none, also where another process does the same."""
    if version(connection) >= len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[version(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
