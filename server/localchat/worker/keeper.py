"""Decides when prefixes go into files: while nothing else is to be done, and at the end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from localchat.engine.engine import Engine, Job
from localchat.engine.stored import Candidate, Stored
from localchat.worker.archive import Archive

IDLE_SECONDS = 30.0
"""Rest before the first file is written: who reads an answer may go on soon, and each file is of the whole text."""
PAUSE_SECONDS = 600.0
"""Rest after a file could not be written."""
END_SECONDS = 3.0
"""How long the end may take."""
_RATE = 200e6
"""Bytes a second that are written, until that is known."""


class Keeper:
    """Writes what is worth it, one state at a time: the next is copied when the one before is written."""

    def __init__(
        self, engine: Engine, archive: Archive, post: Callable[[Job], None], idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._post = post
        self._idle_seconds = idle_seconds
        self._has_worked = False
        self._due: float | None = None
        self._not_before = 0.0
        self._is_writing = False
        self._refused: set[tuple[int, int]] = set()
        self._rate = _RATE

    def note_work(self) -> None:
        """Something was computed: the rest begins anew."""
        self._has_worked = True

    def next(self, inbox: queue.SimpleQueue[Job | None]) -> Job | None:
        """What comes next into the inbox; meanwhile prefixes are kept."""
        while True:
            try:
                return inbox.get(timeout=self._patience())
            except queue.Empty:
                self._keep_one()

    def finish(self, seconds: float = END_SECONDS) -> None:
        """Keep what can be kept within some time; what takes longer is given up."""
        thread = threading.Thread(target=self._keep_all, args=(time.monotonic() + seconds,), daemon=True)
        thread.start()
        thread.join(seconds + 0.5)

    def _patience(self) -> float | None:
        now = time.monotonic()
        if self._has_worked:
            self._has_worked = False
            self._due = max(now + self._idle_seconds, self._not_before)
            self._refused.clear()
        return None if self._due is None or self._is_writing else max(0.0, self._due - now)

    def _keep_one(self) -> None:
        self._archive.touch(self._engine.touched())
        found = self._take()
        if found is None:
            self._due = None
            return
        candidate, data = found
        self._is_writing = True
        self._archive.write(
            candidate.tokens,
            data,
            lambda stored: self._post(lambda: self._written(stored)),
            is_shared=candidate.is_shared,
        )

    def _written(self, stored: Stored | None) -> None:
        self._is_writing = False
        if stored is None:
            self._not_before, self._due = time.monotonic() + PAUSE_SECONDS, None
        else:
            self._archive.remove(self._engine.archived(stored))

    def _keep_all(self, deadline: float) -> None:
        self._archive.touch(self._engine.touched())
        while found := self._take(deadline):
            candidate, data = found
            start = time.monotonic()
            stored = self._archive.put(candidate.tokens, data, is_shared=candidate.is_shared)
            if stored is None:
                return
            self._rate = len(data) / max(1e-3, time.monotonic() - start)
            self._archive.remove(self._engine.archived(stored))

    def _take(self, deadline: float | None = None) -> tuple[Candidate, memoryview] | None:
        """The next that is worth it and its state; none that would not be written before the deadline."""
        for candidate in self._engine.candidates():
            key = (id(candidate.holder), len(candidate.tokens))
            if key in self._refused:
                continue
            size = self._engine.state_bytes(candidate)
            in_time = deadline is None or time.monotonic() + size / self._rate < deadline
            if in_time and self._archive.fits(size) and (data := self._engine.state(candidate)) is not None:
                return candidate, data
            self._refused.add(key)
        return None
