"""What the tests of every kind of source share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_server import HubServer, in_this_process, tiny_gguf
from localchat.hub import patience
from localchat.hub.progress import Progress
from localchat.registry import Choice, ModelSpec


class _Recorder:
    def __init__(self, labels: list[str]) -> None:
        self._labels = labels

    def start(self, label: str, total: int | None) -> None:
        self._labels.append(label)

    def update(self, done: int) -> None:
        pass

    def finish(self) -> None:
        pass


@pytest.fixture
def labels() -> list[str]:
    """The phases that `recorder` was told of."""
    return []


@pytest.fixture
def recorder(labels: list[str]) -> Progress:
    return _Recorder(labels)


@pytest.fixture
def weights() -> bytes:
    """What passes for a model here."""
    return tiny_gguf()


@pytest.fixture
def make_choice(weights: bytes) -> Callable[..., Choice]:
    """A choice of model `tiny` in Q4_0; size and SHA-256 are those of `weights` unless given."""

    def make(source: dict[str, Any], **quant: Any) -> Choice:
        facts = {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
        entry = {"name": "Q4_0", "source": source, **facts, **quant}
        spec = ModelSpec.model_validate({"id": "tiny", "title": "Tiny", "quant": [entry]})
        return Choice(spec, spec.quants[0])

    return make


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The models folder."""
    return tmp_path / "models"


@pytest.fixture
def hub(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the file `dir/tiny.gguf` in the repository `owner/tiny`."""
    with in_this_process(tmp_path / "hf", monkeypatch) as server:
        server.add("owner/tiny", "dir/tiny.gguf", weights)
        yield server


@pytest.fixture(autouse=True)
def _loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that brings nothing is the last."""
    monkeypatch.setattr(patience, "PAUSES", ())
