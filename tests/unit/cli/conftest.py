"""Keeps the person's own settings out of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hub_server import HubServer, in_this_process, tiny_gguf
from localchat.cli.app import main
from localchat.hub import patience


@pytest.fixture(autouse=True)
def _no_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "none.toml"))


class Ran(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the file `tiny.gguf` in the repository `owner/tiny`."""
    monkeypatch.setattr(patience, "PAUSES", ())
    monkeypatch.setenv("LOCALCHAT_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("LOCALCHAT_REGISTRY", str(tmp_path / "registry.toml"))
    with in_this_process(tmp_path / "hf", monkeypatch) as server:
        server.add("owner/tiny", "tiny.gguf", tiny_gguf())
        address = server.serve("q4", tiny_gguf(seed=4))
        (tmp_path / "registry.toml").write_text(
            '[[model]]\nid = "tiny"\ntitle = "Tiny"\nlicense = "CC-BY-NC-4.0"\n'
            'commercial = { use = "no", why = "section 2(a)(1)" }\n'
            '[[model.quant]]\nname = "F32"\nsource = { kind = "hf", repo = "owner/tiny", file = "tiny.gguf" }\n'
            f'[[model.quant]]\nname = "Q4_0"\nsource = {{ kind = "url", url = "{address}" }}\n'
            '[[model]]\nid = "raw"\ntitle = "Raw"\n'
            '[[model.quant]]\nname = "Q4_K_M"\nsource = { kind = "convert", repo = "owner/raw" }\n'
        )
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process."""

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        said = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, said.out, said.err)

    return run
