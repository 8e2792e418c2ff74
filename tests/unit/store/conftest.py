"""Stores in temporary files; each is closed after its test."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from localchat.store.cleaning import Limits
from localchat.store.file import connect
from localchat.store.store import Store

OpenStore = Callable[..., Store]
NO_LIMITS = Limits(math.inf, 1 << 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.sqlite3"


@pytest.fixture
async def open_(path: Path) -> AsyncIterator[OpenStore]:
    opened = []

    def open_store(limits: Limits = NO_LIMITS) -> Store:
        opened.append(Store(connect(path), limits))
        return opened[-1]

    yield open_store
    for store in opened:
        await store.close()
