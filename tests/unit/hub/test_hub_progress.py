"""What a person sees of a download."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest

from localchat.hub.progress import LineProgress, SilentProgress, TerminalProgress, format_bytes, phase


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(total: int | None, steps: Iterable[int], seconds_per_step: float) -> list[str]:
    stream = io.StringIO()
    now = 0.0
    progress = LineProgress(stream, clock=lambda: now)
    with phase(progress, "tiny", total):
        for done in steps:
            now += seconds_per_step
            progress.update(done)
    return stream.getvalue().splitlines()


def test_log_gets_a_line_for_every_tenth() -> None:
    tenths = [f"tiny: {percent} %" for percent in range(10, 101, 10)]
    assert lines_of(1000, range(1001), 2.0) == ["tiny: 1.0 kB", *tenths]


def test_log_gets_a_line_for_every_100_mb_when_the_size_is_unknown() -> None:
    steps = [megabytes * 1_000_000 for megabytes in (50, 99, 150, 190, 210)]
    assert lines_of(None, steps, 2.0) == ["tiny: started", "tiny: 150.0 MB", "tiny: 210.0 MB"]


def test_log_is_not_filled_by_a_fast_download() -> None:
    assert lines_of(1000, range(0, 1001, 125), 0.5) == ["tiny: 1.0 kB", "tiny: 37 %", "tiny: 87 %"]


def test_stream_that_is_no_terminal_gets_lines() -> None:
    stream = io.StringIO()
    with phase(TerminalProgress(stream), "tiny", 1000):
        pass
    assert stream.getvalue() == "tiny: 1.0 kB\n"


@pytest.mark.parametrize("total", [2_000_000, None])
def test_terminal_gets_a_bar(total: int | None) -> None:
    stream = Terminal()
    progress = TerminalProgress(stream)
    with phase(progress, "tiny [Q4_0]", total):
        progress.update(1_000_000)
    assert "tiny [Q4_0]" in stream.getvalue()
    assert "1.0" in stream.getvalue()


@pytest.mark.parametrize("progress", [SilentProgress(), TerminalProgress(io.StringIO()), TerminalProgress(Terminal())])
def test_finish_without_start_is_harmless(progress: SilentProgress | TerminalProgress) -> None:
    progress.finish()
    progress.update(1)


class Counting(SilentProgress):
    finished = 0

    def finish(self) -> None:
        self.finished += 1


def test_phase_is_finished_when_its_block_fails() -> None:
    progress = Counting()
    with pytest.raises(ZeroDivisionError), phase(progress, "tiny", 1):
        raise ZeroDivisionError
    assert progress.finished == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (98_362_432, "98.4 MB"), (3_740_000_000, "3.7 GB")],
)
def test_sizes_are_written_as_people_read_them(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SilentProgress()
    with phase(progress, "tiny", 1):
        progress.update(1)
    assert capsys.readouterr() == ("", "")
