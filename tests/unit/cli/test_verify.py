"""`localchat verify`: finds what is bad, and has it mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import HubServer, tiny_gguf

from .conftest import Ran

Run = Callable[..., Ran]


@pytest.fixture
def paths(hub: HubServer, run: Run) -> list[Path]:
    """Two installed files: one of the Hub, one of the models folder."""
    said = run("pull", "tiny:F32", "tiny:Q4_0").out
    return [Path(line.split(" is ")[1]) for line in said.splitlines() if line.startswith("tiny:")]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_good_files_are_ok(paths: list[Path], run: Run) -> None:
    for arguments in (["tiny"], ["--all"]):
        ran = run("verify", *arguments)
        assert ran.code == 0
        assert ran.out.splitlines() == [f"ok       tiny:F32 {paths[0]}", f"ok       tiny:Q4_0 {paths[1]}"]


def test_bad_file_is_named_and_set_aside(paths: list[Path], run: Run) -> None:
    damage(paths[1])
    ran = run("verify", "--all")
    assert ran.code == 1
    good, bad = ran.out.splitlines()
    assert good.startswith("ok       tiny:F32")
    assert bad.startswith(f"bad      tiny:Q4_0: {paths[1]} is not what it should be: its SHA-256 is")
    assert bad.endswith(f"1 of 1 blocks are bad; it was moved to {paths[1]}.quarantined")
    assert not paths[1].exists()
    again = run("verify", "tiny:Q4_0")
    assert (again.code, again.out) == (
        1,
        "bad      tiny:Q4_0: its file is not in its place; `localchat pull tiny:Q4_0` fetches it again\n",
    )


@pytest.mark.parametrize("at_once", [True, False])
def test_bad_files_are_repaired(paths: list[Path], run: Run, at_once: bool) -> None:
    for path in paths:
        damage(path)
    if not at_once:
        assert run("verify", "tiny").code == 1
    ran = run("verify", "tiny", "--repair")
    assert ran.code == 0
    assert ran.out.splitlines() == [f"repaired tiny:F32 {paths[0]}", f"repaired tiny:Q4_0 {paths[1]}"]
    assert [path.read_bytes() for path in paths] == [tiny_gguf(), tiny_gguf(seed=4)]
    assert run("verify", "--all").code == 0


def test_repair_without_network_is_told(paths: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(paths[0])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ran = run("verify", "--repair", "tiny:F32")
    assert ran.code == 1
    assert "; it could not be repaired: owner/tiny/tiny.gguf could not be downloaded" in ran.out


def test_own_file_is_checked_and_left(hub: HubServer, run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(tiny_gguf()[:-1])
    ran = run("verify", "--repair", str(mine))
    assert ran.code == 1
    assert "missing at its end" in ran.out
    assert mine.exists()


def test_model_that_is_not_here_is_told(hub: HubServer, run: Run) -> None:
    ran = run("verify", "tiny")
    assert (ran.code, ran.err) == (1, "localchat: tiny is not installed; `localchat pull tiny` fetches it\n")


@pytest.mark.parametrize("arguments", [[], ["--all", "tiny"]])
def test_models_or_all_must_be_given(hub: HubServer, run: Run, arguments: list[str]) -> None:
    assert run("verify", *arguments).code == 2
