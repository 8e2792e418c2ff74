"""Makes pools over scripted workers; none of them outlives its test, and no callback fails unseen."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from localchat.pool import ModelPool
from localchat.registry import Registry
from localchat.settings import load_settings

from .house import GIB, Clock, House, Script, ScriptedLauncher, registry_of, spec_of, starter, within

Open = Callable[..., House]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The server's own loop."""
    if sys.platform == "win32":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "none.toml"))


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a pool of models a, b and c, by default with room for all; each takes 1 GiB where a script says nothing."""
    houses: list[House] = []
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))

    def start(
        *,
        room: float = 8,
        registry: Registry | None = None,
        script: Script | None = None,
        **settings: Any,
    ) -> House:
        given = {"model": ["a"], "on_demand": True, "models_dir": tmp_path, **settings}
        known = registry or registry_of(spec_of("a"), spec_of("b"), spec_of("c"))
        script, clock = script or Script(), Clock()
        starts: list[str] = []
        # Each worker is told its id, so that who started can be told apart.
        script.paths = {spec.id: spec.id for spec in known.models} | script.paths
        ids = {path: id for id, path in script.paths.items()}
        launcher = ScriptedLauncher(load_settings(**given), known, script, int(room * GIB))
        launches = [launcher.prepare(name, None) for name in given["model"]]  # type: ignore[arg-type]
        pool = ModelPool(launches, launcher, start_worker=starter(starts, ids), call_later=clock.call_later)
        houses.append(House(pool, script, clock, launcher, starts))
        return houses[-1]

    yield start
    for house in houses:
        await within(house.pool.close())
    houses.clear()
    gc.collect()  # futures tell of an error that nobody asked for when they go
    assert unseen == []
