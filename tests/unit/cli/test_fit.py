"""`localchat fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import app as cli
from localchat.cli import fit as command
from localchat.hardware import Machine
from localchat.hardware.cpu import Cpu

GIB = 1 << 30
HOME = Machine(4, 16 * GIB, 12 * GIB, cpu=Cpu("Some CPU", frozenset({"avx2"})))

REGISTRY = """
[[model]]
id = "one-7b"
title = "One"
parameters = "6.7B"
context_length = 2048
source = { kind = "convert", repo = "owner/one" }
quant = [{ name = "Q4_K_M", size_gb = 4.39 }, { name = "Q4_1", size_gb = 4.33 }, { name = "Q8_0" }]

[[model]]
id = "huge-180b"
title = "Huge"
parameters = "180B"
source = { kind = "convert", repo = "owner/huge" }
quant = [{ name = "Q4_K_M" }]

[[model]]
id = "odd"
title = "Odd"
parameters = "1B"
unsupported = "nobody has a graph for it"
source = { kind = "convert", repo = "owner/odd" }
quant = [{ name = "Q4_K_M" }]
"""


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command on a home machine; returns what it printed."""
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY)
    monkeypatch.setattr(command, "probe", lambda: HOME)
    monkeypatch.setattr(command, "memory_bandwidth", lambda machine: 50e9)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main(["fit", *arguments, "--registry", str(registry), "--models-dir", str(tmp_path / "models")])
        assert caught.value.code == code
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    return run


def line_of(shown: str, word: str) -> list[str]:
    [line] = [line for line in shown.splitlines() if word in line]
    return line.split()


def test_machine_is_described_first(fit: Any) -> None:
    lines = fit("one-7b").splitlines()
    assert lines[0] == "cpu      4 cores of Some CPU (avx2)"
    assert lines[1] == "memory   12.0 GiB free, of which models can have 10.4 GiB; read at 50 GB/s"
    assert lines[2] == "gpu      none that llama.cpp could use"


def test_quants_of_a_model_are_compared_and_one_is_chosen(fit: Any) -> None:
    shown = fit("one-7b", "--parallel", "1")
    assert line_of(shown, "→")[1:3] == ["Q8_0", "≈6.6"]
    assert "fast here" in shown
    assert "slow here" in next(line for line in shown.splitlines() if "Q4_1" in line)
    assert "≈ told from the number of parameters" in shown


def test_models_that_fit_are_listed_with_their_quant(fit: Any) -> None:
    shown = fit()
    assert line_of(shown, "one-7b")[1] == "Q4_K_M"
    assert "smollm2-135m-instruct" in shown
    assert "huge-180b" not in shown
    assert "odd" not in shown


def test_all_shows_models_that_do_not_fit(fit: Any) -> None:
    assert line_of(fit("--all"), "huge-180b")[-1] == "no"


def test_memory_and_context_count(fit: Any) -> None:
    assert "→" not in fit("one-7b", "--memory", "2G")
    assert "models can have 2.0 GiB" in fit("one-7b", "--memory", "2G")
    assert line_of(fit("one-7b", "--ctx-size", "1024"), "→")[6] == "1024"


def test_json_has_machine_and_quants(fit: Any) -> None:
    got = json.loads(fit("one-7b", "--parallel", "1", "--json"))
    assert got["machine"]["features"] == ["avx2"]
    assert got["machine"]["bandwidth"] == 50e9
    assert {row["quant"]: row["is_chosen"] for row in got["quants"]} == {"Q4_K_M": False, "Q4_1": False, "Q8_0": True}
    first = got["quants"][0]
    assert first["fits"]
    assert first["ram"] + first["headroom"] == got["machine"]["ram_budget"]
    assert first["tokens_per_second"] == pytest.approx(11, abs=1)


def test_unknown_and_unsupported_models_are_one_line(fit: Any) -> None:
    assert "no model is called 'two'" in fit("two", code=1)
    assert "odd cannot run: nobody has a graph for it" in fit("odd", code=1)
    assert len(fit("odd", code=1).splitlines()) == 1


def test_bad_flag_is_one_line(fit: Any) -> None:
    assert fit("one-7b", "--memory", "much", code=1).startswith("localchat: --memory: 'much' is not valid")
