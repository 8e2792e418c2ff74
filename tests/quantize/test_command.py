"""`localchat quantize ID`, from a checkpoint on the Hub to a quant that `serve` and `pick` find."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub_server import COMMIT, HubServer
from localchat.cli.app import main
from localchat.hub import ledger
from localchat.hub.installed import find
from localchat.registry import load_registry
from localchat_quantize import card
from tiny_checkpoints.cases import CASES

ENTRY = """# mine
[[model]]
id = "raw"
title = "Raw"
source = { kind = "convert", repo = "owner/raw" }
quant = [{ name = "Q8_0" }]
"""


@pytest.fixture
def home(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    CASES["gpt-j"].write(tmp_path / "checkpoint")
    for file in (tmp_path / "checkpoint").iterdir():
        hub.add("owner/raw", file.name, file.read_bytes())
    (tmp_path / "registry.toml").write_text(ENTRY)
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LOCALCHAT_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code in (0, None)


def test_entry_becomes_measured_files_that_are_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("quantize", "raw", "--to", "Q8_0", "--to", "q4_0", "--register")
    registry = load_registry()
    for quant in ("Q8_0", "Q4_0"):
        choice = registry.resolve(f"raw:{quant}")
        path = find(choice, home / "models")
        assert path == home / "models" / "raw" / f"raw.{quant}.gguf"
        record = ledger.find(choice, home / "models")
        assert record is not None
        assert record.digest.sha256 == choice.quant.sha256
        assert choice.quant.measured is not None
        assert choice.quant.measured.kl_mean is not None
    assert (home / "registry.toml").read_text().startswith("# mine\n")
    found = card.read(card.card_path(home / "models" / "raw", "raw"))
    assert found is not None
    assert (found.source, [row.format for row in found.rows]) == (f"owner/raw@{COMMIT}", ["Q8_0", "Q4_0"])
    capsys.readouterr()
    run("pick", "raw", "--ram", "2G")
    assert capsys.readouterr().out == "raw:Q8_0\n"


def test_entry_is_printed_unless_it_is_to_be_added(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("quantize", "raw", "--to", "Q4_0", "--no-measure", "--type", "f32")
    out = capsys.readouterr().out
    assert "[[model.quant]]" in out
    assert (home / "registry.toml").read_text() == ENTRY
    (home / "printed.toml").write_text(out[out.index("[[model]]") :])
    assert load_registry(home / "printed.toml").resolve("raw:Q4_0").quant.size is not None


def test_second_run_adds_to_the_card(home: Path) -> None:
    run("quantize", "raw", "--to", "Q8_0", "--no-measure")
    run("quantize", "raw", "--to", "F16", "--no-measure")
    found = card.read(card.card_path(home / "models" / "raw", "raw"))
    assert found is not None
    assert [row.format for row in found.rows] == ["F16", "Q8_0"]
