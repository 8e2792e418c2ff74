"""`localchat tune`, on a real but tiny model: what is told, kept, used and forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from localchat.cli.prepare import describe
from localchat.hardware import probe, read_header
from localchat.hub.progress import SilentProgress
from localchat.launch import Launch, prepare
from localchat.llama.quantize import quantize
from localchat.registry import load_registry
from localchat.settings import load_settings
from localchat.tuning import store
from localchat.tuning.client import Bencher
from localchat.tuning.neighbours import Neighbours
from localchat.tuning.store import Changes, Tuned
from tiny_models import build

from .conftest import Ran

BRIEFLY = ("--seconds", "0", "--busy")


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda name: str(tmp_path / "data"))


@pytest.fixture
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them stall each other for seconds where a neighbour is at work."""
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build(tmp_path / "tiny.gguf", "llama", context_length=1024, width=128)


def keep(model: Path, **changes: Any) -> None:
    tuned = Tuned(
        model="tiny F32",
        cpu="Some CPU",
        cores=1,
        llama="1",
        made="2026-01-01",
        parallel=4,
        changes=Changes(**changes),
        before={"prompt": 100.0},
        after={"prompt": 123.4},
        advice=("have more memory",),
    )
    store.keep(tuned, read_header(model), probe())


def launch(model: Path, **flags: Any) -> Launch:
    return prepare(str(model), load_settings(**flags), load_registry(), probe(), SilentProgress())


@pytest.mark.usefixtures("_one_thread")
def test_what_is_found_is_told_and_kept(run: Callable[..., Ran], model: Path) -> None:
    ran = run("tune", str(model), *BRIEFLY)
    assert ran.code == 0, ran.err
    for words in ("tuning tiny F32 on", "4 STREAMS", "tokens/s by default", "result ", "guesses ", "kept in"):
        assert words in ran.out
    found = store.find_tuned(read_header(model), probe())
    assert found
    assert found.model == "tiny F32"
    assert set(found.before) == {"prompt", "one stream", "several streams"}


@pytest.mark.usefixtures("_one_thread")
def test_json_is_what_is_kept(run: Callable[..., Ran], model: Path) -> None:
    ran = run("tune", str(model), "--json", *BRIEFLY)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["model"] == "tiny F32"
    assert json.loads(run("tune", "--show", "--json").out) == [json.loads(ran.out)]


@pytest.mark.usefixtures("_one_thread")
def test_copy_in_a_faster_format_is_tried_and_goes_again(run: Callable[..., Ran], model: Path, tmp_path: Path) -> None:
    (tmp_path / "rounded").mkdir()
    rounded = tmp_path / "rounded" / "rounded.Q4_1.gguf"
    quantize(model, rounded, "Q4_1", threads=1, requantize=False)
    ran = run("tune", str(rounded), *BRIEFLY)
    assert ran.code == 0, ran.err
    assert "a copy as Q8_0" in ran.out
    assert "a copy as Q4_0" in ran.out
    assert list(rounded.parent.iterdir()) == [rounded]
    assert "was not tried: --copies does" in run("tune", str(rounded), "--no-copies", *BRIEFLY).out


@pytest.mark.usefixtures("_one_thread")
def test_busy_machine_is_not_believed(run: Callable[..., Ran], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Neighbours, "cores", lambda self, own_seconds: 0.9 * probe().cores)
    ran = run("tune", str(model), "--seconds", "0")
    assert ran.code == 1
    assert "nothing is kept, for other programs kept" in ran.err
    assert store.all_tuned() == []


def test_what_is_interrupted_keeps_nothing(
    run: Callable[..., Ran], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Bencher, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bencher, "measure", interrupted)
    assert run("tune", str(model), *BRIEFLY).code == 130
    assert store.all_tuned() == []


def test_serve_uses_what_was_found_and_says_so(model: Path) -> None:
    keep(model, threads=1, ubatch_size=128, kv_unified=True)
    found = launch(model)
    assert (found.load.threads, found.load.ubatch_size, found.load.kv_unified) == (1, 128, True)
    assert any(line.startswith("tuned     threads 1, ubatch-size 128, kv-unified on") for line in describe(found))


def test_flags_are_stronger_and_tuning_can_be_left_out(model: Path) -> None:
    keep(model, ubatch_size=128, kv_unified=True)
    found = launch(model, ubatch_size=64)
    assert (found.load.ubatch_size, found.load.kv_unified) == (64, True)
    assert found.tuned == "kv-unified on"
    untuned = launch(model, tuned=False)
    assert (untuned.load.ubatch_size, untuned.load.kv_unified, untuned.tuned) == (512, False, "")


def test_what_cannot_be_had_with_what_a_person_asks_for_is_left_out(model: Path) -> None:
    keep(model, flash_attn="off")
    assert launch(model).load.flash_attn == "off"
    found = launch(model, kv_type="q8_0")  # which needs flash attention
    assert (found.load.flash_attn, found.tuned) == ("auto", "")


def test_show_and_forget(run: Callable[..., Ran], model: Path) -> None:
    assert run("tune", "--show").out == "nothing yet\n"
    assert "nothing was tuned" in run("tune", str(model), "--show").out
    keep(model, threads=1)
    for ran in (run("tune", "--show"), run("tune", str(model), "--show")):
        assert "threads 1" in ran.out
        assert "100 tokens/s by default, 123 tuned" in ran.out
        assert "have more memory" in ran.out
    assert "forgotten" in run("tune", str(model), "--forget").out
    assert "nothing was tuned" in run("tune", str(model), "--forget").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--forget"], "--forget takes a MODEL"),
        (["a.gguf", "--show", "--forget"], "--show and --forget"),
        (["mpt-7b-chat", "--show"], "is not on this machine"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Callable[..., Ran], arguments: list[str], words: str, tmp_path: Path
) -> None:
    ran = run("tune", *arguments, "--models-dir", str(tmp_path / "none"))
    assert ran.code == 1
    assert words in ran.err
