"""`localchat list` and `localchat show`, on the packaged registry and a folder of models that is empty but for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localchat.cli.app import main
from localchat.registry import load_registry

IDS = (Path(__file__).parents[1] / "registry" / "catalog_ids.txt").read_text().split()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out = capsys.readouterr()
    assert caught.value.code in (0, None), out.err
    return out.out


def objects(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in json.loads(run(capsys, "list", "--json", *arguments))}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_catalog_has_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "list", "--catalog").splitlines()
    assert set(IDS) <= {line.split()[0] for line in shown if line.strip()}


def test_commercial_leaves_out_what_is_forbidden_or_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    kept = objects(capsys, "--commercial")
    assert "mpt-7b-instruct" in kept
    assert "mpt-7b-chat" not in kept
    assert {entry["commercial"]["use"] for entry in kept.values()} == {"yes"}
    assert "more are left out" in run(capsys, "list", "--commercial")


def test_variable_makes_the_list_commercial(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALCHAT_COMMERCIAL", "1")
    assert "mpt-7b-chat" not in objects(capsys)


def test_architecture_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert {entry["architecture"] for entry in objects(capsys, "--arch", "mpt").values()} == {"mpt"}


def test_installed_are_those_with_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = load_registry().find("smollm2-135m-instruct")
    assert objects(capsys, "--installed", "--models-dir", str(tmp_path)) == {}
    file = tmp_path / spec.id / f"{spec.id}.Q4_1.gguf"
    file.parent.mkdir()
    with file.open("wb") as sparse:
        sparse.truncate(spec.quants[0].size or 0)
    found = objects(capsys, "--installed", "--models-dir", str(tmp_path))
    assert {id: entry["installed"] for id, entry in found.items()} == {spec.id: ["Q4_1"]}


def test_what_fits_can_run_and_is_not_all(capsys: pytest.CaptureFixture[str]) -> None:
    fitting = objects(capsys, "--fits", "--arch", "llama")
    assert fitting
    assert not [id for id, entry in fitting.items() if entry["runs"] == "no"]
    assert "llama-65b" not in fitting or len(fitting) < len(objects(capsys))


def test_entry_says_whether_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    entries = objects(capsys)
    assert [entries[id]["runs"] for id in ("mpt-7b-chat", "oasst-sft-1-pythia-12b", "chatglm-6b")] == [
        "yes",
        "convert",
        "no",
    ]


def test_show_begins_with_the_license(capsys: pytest.CaptureFixture[str]) -> None:
    name, license, commercial, *rest = run(capsys, "show", "mpt-7b-chat").splitlines()
    assert name.strip() == "mpt-7b-chat"
    assert license.split() == ["license", "CC-BY-NC-SA-4.0"]
    assert "no: NonCommercial clause" in commercial
    assert any("quant Q4_K_M" in line for line in rest)


def test_show_says_why_a_model_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot run" in run(capsys, "show", "chatglm-6b")


def test_every_entry_can_be_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for spec in load_registry().models[::10]:
        entry = json.loads(run(capsys, "show", spec.id, "--json", "--models-dir", str(tmp_path)))
        assert entry["id"] == spec.id


MEASURED = """
[[model]]
id = "m"
title = "M"
source = { kind = "url", url = "http://host/m" }

[[model.quant]]
name = "F16"
measured = { size = 2_000, bits_per_weight = 16, perplexity = 20.04 }

[[model.quant]]
name = "Q4_0"

[model.quant.measured]
size = 600
bits_per_weight = 4.64
perplexity = 21.5
kl_mean = 0.0312
top1 = 0.891
decode_speed = 61.5
peak_rss = 188_743_680
reference = "F16"
machine = "Some CPU"
"""


def test_measured_figures_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(MEASURED)
    shown = " ".join(run(capsys, "show", "m", "--registry", str(file)).split())
    assert "16.00 bits a weight; perplexity 20.04 quant Q4_0" in shown
    assert "4.64 bits a weight; perplexity 21.5; KL divergence 0.0312 from F16; same top token 89.1%" in shown
    assert "decode 61.5 tokens/s; at most 180 MiB of RAM; measured on Some CPU" in shown
    f16, q4 = objects(capsys, "--registry", str(file))["m"]["quant"]
    assert (f16["measured"]["perplexity"], q4["measured"]["top1"]) == (20.04, 0.891)
    assert "kl_mean" not in f16["measured"]


def test_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["show", "mpt-7b-cat"])
    assert caught.value.code == 1
    assert "did you mean mpt-7b-chat" in capsys.readouterr().err
