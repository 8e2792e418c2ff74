"""A pool over scripted workers: models of which nothing is real but their processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localchat.chat.model import ChatModel, Manner
from localchat.errors import LocalchatError
from localchat.hardware import LoadPlan, Machine, MemoryNeed
from localchat.hub.progress import Progress
from localchat.launch import Launch
from localchat.pool import Entry, Launcher, ModelPool
from localchat.registry import ModelSpec, Registry
from localchat.sampling_params import SamplingParams
from localchat.settings import Settings
from localchat.worker.client import Generation, WorkerClient
from localchat.worker.messages import Load, Submit

GIB = 1 << 30
COMMAND = (sys.executable, str(Path(__file__).parents[1] / "worker" / "scripted_worker.py"))
PATIENCE = 30
"""Seconds until a test gives up on what never comes."""


def spec_of(id: str, **fields: Any) -> ModelSpec:
    quants = [{"name": name, "source": {"kind": "path", "path": f"/nowhere/{id}"}} for name in ("Q4_0", "Q8_0")]
    return ModelSpec.model_validate({"id": id, "title": id, "quant": quants, **fields})


def registry_of(*specs: ModelSpec, **aliases: str) -> Registry:
    return Registry(specs, {}, aliases)


@dataclass
class Script:
    """What preparing and loading come to, by id; it may change while a test runs."""

    needs: dict[str, int] = field(default_factory=dict)
    """Bytes; 1 GiB where absent."""
    paths: dict[str, str] = field(default_factory=dict)
    """What the scripted worker is told to load."""
    failures: dict[str, LocalchatError] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)
    prepared: list[str] = field(default_factory=list)
    gate: Callable[[], object] = field(default=lambda: None)
    """Called in the thread that prepares."""


class ScriptedLauncher(Launcher):
    """Prepares nothing but by the script."""

    def __init__(self, settings: Settings, registry: Registry, script: Script, room: int) -> None:
        super().__init__(settings, registry, look=lambda: Machine(1, 64 * GIB, 64 * GIB))
        self.room = room
        self._script = script

    def budget(self) -> int:
        return self.room

    def prepare(self, name: str, progress: Progress, taken: int = 0) -> Launch:
        choice = self.registry.resolve(name)
        id = choice.spec.id
        self._script.prepared.append(name)
        self._script.gate()
        if error := self._script.failures.get(id):
            raise error
        need = MemoryNeed(weights=self._script.needs.get(id, GIB))
        path = self._script.paths.get(id, "works")
        plan = LoadPlan(64, 2, 1, 16, 16, 4, "f16", 0, "auto", False, need, MemoryNeed())
        load = Load(path, 64, 2, 16, 16, 1, 0, "f16", False, "auto", True, 8, 4)
        return Launch(
            name=name,
            choice=choice,
            path=Path(path),
            plan=plan,
            manner=self._script.manner,
            load=load,
            settings=self.settings,
            fingerprint="",
        )


@dataclass
class Timer(asyncio.TimerHandle):
    """A timer that goes off when a test says so."""

    seconds: float
    callback: Callable[..., None]
    arguments: tuple[object, ...]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Clock:
    """Stands in for the loop's: nothing goes off by itself."""

    timers: list[Timer] = field(default_factory=list)

    def call_later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> Timer:
        self.timers.append(Timer(seconds, callback, arguments))
        return self.timers[-1]

    def set(self, seconds: float) -> list[Timer]:
        """The timers that would go off after so many seconds."""
        return [timer for timer in self.timers if timer.seconds == seconds and not timer.is_cancelled]

    def ring(self, seconds: float) -> None:
        """So many seconds have passed for those who wait for just that."""
        due = self.set(seconds)
        assert due, f"nothing waits for {seconds:g} s"
        for timer in due:
            self.timers.remove(timer)
            timer.callback(*timer.arguments)


@dataclass
class House:
    """A pool, and what stands behind it."""

    pool: ModelPool
    script: Script
    clock: Clock
    launcher: ScriptedLauncher
    starts: list[str]
    """Ids in the order in which their workers were asked to start."""

    def entry(self, id: str) -> Entry:
        return self.pool.find(id)

    @property
    def loaded(self) -> set[str]:
        return {id for id, entry in self.pool.entries.items() if entry.state == "ready"}

    async def touch(self, id: str, keep_alive: float | None = None) -> None:
        """Use a model for a moment."""
        async with self.entry(id).use(keep_alive) as model:
            assert model.id == id

    async def reaches(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Let the loop run until the condition holds."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true"
            await asyncio.sleep(0.002)


def starter(starts: list[str], ids: Mapping[str, str]) -> Callable[..., Any]:
    """Starts scripted workers and notes them."""

    async def start(load: Load, *callbacks: Any) -> WorkerClient:
        starts.append(ids.get(load.path, load.path))
        return await WorkerClient.start(load, *callbacks, command=COMMAND)

    return start


def prompt(text: str) -> Submit:
    return Submit(0, text, SamplingParams())


def generate(model: ChatModel, text: str) -> Generation:
    return model.worker.submit([prompt(text)])


async def read(generation: Generation) -> str:
    """Its text, to the end."""
    return "".join([delta.text async for batch in generation.batches() for _, delta in batch])


async def within(answer: Any) -> Any:
    return await asyncio.wait_for(answer, PATIENCE)


@contextmanager
def held_in_line(entry: Entry) -> Iterator[Any]:
    """A place that is given back after the block."""
    place = entry.enter()
    try:
        yield place
    finally:
        entry.leave(place)
