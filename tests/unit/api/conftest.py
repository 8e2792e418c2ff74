"""Keeps the person's own settings out of the tests, and makes applications without a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from localchat.api.app import create_app
from localchat.pool import Launcher, ModelPool
from localchat.registry import Registry
from localchat.settings import load_settings

MakeApp = Callable[..., FastAPI]
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture(autouse=True)
def _no_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "none.toml"))


@pytest.fixture
def make_app() -> MakeApp:
    """The application with settings, over a pool that serves nothing."""

    def make(**settings: Any) -> FastAPI:
        resolved = load_settings(**settings)
        return create_app(ModelPool([], Launcher(resolved, Registry(()))), resolved)

    return make


@pytest.fixture
def connect(make_app: MakeApp) -> Connect:
    """A client of such an application, without a socket between them."""

    def make(host: str = "localhost", app: FastAPI | None = None, **settings: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app or make_app(**settings))
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    return make
