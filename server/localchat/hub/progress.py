"""How far a download is: a bar on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_BYTES_PER_LINE = 100_000_000
_SECONDS_PER_LINE = 2.0


class Progress(Protocol):
    """What a fetch tells about itself: any number of phases, each started, updated and finished."""

    def start(self, label: str, total: int | None) -> None:
        """A phase begins; `total` bytes are expected, if that is known."""

    def update(self, done: int) -> None:
        """So many bytes of this phase are done, counted from its beginning."""

    def finish(self) -> None:
        """The phase is over, well or badly; harmless when none was started."""


@contextmanager
def phase(progress: Progress, label: str, total: int | None) -> Iterator[None]:
    """One phase, finished however the block ends."""
    progress.start(label, total)
    try:
        yield
    finally:
        progress.finish()


class SilentProgress:
    """Says nothing."""

    def start(self, label: str, total: int | None) -> None:
        pass

    def update(self, done: int) -> None:
        pass

    def finish(self) -> None:
        pass


class TerminalProgress:
    """A bar with rate and remaining time where the stream is a terminal, plain lines where it is not."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._progress: Progress = BarProgress(stream) if stream.isatty() else LineProgress(stream)

    def start(self, label: str, total: int | None) -> None:
        self._progress.start(label, total)

    def update(self, done: int) -> None:
        self._progress.update(done)

    def finish(self) -> None:
        self._progress.finish()


class BarProgress:
    """A bar that redraws itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: RichProgress | None = None

    def start(self, label: str, total: int | None) -> None:
        # Imported here because rich takes tens of milliseconds that a start without download need not pay.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.finish()
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        label_column = TextColumn("{task.description}", markup=False)
        self._bar = Progress(label_column, *columns, console=Console(file=self._stream))
        self._bar.add_task(label, total=total)
        self._bar.start()

    def update(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class LineProgress:
    """A line at the start and at every tenth of the way, for logs and pipes; fewer where the way is short."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._label = ""
        self._total: int | None = None
        self._next_bytes = 0
        self._next_time = 0.0

    def start(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._say(0, format_bytes(total) if total else "started")

    def update(self, done: int) -> None:
        if done >= self._next_bytes and self._clock() >= self._next_time:
            self._say(done, f"{done * 100 // self._total} %" if self._total else format_bytes(done))

    def finish(self) -> None:
        pass

    def _say(self, done: int, text: str) -> None:
        print(f"{self._label}: {text}", file=self._stream, flush=True)
        step = max(1, -(-self._total // 10)) if self._total else _BYTES_PER_LINE
        self._next_bytes = (done // step + 1) * step
        self._next_time = self._clock() + _SECONDS_PER_LINE


def format_bytes(count: int) -> str:
    """A size as people read it: 98.4 MB."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
