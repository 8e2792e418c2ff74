"""What the proofs share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hub_server import HubServer, in_this_process

# Tiny models gain nothing by a second thread, and wait for it where the machine is busy.
torch.set_num_threads(1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub."""
    with in_this_process(tmp_path / "hf", monkeypatch) as server:
        yield server
