"""`localchat du`: what is here, how large, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hub_server import Fault, HubServer, tiny_gguf

from .conftest import Ran

Run = Callable[..., Ran]


def test_nothing_is_nothing(hub: HubServer, run: Run) -> None:
    assert json.loads(run("du", "--json").out) == {"installed": [], "leftovers": [], "total": 0}


def test_files_are_listed_with_size_and_place(hub: HubServer, run: Run, tmp_path: Path) -> None:
    run("pull", "tiny:F32", "tiny:Q4_0")
    head, first, second, total = (line.split() for line in run("du").out.splitlines())
    assert head == ["MODEL", "QUANT", "SIZE", "LAST", "USED", "WHERE"]
    assert first[:4] == ["tiny", "F32", "100.0", "kB"]
    assert Path(first[-1]).is_relative_to(tmp_path / "hf")
    assert second[:2] == ["tiny", "Q4_0"]
    assert second[-1] == str(tmp_path / "models" / "tiny" / "tiny.Q4_0.gguf")
    assert total == ["total", "200.0", "kB"]


def test_one_file_of_two_names_is_counted_once(hub: HubServer, run: Run) -> None:
    run("pull", "tiny:F32", "hf:owner/tiny/tiny.gguf")
    shown = json.loads(run("du", "--json").out)
    [file] = shown["installed"]
    assert file["models"] == ["tiny:F32", "tiny:GGUF"]
    assert file["verified"] > 0
    assert shown["total"] == file["size"] == len(tiny_gguf())


def test_unfinished_and_bad_files_are_listed(hub: HubServer, run: Run) -> None:
    hub.faults = [Fault(cut=1000), Fault(cut=0)]
    assert run("pull", "tiny:F32").code == 1
    hub.plain["/plain/q4"] = tiny_gguf()[:-8]
    assert run("pull", "tiny:Q4_0").code == 1
    shown = json.loads(run("du", "--json").out)
    assert {(Path(left["path"]).suffix, left["state"], left["size"]) for left in shown["leftovers"]} == {
        (".incomplete", "(unfinished)", 1000),
        (".quarantined", "(bad, set aside)", len(tiny_gguf()) - 8),
    }
    assert shown["total"] == 1000 + len(tiny_gguf()) - 8
    assert "(unfinished)" in run("du").out
