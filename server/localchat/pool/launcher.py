"""Prepares models for a place among others: how much memory all may take, and for how much each is planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psutil

from localchat.errors import ConfigError, DoesNotFit
from localchat.hardware import Machine, probe
from localchat.hardware.plan import ram_budget
from localchat.hub.progress import Progress
from localchat.launch import Launch, prepare
from localchat.registry import Registry
from localchat.settings import Settings
from localchat.worker.client import resident_bytes


class Launcher:
    """Turns names into launches.

    Each model is planned for its share of the budget: an equal one for each that is named by --model, and one more with
    --on-demand. An automatic context takes no more than what the share leaves, so the first model leaves room for the
    next. A model that does not fit into its share is planned for the whole budget, and others make room for it.
    """

    def __init__(self, settings: Settings, registry: Registry, look: Callable[[], Machine] = probe) -> None:
        if settings.serves_several and settings.chat_template is not None:
            raise ConfigError("--chat-template is for one model; a registry gives each of several its own")
        if settings.serves_several and settings.draft:
            raise ConfigError("--draft is for one model: it guesses for those with the same vocabulary only")
        self.settings = settings
        self.registry = registry
        self._look = look
        machine = look()
        self._kept_back = machine.ram_available - ram_budget(machine)
        self._most = max(0, ram_budget(machine) if settings.memory == "auto" else settings.memory)
        self._share = self._most // (len(settings.model) + settings.on_demand)

    def budget(self) -> int:
        """RAM for all models together; it shrinks when other programs take what was free at the start."""
        with_workers = sum(resident_bytes(child) for child in psutil.Process().children())
        return max(0, min(self._most, self._look().ram_available + with_workers))

    def prepare_named(self, progress: Progress) -> list[Launch]:
        """The models named by --model, in their order; each tries first to fit beside those before it."""
        launches: list[Launch] = []
        for name in dict.fromkeys(self.settings.model):
            taken = sum(launch.plan.memory.total for launch in launches)
            launches.append(self.prepare(name, progress, taken))
        return launches

    def prepare(self, name: str, progress: Progress, taken: int = 0) -> Launch:
        """Find, fetch, check and plan a model. Blocks; raises whatever stands in the way."""
        rooms = dict.fromkeys([min(self._share, self._most - taken), self._share])
        for room in rooms:
            try:
                return self._prepare(name, progress, room)
            except DoesNotFit:
                continue
        return self._prepare(name, progress, self._most)

    def _prepare(self, name: str, progress: Progress, room: int) -> Launch:
        share, whole = (replace(self._look(), ram_available=ram + self._kept_back) for ram in (room, self._most))
        return prepare(name, self.settings, self.registry, share, progress, whole)
