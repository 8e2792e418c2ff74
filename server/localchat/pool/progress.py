"""How far the fetching of a model is: lines in the log, and a share that others can look up."""

from __future__ import annotations

import io
import logging

from localchat.hub.progress import LineProgress

log = logging.getLogger(__name__)


class FetchProgress(LineProgress):
    """Written by the thread that fetches, read by the loop."""

    def __init__(self) -> None:
        super().__init__(_LogStream())
        self._expected: int | None = None
        self._arrived = 0

    @property
    def percent(self) -> int | None:
        """Of the file that is being downloaded; None where none is, or where its size is not known."""
        expected = self._expected
        return min(100, self._arrived * 100 // expected) if expected else None

    def start(self, label: str, total: int | None) -> None:
        self._arrived, self._expected = 0, total
        super().start(label, total)

    def update(self, done: int) -> None:
        self._arrived = done
        super().update(done)

    def finish(self) -> None:
        self._expected = None
        super().finish()


class _LogStream(io.StringIO):
    def write(self, text: str) -> int:
        if text.strip():
            log.info("%s", text.strip())
        return len(text)
