"""What the tests of every kind of source share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

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
    return b"GGUF" + bytes(range(256)) * 2000


@pytest.fixture
def make_choice(weights: bytes) -> Callable[..., Choice]:
    """A choice of model `tiny` in Q4_0; size and SHA-256 are those of `weights` unless given."""

    def make(source: dict[str, Any], **quant: Any) -> Choice:
        facts = {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
        entry = {"name": "Q4_0", "source": source, **facts, **quant}
        spec = ModelSpec.model_validate({"id": "tiny", "title": "Tiny", "quant": [entry]})
        return Choice(spec, spec.quants[0])

    return make


@pytest.fixture(autouse=True)
def _loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
