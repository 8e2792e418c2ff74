"""`localchat bench`, on a real but tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.cli import bench as command
from tiny_models import build

from .conftest import Ran

BRIEFLY = ("--seconds", "0", "--threads", "1", "--no-tuned")


@pytest.fixture(autouse=True)
def _known_bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "memory_bandwidth", lambda machine, again: 10e9)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(build(tmp_path / "tiny.gguf", "llama", context_length=1024))


def test_speeds_are_shown_for_every_kind_of_work(run: Callable[..., Ran], model: str) -> None:
    ran = run("bench", model, "--sequences", "4,1", "--context", "300", "--prompt", "64", *BRIEFLY)
    assert ran.code == 0, ran.err
    for words in ("prompt of 64", "decode 1 ", "decode 4 ", "decode 1 behind 300", "10 GB/s", "%", "1 thread,"):
        assert words in ran.out


def test_json_and_plot(run: Callable[..., Ran], model: str, tmp_path: Path) -> None:
    ran = run("bench", model, "--sequences", "1,2", "--json", "--plot", str(tmp_path / "a.svg"), *BRIEFLY)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert [(row["work"], row["sequences"], row["context"]) for row in told["results"]] == [
        ("prompt", 1, 0), ("decode", 1, 0), ("decode", 2, 0), ("decode", 1, 768),
    ]  # fmt: skip
    assert all(row["tokens_per_second"] > 0 for row in told["results"])
    assert [row["share_of_bandwidth"] is None for row in told["results"]] == [True, False, False, False]
    assert told["setup"]["threads"] == 1
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sequences", "1,many"], "--sequences"),
        (["--sequences", "0"], "--sequences"),
        (["--sequences", "257"], "numbers from 1 to 256"),
        (["--context", "-1"], "--context"),
        (["--plot", "speeds.pdf"], "must end in .svg or .png"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run: Callable[..., Ran], arguments: list[str], words: str) -> None:
    ran = run("bench", "smollm2-135m-instruct", *arguments)
    assert ran.code != 0
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_model_with_an_encoder_is_refused(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("bench", str(build(tmp_path / "tiny.gguf", "t5")), *BRIEFLY)
    assert ran.code != 0
    assert "its prompts go into an encoder" in ran.err
