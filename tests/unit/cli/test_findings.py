"""What tuning finds, as a person reads it."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from localchat.cli import findings
from localchat.tuning.candidates import PROMPT, SEVERAL, Candidate
from localchat.tuning.compare import Comparison


def test_a_change_stands_under_the_work_that_it_concerns() -> None:
    candidate = Candidate({"threads": 1}, (PROMPT, SEVERAL))
    faster = Comparison(1.0, [(1.0, 1.0)] * 3, [(0.5, 0.8)] * 3)
    slower = Comparison(1.0, [(1.0, 1.0)] * 3, [(2.0, 1.25)] * 3)
    heading, taken, left = findings.heading(4), findings.tried(candidate, faster), findings.tried(candidate, slower)
    assert taken.split() == ["threads", "1", "x", "2.00", "x", "1.25", "taken"]
    assert left.split() == ["threads", "1", "x", "0.50", "x", "0.80"]
    assert taken.index("2.00") + 4 == heading.index("PROMPT") + len("PROMPT")
    assert taken.index("1.25") + 4 == len(heading) == len(left)


def test_text_is_wrapped_on_a_terminal_and_a_command_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((30, 24)))
    command = "localchat quantize some-model:Q4_1 --to Q4_0 --requantize"
    first, *others, last = findings.paragraph("advice", f"words {'and more ' * 9}:\n{command}").split("\n")
    assert first.startswith("advice   words and more")
    assert all(len(line) <= 30 and line.startswith(" " * 9) for line in others)
    assert last.strip() == command


def test_text_is_left_alone_elsewhere() -> None:
    assert findings.paragraph("note", "word " * 99).count("\n") == 0


def test_guesses_are_told_by_their_number_or_not_advised() -> None:
    assert findings.about_guesses({1: 1.0, 4: 1.1}).startswith("guesses  3 at a time pay best where 80% prove right")
    assert "do not pay here" in findings.about_guesses({1: 1.0, 4: 9.0})
