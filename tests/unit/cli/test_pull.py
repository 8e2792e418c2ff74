"""`localchat pull`: fetches, says what it fetched, and fails in one line."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import COMMIT, GATED, Fault, HubServer, tiny_gguf

from .conftest import Ran

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Run = Callable[..., Ran]
SHA256 = hashlib.sha256(tiny_gguf()).hexdigest()


def test_place_size_hash_and_lines_for_a_registry_are_told(hub: HubServer, run: Run, tmp_path: Path) -> None:
    ran = run("pull", "tiny:F32")
    assert ran.code == 0
    first, second, third, *rest = ran.out.splitlines()
    path = Path(first.removeprefix("tiny:F32 is "))
    assert path.is_relative_to(tmp_path / "hf")
    assert path.read_bytes() == tiny_gguf()
    assert second == f"100.0 kB, SHA-256 {SHA256}"
    assert third.startswith(f"main is commit {COMMIT} today")
    source = {"kind": "hf", "repo": "owner/tiny", "file": "tiny.gguf", "revision": COMMIT}
    assert tomllib.loads("\n".join(rest)) == {"size": len(tiny_gguf()), "sha256": SHA256, "source": source}
    assert "tiny F32: downloading: 100.0 kB" in ran.err


def test_several_models_and_a_second_time(hub: HubServer, run: Run) -> None:
    once = run("pull", "tiny:F32", "tiny:Q4_0")
    assert once.code == 0
    sent = hub.sent
    assert run("pull", "tiny:F32", "tiny:Q4_0") == (0, once.out, "")
    assert hub.sent == sent


def test_reference_to_the_hub_and_own_file(hub: HubServer, run: Run, tmp_path: Path) -> None:
    assert run("pull", f"hf:owner/tiny/tiny.gguf@{COMMIT}").out.splitlines()[1].endswith(SHA256)
    (tmp_path / "mine.gguf").write_bytes(tiny_gguf())
    assert run("pull", str(tmp_path / "mine.gguf")).out.splitlines()[1].endswith(SHA256)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("hf:owner/gated/tiny.gguf", "owner/gated is gated"),
        ("hf:owner/none/tiny.gguf", "the Hub has no repository owner/none"),
        ("hf:owner/tiny/other.gguf", "owner/tiny has no file other.gguf"),
        ("hf:owner/tiny/tiny.gguf@v9", "owner/tiny has no revision v9"),
        ("hf:owner/tiny", "hf:owner/tiny is not of the form"),
        ("nothing", "no model is called 'nothing'"),
        (
            "raw",
            "raw: no GGUF of it is published, only the checkpoint owner/raw; `localchat quantize raw --to",
        ),
    ],
)
def test_failure_is_one_line_and_leaves_nothing(
    hub: HubServer, run: Run, tmp_path: Path, model: str, expected: str
) -> None:
    hub.refusals = {"owner/gated": GATED}
    ran = run("pull", model)
    assert (ran.code, ran.out) == (1, "")
    [line] = ran.err.splitlines()
    assert line.startswith(f"localchat: {expected}")
    assert not (tmp_path / "models").exists()
    assert not list((tmp_path / "hf").rglob("*.gguf"))


def test_hub_that_is_not_there_is_one_line(hub: HubServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ran = run("pull", "tiny:F32")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert ran.err.startswith("localchat: owner/tiny/tiny.gguf could not be downloaded: ")


def test_bad_content_is_named_with_its_place(hub: HubServer, run: Run) -> None:
    hub.files["owner/tiny", "tiny.gguf"].body = tiny_gguf(seed=9)
    ran = run("pull", "tiny:F32")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("localchat: tiny.gguf is not the file the Hub names: its SHA-256 is")
    assert Path(ran.err.split()[-1]).read_bytes() == tiny_gguf(seed=9)


def test_broken_download_says_that_it_can_go_on(hub: HubServer, run: Run) -> None:
    hub.faults = [Fault(cut=1000), Fault(cut=0)]
    ran = run("pull", "tiny:F32")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].endswith("what has arrived is kept, so try again")
    assert run("pull", "tiny:F32").code == 0
    assert hub.sent == len(tiny_gguf())


def test_license_that_forbids_is_a_refusal_before_the_download(hub: HubServer, run: Run) -> None:
    ran = run("pull", "--commercial", "tiny")
    assert ran.code == 1
    assert "section 2(a)(1)" in ran.err
    assert hub.asked == []
