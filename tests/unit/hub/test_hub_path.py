"""Weights that are on this machine already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.errors import NotGguf, WeightsError
from localchat.hub.fetch import fetch
from localchat.hub.progress import SilentProgress
from localchat.registry import Choice, Registry

MakeChoice = Callable[..., Choice]


def test_file_is_used_where_it_is(make_choice: MakeChoice, tmp_path: Path, weights: bytes) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(weights)
    choice = make_choice({"kind": "path", "path": str(file)})
    assert fetch(choice, tmp_path / "models", SilentProgress()) == file
    assert not (tmp_path / "models").exists()


def test_file_without_an_entry_is_used_where_it_is(tmp_path: Path, weights: bytes) -> None:
    file = tmp_path / "mine.Q8_0.gguf"
    file.write_bytes(weights)
    assert fetch(Registry(()).resolve(str(file)), tmp_path / "models", SilentProgress()) == file


def test_missing_file_is_named(make_choice: MakeChoice, tmp_path: Path) -> None:
    choice = make_choice({"kind": "path", "path": str(tmp_path / "gone.gguf")})
    with pytest.raises(WeightsError, match=r"tiny Q4_0: there is no file .*gone\.gguf"):
        fetch(choice, tmp_path, SilentProgress())


@pytest.mark.parametrize("content", [b"", b"GG", b"ggml then more"])
def test_file_that_is_no_gguf_is_named(make_choice: MakeChoice, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(content)
    with pytest.raises(NotGguf, match=r"mine\.gguf is not a GGUF file"):
        fetch(make_choice({"kind": "path", "path": str(file)}), tmp_path, SilentProgress())


def test_libraries_of_other_kinds_are_not_loaded(tmp_path: Path, weights: bytes) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(weights)
    code = """
import sys
from pathlib import Path
from localchat.hub.fetch import fetch
from localchat.hub.progress import TerminalProgress
from localchat.registry import Registry

fetch(Registry(()).resolve(sys.argv[1]), Path("unused"), TerminalProgress())
print(*{"huggingface_hub", "httpx", "rich"} & set(sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True, text=True)
    assert said.stdout == "\n"
