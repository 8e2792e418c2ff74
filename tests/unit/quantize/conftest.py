"""What tests of the quantizer share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import HubServer, in_this_process


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub."""
    with in_this_process(tmp_path / "hf", monkeypatch) as server:
        yield server
