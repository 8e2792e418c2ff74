"""One connection on a thread of its own, so that no request and no stream ever waits for the disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from localchat.errors import StoreError

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]


class Database:
    """Takes turns: whatever is asked for is done in order, so that what was written is there to be read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def read(self, work: Work[_T]) -> _T:
        """What `work` finds, all of it of one moment. Raises StoreError."""
        return await asyncio.wrap_future(self._thread.submit(self._transact, "BEGIN", work))

    async def write(self, work: Work[_T]) -> _T:
        """Do `work`, all of it or nothing, even if nobody waits for it any more. Raises StoreError."""
        return await asyncio.shield(asyncio.wrap_future(self._write(work)))

    def write_later(self, work: Work[_T]) -> None:
        """The same, for whoever cannot wait; what goes wrong is logged."""
        self._write(work).add_done_callback(_log_failure)

    def shrink_later(self) -> None:
        """Give the file's empty pages back to the disk."""
        # As a script, since `execute` takes one step of a statement without columns, which is one page.
        vacuum = self._thread.submit(self._connection.executescript, "PRAGMA incremental_vacuum")
        vacuum.add_done_callback(_log_failure)

    async def close(self) -> None:
        """Finish what was asked for. May be called twice."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._connection.close()

    def _write(self, work: Work[_T]) -> Future[_T]:
        # Immediate, since a transaction that begins with reading cannot wait for another process to have written.
        return self._thread.submit(self._transact, "BEGIN IMMEDIATE", work)

    def _transact(self, begin: str, work: Work[_T]) -> _T:
        try:
            self._connection.execute(begin)
            try:
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"the store cannot be used now: {error}") from error
        return result


def _log_failure(done: Future[Any]) -> None:
    if error := done.exception():
        log.warning("%s", error)
