"""`localchat rm`: removes what localchat brought, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from huggingface_hub import hf_hub_download

from hub_server import COMMIT, Fault, HubServer, tiny_gguf

from .conftest import Ran

Run = Callable[..., Ran]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts]


def test_all_quants_of_a_model_are_removed_without_a_trace(hub: HubServer, run: Run, tmp_path: Path) -> None:
    run("pull", "tiny:F32", "tiny:Q4_0")
    ran = run("rm", "tiny")
    assert ran.code == 0
    assert [line.split(",")[0] for line in ran.out.splitlines()] == ["removing tiny:F32", "removing tiny:Q4_0"]
    assert files_in(tmp_path / "models") == []
    assert [path.name for path in files_in(tmp_path / "hf")] == ["CACHEDIR.TAG"] * len(files_in(tmp_path / "hf"))


def test_one_quant_leaves_the_others(hub: HubServer, run: Run) -> None:
    run("pull", "tiny:F32", "tiny:Q4_0")
    assert run("rm", "tiny:Q4_0").code == 0
    assert run("verify", "--all").out.startswith("ok       tiny:F32")
    assert run("pull", "tiny:Q4_0").code == 0


def test_other_files_of_the_repository_stay(hub: HubServer, run: Run) -> None:
    hub.add("owner/tiny", "other.gguf", tiny_gguf(seed=5))
    theirs = hf_hub_download("owner/tiny", "other.gguf", endpoint=hub.url)
    run("pull", "tiny:F32")
    assert run("rm", "tiny:F32").code == 0
    assert Path(theirs).read_bytes() == tiny_gguf(seed=5)
    assert run("rm", "tiny:F32").code == 1


def test_content_that_has_another_name_too_stays(hub: HubServer, run: Run) -> None:
    hub.add("owner/tiny", "copy.gguf", tiny_gguf())
    theirs = hf_hub_download("owner/tiny", "copy.gguf", endpoint=hub.url)
    run("pull", "tiny:F32")
    assert run("rm", "tiny:F32").code == 0
    assert Path(theirs).read_bytes() == tiny_gguf()


def test_same_file_in_another_commit_goes_too(hub: HubServer, run: Run, tmp_path: Path) -> None:
    run("pull", "tiny:F32")
    hub.commit = COMMIT[::-1]
    run("pull", f"hf:owner/tiny/tiny.gguf@{hub.commit}")
    assert run("rm", "tiny:F32").code == 0
    assert not list((tmp_path / "hf").rglob("*.gguf"))


def test_reference_to_the_hub_is_removed_by_its_name(hub: HubServer, run: Run, tmp_path: Path) -> None:
    run("pull", f"hf:owner/tiny/tiny.gguf@{COMMIT}")
    assert run("rm", f"hf:owner/tiny/tiny.gguf@{COMMIT}").code == 0
    assert not list((tmp_path / "hf").rglob("*.gguf"))


def test_file_whose_entry_is_gone_is_removed_by_its_id(hub: HubServer, run: Run, tmp_path: Path) -> None:
    run("pull", "tiny:Q4_0")
    (tmp_path / "registry.toml").write_text("")
    assert run("rm", "tiny:Q4_0").code == 0
    assert files_in(tmp_path / "models") == []


def test_own_file_is_refused(hub: HubServer, run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(tiny_gguf())
    run("pull", str(mine))
    for name in (str(mine), "mine:GGUF"):
        ran = run("rm", name)
        assert (ran.code, len(ran.err.splitlines())) == (1, 1)
        assert "is your own file" in ran.err
    assert mine.exists()


def test_leftovers_are_removed(hub: HubServer, run: Run, tmp_path: Path) -> None:
    hub.faults = [Fault(cut=1000), Fault(cut=0), Fault(cut=1000), Fault(cut=0)]
    assert [run("pull", name).code for name in ("tiny:F32", "tiny:Q4_0")] == [1, 1]
    ran = run("rm", "--leftovers")
    assert len(ran.out.splitlines()) == 2
    assert run("du").out.splitlines()[-1].split() == ["total", "0", "bytes"]


@pytest.mark.parametrize(("answer", "is_gone"), [(True, True), (False, False)])
def test_terminal_is_asked(
    hub: HubServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bool, is_gone: bool
) -> None:
    run("pull", "tiny:Q4_0")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: answer)
    assert run("rm", "tiny:Q4_0").code == 0
    assert (not list((tmp_path / "models").rglob("*.gguf"))) is is_gone


def test_something_must_be_named(hub: HubServer, run: Run) -> None:
    assert run("rm").code == 2
