"""The store as requests use it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localchat.settings import Settings
from localchat.store import objects
from localchat.store.cleaning import Limits, clean
from localchat.store.database import Database
from localchat.store.file import connect
from localchat.store.objects import Found, Json, Kind, NewObject, Page

_CLEAN_SECONDS = 600.0
_CLEAN_SHARE = 64


class Store:
    """Keeps objects for their owners; nobody finds what is another's."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._database = Database(connection)
        self._limits = limits
        self._cleaned = time.monotonic()
        self._written = 0

    async def clean(self) -> None:
        """Forget what is too old or too much. Happens by itself now and then, as things are kept. Raises StoreError."""
        self._start_afresh()
        if await self._database.write(self._forget):
            self._database.shrink_later()

    async def put(self, owner: str, new: NewObject) -> None:
        """Keep an object, or what has become of it since. Raises StoreError."""
        await self._database.write(lambda connection: self._put(connection, owner, new))
        self._clean_if_due()

    def put_later(self, owner: str, new: NewObject) -> None:
        """The same, for whoever cannot wait."""
        self._database.write_later(lambda connection: self._put(connection, owner, new))
        self._clean_if_due()

    async def get(self, owner: str, kind: Kind, id: str) -> Found | None:
        """An object by its id. Raises StoreError, as all of these do."""
        return await self._database.read(lambda connection: objects.get(connection, owner, kind, id))

    async def settle(self, owner: str, kind: Kind, id: str, body: Json) -> Found | None:
        """An object that nobody works on any more, with another body than before; None if there is none."""
        return await self._database.write(lambda connection: objects.settle(connection, owner, kind, id, body))

    async def set_metadata(self, owner: str, kind: Kind, id: str, metadata: Mapping[str, str]) -> Found | None:
        """An object with other metadata than before; None if there is none."""
        return await self._database.write(
            lambda connection: objects.set_metadata(connection, owner, kind, id, metadata)
        )

    async def delete(self, owner: str, kind: Kind, id: str) -> bool:
        """Forget an object; False if there is none."""
        return await self._database.write(lambda connection: objects.delete(connection, owner, kind, id))

    async def page(
        self, owner: str, kind: Kind, page: Page, model: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[Found], bool]:
        """A page of objects, and whether there are more. Raises InvalidRequest."""
        return await self._database.read(
            lambda connection: objects.list_objects(connection, owner, kind, page, model, metadata or {})
        )

    async def inputs(self, owner: str, kind: Kind, id: str, page: Page) -> tuple[list[Json], bool] | None:
        """A page of what went into an object, and whether there is more. Raises InvalidRequest."""
        return await self._database.read(lambda connection: objects.list_inputs(connection, owner, kind, id, page))

    async def item(self, owner: str, id: str) -> Json | None:
        """An item of a response."""
        return await self._database.read(lambda connection: objects.find_item(connection, owner, id))

    async def chain(self, owner: str, id: str) -> tuple[list[dict[str, Any]], str | None]:
        """All items of a conversation up to a response; and the id of what is missing of it, if it is."""
        return await self._database.read(lambda connection: objects.chain(connection, owner, id))

    async def close(self) -> None:
        """Finish what was asked for, and let go of the file."""
        await self._database.close()

    def _put(self, connection: sqlite3.Connection, owner: str, new: NewObject) -> None:
        self._written += objects.put(connection, owner, new)

    def _forget(self, connection: sqlite3.Connection) -> int:
        return clean(connection, self._limits)

    def _clean_if_due(self) -> None:
        rested = time.monotonic() - self._cleaned
        if rested >= _CLEAN_SECONDS or self._written > self._limits.size // _CLEAN_SHARE:
            self._start_afresh()
            self._database.write_later(self._forget)
            self._database.shrink_later()

    def _start_afresh(self) -> None:
        self._cleaned, self._written = time.monotonic(), 0


def open_store(settings: Settings) -> Store | None:
    """The store that the settings name; None where nothing is to be kept. Raises ConfigError."""
    if not isinstance(settings.store, Path):
        return None
    return Store(connect(settings.store), Limits(settings.store_age, settings.store_size))
