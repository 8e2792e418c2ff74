"""Servers: one for all tests that only ask, fresh ones for those that break something."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import openai
import pytest

from .serving import RunningServer, serve

Serve = Callable[..., RunningServer]


@pytest.fixture(scope="session")
def models_dir(embedded_model_path: Path) -> Path:
    """A models folder that holds the embedded model."""
    return embedded_model_path.parents[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningServer]:
    """A server that no test harms."""
    with serve(tmp_path_factory.mktemp("server"), models_dir) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with server.sdk() as made:
        yield made


@pytest.fixture(scope="session")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.http() as made:
        yield made


@pytest.fixture
def serve_with(tmp_path: Path, models_dir: Path) -> Iterator[Serve]:
    """Starts servers of a test's own, with flags; all have ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, env: Mapping[str, str] | None = None, ready: bool = True) -> RunningServer:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            return stack.enter_context(serve(folder, models_dir, *flags, env=env, ready=ready))

        yield start


@pytest.fixture
def fresh_server(serve_with: Serve) -> RunningServer:
    """A server that a test may harm."""
    return serve_with()
