"""Keeps the store within its age and size: the conversations that rested longest go first, from their ends.

What a later response goes on from stays as long as that does.
"""

from __future__ import annotations

import math
import sqlite3
import time
from dataclasses import dataclass

_AT_ONCE = 64
_ENDS = """FROM objects AS o WHERE NOT EXISTS
    (SELECT 1 FROM objects AS next WHERE next.previous = o.id AND next.owner = o.owner) AND o.runner IS NULL"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long objects are kept, and how many bytes of them."""

    seconds: float
    size: int


def clean(connection: sqlite3.Connection, limits: Limits, now: float | None = None) -> int:
    """Forget what is too old or too much; how many objects that were."""
    gone = 0
    if math.isfinite(limits.seconds):
        gone += _forget_old(connection, (time.time() if now is None else now) - limits.seconds)
    gone += _forget_surplus(connection, limits.size)
    return gone


def _forget_old(connection: sqlite3.Connection, before: float) -> int:
    gone = 0
    while True:
        done = connection.execute(
            f"DELETE FROM objects WHERE number IN (SELECT o.number {_ENDS} AND o.created < ? LIMIT {_AT_ONCE})",
            (before,),
        )
        if not done.rowcount:
            return gone
        gone += done.rowcount


def _forget_surplus(connection: sqlite3.Connection, most: int) -> int:
    gone = 0
    [size] = connection.execute("SELECT total(size) FROM objects").fetchone()
    while size > most:
        ends = connection.execute(
            f"SELECT o.number, o.size {_ENDS} ORDER BY o.created, o.number LIMIT {_AT_ONCE}"
        ).fetchall()
        if not ends:
            break
        for number, bytes_ in ends:
            if size <= most:
                break
            connection.execute("DELETE FROM objects WHERE number = ?", (number,))
            size -= bytes_
            gone += 1
    return gone
