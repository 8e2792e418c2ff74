"""How an object, its items and its metadata lie in the tables. All of it runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from localchat.errors import InvalidRequest

Kind = Literal["response", "chat.completion"]
Json = dict[str, Any]

_encode = msgspec.json.encode
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class NewObject:
    """What is to be kept. Items have ids; `runner` is the process that still works on it."""

    id: str
    kind: Kind
    model: str
    created: int
    body: Json
    inputs: Sequence[Json]
    outputs: Sequence[Json] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    previous: str | None = None
    runner: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was kept of an object, without its inputs."""

    id: str
    body: Json
    outputs: list[Json]
    metadata: dict[str, str]
    runner: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list."""

    limit: int = 20
    after: str | None = None
    newest_first: bool = False


def put(connection: sqlite3.Connection, owner: str, new: NewObject) -> int:
    """Keep an object, in place of what was kept by its id; the bytes it takes."""
    body = _encode(new.body)
    items = [
        (is_output, position, item["id"], _encode(item))
        for is_output, side in enumerate((new.inputs, new.outputs))
        for position, item in enumerate(side)
    ]
    size = len(body) + sum(len(item[-1]) for item in items)
    connection.execute(
        """INSERT INTO objects (id, owner, kind, model, created, previous, runner, size, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET runner = excluded.runner, size = excluded.size, body = excluded.body""",
        (new.id, owner, new.kind, new.model, new.created, new.previous, new.runner, size, body),
    )
    [number] = connection.execute("SELECT number FROM objects WHERE id = ?", (new.id,)).fetchone()
    connection.execute("DELETE FROM items WHERE object = ?", (number,))
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", [(number, *item) for item in items])
    _put_metadata(connection, number, new.metadata)
    return size


def get(connection: sqlite3.Connection, owner: str, kind: Kind, id: str) -> Found | None:
    """An object by its id."""
    row = _row(connection, owner, kind, id)
    return row and _found(connection, row)


def set_metadata(
    connection: sqlite3.Connection, owner: str, kind: Kind, id: str, metadata: Mapping[str, str]
) -> Found | None:
    """An object with other metadata than before."""
    if (row := _row(connection, owner, kind, id)) is None:
        return None
    _put_metadata(connection, row[0], metadata)
    return _found(connection, row)


def settle(connection: sqlite3.Connection, owner: str, kind: Kind, id: str, body: Json) -> Found | None:
    """An object that nobody works on any more, with another body than before."""
    connection.execute(
        "UPDATE objects SET runner = NULL, body = ? WHERE owner = ? AND kind = ? AND id = ?",
        (_encode(body), owner, kind, id),
    )
    return get(connection, owner, kind, id)


def delete(connection: sqlite3.Connection, owner: str, kind: Kind, id: str) -> bool:
    """Forget an object; False if there is none."""
    done = connection.execute("DELETE FROM objects WHERE owner = ? AND kind = ? AND id = ?", (owner, kind, id))
    return done.rowcount > 0


def list_objects(
    connection: sqlite3.Connection, owner: str, kind: Kind, page: Page, model: str | None, metadata: Mapping[str, str]
) -> tuple[list[Found], bool]:
    """A page of the objects of a model, or of all, that have this metadata; and whether there are more."""
    wheres, values = ["owner = ?", "kind = ?"], [owner, kind]
    if model is not None:
        wheres.append("model = ?")
        values.append(model)
    for pair in metadata.items():
        wheres.append("EXISTS (SELECT 1 FROM metadata WHERE object = number AND key = ? AND value = ?)")
        values.extend(pair)
    if page.after is not None:
        if (row := _row(connection, owner, kind, page.after)) is None:
            raise _no_such(page)
        wheres.append(f"number {'<' if page.newest_first else '>'} ?")
        values.append(row[0])
    order = "DESC" if page.newest_first else "ASC"
    rows = connection.execute(
        f"SELECT number, id, runner, body FROM objects WHERE {' AND '.join(wheres)} ORDER BY number {order} LIMIT ?",
        (*values, page.limit + 1),
    ).fetchall()
    return [_found(connection, row) for row in rows[: page.limit]], len(rows) > page.limit


def list_inputs(
    connection: sqlite3.Connection, owner: str, kind: Kind, id: str, page: Page
) -> tuple[list[Json], bool] | None:
    """A page of the items that went into an object; and whether there are more. None if there is no such object."""
    if (row := _row(connection, owner, kind, id)) is None:
        return None
    sign, order = ("<", "DESC") if page.newest_first else (">", "ASC")
    start = -1
    if page.after is not None:
        first = connection.execute(
            "SELECT position FROM items WHERE object = ? AND is_output = 0 AND id = ?", (row[0], page.after)
        ).fetchone()
        if first is None:
            raise _no_such(page)
        [start] = first
    elif page.newest_first:
        start = 1 << 60
    rows = connection.execute(
        f"""SELECT body FROM items WHERE object = ? AND is_output = 0 AND position {sign} ?
        ORDER BY position {order} LIMIT ?""",
        (row[0], start, page.limit + 1),
    ).fetchall()
    return [_decode(body) for (body,) in rows[: page.limit]], len(rows) > page.limit


def find_item(connection: sqlite3.Connection, owner: str, id: str) -> Json | None:
    """An item, of whichever response of this owner, by its id."""
    row = connection.execute(
        """SELECT items.body FROM items JOIN objects ON number = object
        WHERE items.id = ? AND owner = ? AND kind = 'response' ORDER BY number DESC LIMIT 1""",
        (id, owner),
    ).fetchone()
    return None if row is None else dict(_decode(row[0]))


def chain(connection: sqlite3.Connection, owner: str, id: str) -> tuple[list[Json], str | None]:
    """All items from a conversation's first response to this one; and the id of what is missing of it, if it is."""
    rows = connection.execute(
        """WITH RECURSIVE chain (number, previous, depth) AS (
            SELECT number, previous, 0 FROM objects WHERE id = ?1 AND owner = ?2 AND kind = 'response'
            UNION ALL
            SELECT older.number, older.previous, depth + 1 FROM chain
            JOIN objects AS older ON older.id = chain.previous AND owner = ?2
        ) SELECT number, previous FROM chain ORDER BY depth DESC""",
        (id, owner),
    ).fetchall()
    if not rows:
        return [], id
    items = [
        _decode(body)
        for number, _ in rows
        for (body,) in connection.execute(
            "SELECT body FROM items WHERE object = ? ORDER BY is_output, position", (number,)
        )
    ]
    return items, rows[0][1]


def _row(connection: sqlite3.Connection, owner: str, kind: Kind, id: str) -> Any:
    return connection.execute(
        "SELECT number, id, runner, body FROM objects WHERE id = ? AND owner = ? AND kind = ?", (id, owner, kind)
    ).fetchone()


def _found(connection: sqlite3.Connection, row: Any) -> Found:
    number, id, runner, body = row
    outputs = connection.execute(
        "SELECT body FROM items WHERE object = ? AND is_output = 1 ORDER BY position", (number,)
    ).fetchall()
    metadata = connection.execute("SELECT key, value FROM metadata WHERE object = ?", (number,)).fetchall()
    return Found(id, _decode(body), [_decode(item) for (item,) in outputs], dict(metadata), runner)


def _put_metadata(connection: sqlite3.Connection, number: int, metadata: Mapping[str, str]) -> None:
    connection.execute("DELETE FROM metadata WHERE object = ?", (number,))
    connection.executemany("INSERT INTO metadata VALUES (?, ?, ?)", [(number, *pair) for pair in metadata.items()])


def _no_such(page: Page) -> InvalidRequest:
    return InvalidRequest(f"after is {page.after!r}, which is not in this list", param="after")
