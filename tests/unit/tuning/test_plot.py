"""The picture of decode speed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localchat.errors import ConfigError
from localchat.tuning.bench import Row
from localchat.tuning.messages import Decode, Prompt
from localchat.tuning.plot import check, plot

from .machine import setup

ROWS = [
    Row(setup(), Prompt(512), [1.0]),
    Row(setup(), Decode(1, 10), [0.1, 0.2, 0.11]),
    Row(setup(), Decode(16, 10), [0.4, 0.5, 0.41]),
    Row(setup(), Decode(1, 10, 1024), [0.2]),
]


def test_same_figures_give_the_same_file(tmp_path: Path) -> None:
    plot("tiny", ROWS, 200.0, tmp_path / "a.svg")
    plot("tiny", ROWS, 200.0, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("limit", [None, 1.0, 1e6])
def test_a_single_number_can_be_drawn(tmp_path: Path, limit: float | None) -> None:
    plot("tiny", ROWS[:2], limit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.svg or \.png"):
        check(tmp_path / "a.pdf")
    with pytest.raises(ConfigError, match="there is no folder"):
        check(tmp_path / "none" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'localchat\[bench\]'"):
        check(tmp_path / "a.png")


def test_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        plot("tiny", ROWS, None, tmp_path / "a.svg")
