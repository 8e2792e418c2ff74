"""The models that requests can name, and what they share: memory, a bound on who waits, an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches

from localchat.errors import ConfigError, LocalchatError, ModelNotFound, QueueFull, ShuttingDown
from localchat.hub.installed import installed
from localchat.launch import Launch
from localchat.pool.entry import Entry, Services
from localchat.pool.launcher import Launcher
from localchat.pool.room import Room
from localchat.registry.license import check_commercial
from localchat.worker.client import WorkerClient

STOPPED = "the server stopped before the answer was complete"


class ModelPool:
    """The models named at the start, and with `on_demand` those of the registry."""

    def __init__(
        self,
        launches: Iterable[Launch],
        launcher: Launcher,
        *,
        start_worker: Callable[..., Awaitable[WorkerClient]] = WorkerClient.start,
        call_later: Callable[..., asyncio.TimerHandle] | None = None,
    ) -> None:
        self._launcher = launcher
        self._settings = launcher.settings
        self._registry = launcher.registry
        self._is_closing = False
        self._services = Services(
            prepare=launcher.prepare,
            start_worker=start_worker,
            call_later=call_later or _call_later,
            room=Room(launcher.budget, force=self._settings.force),
            check_open=self._check_open,
            check_line=self._check_line,
            keep_alive=self._settings.keep_alive,
            load_seconds=self._settings.load_seconds,
        )
        self._entries: dict[str, Entry] = {}
        for launch in launches:
            self._add_named(launch)
        self._named = dict(self._entries)
        self._aliases: dict[str, str] = {}
        self._aliases = self._checked_aliases()

    @property
    def named(self) -> Mapping[str, Entry]:
        """The models named by --model, by id."""
        return self._named

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All models that were named, at the start or by a request, by id."""
        return self._entries

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names, each with the id that it stands for."""
        return self._aliases

    @property
    def is_ready(self) -> bool:
        """Whether every model named at the start can answer, or is unloaded for no fault and would be loaded."""
        up = all(entry.state == "ready" or entry.is_resting for entry in self._named.values())
        return up and not self._is_closing

    def start(self) -> None:
        """Begin to load the models named at the start, in the background, as far as there is memory for them."""
        for entry in self._named.values():
            if entry.usual_keep_alive > 0:
                entry.start()
            else:
                entry.is_resting = True

    def find(self, name: str) -> Entry:
        """The model that a request names. Raises ModelNotFound, UnsupportedModel, LicenseForbids.

        Only ids are looked up, and never files or repositories: a request must not make the server read or fetch what
        nobody has put into a registry.
        """
        id = self._aliases.get(name, name)
        if entry := self._entries.get(id) or self._served_as(id):
            return entry
        if not self._settings.on_demand:
            raise ModelNotFound(self._not_served(name), param="model")
        return self._add_from_registry(id)

    async def listed(self) -> list[Entry]:
        """The models named at the start, those that requests have named, and with `on_demand` those on this machine."""
        listed = {id: entry for id, entry in self._entries.items() if id in self._named or entry.state != "unloaded"}
        if self._settings.on_demand:
            for id in await asyncio.to_thread(self._installed):
                with suppress(LocalchatError):  # may not be served, for one reason or another
                    listed.setdefault(id, self.find(id))
        return list(listed.values())

    def _installed(self) -> list[str]:
        files = installed(self._registry, self._settings.models_dir)
        return [choice.spec.id for file in files for choice in file.choices]

    def refuse_new(self) -> None:
        """From now on, nobody may enter."""
        self._is_closing = True

    async def close(self) -> None:
        """End all workers."""
        self._is_closing = True
        await asyncio.gather(*[entry.close(ShuttingDown(STOPPED)) for entry in self._entries.values()])

    def _check_open(self) -> None:
        if self._is_closing:
            raise ShuttingDown("the server is stopping")

    def _check_line(self) -> None:
        waiting = sum(entry.waiting for entry in self._entries.values())
        if waiting >= self._settings.load_queue:
            raise QueueFull(f"{waiting} requests wait for models to load, which is as many as may; try later")

    # Names.

    def _add_named(self, launch: Launch) -> None:
        """Under its id; a further quant of the same model under id:QUANT."""
        spec, quant = launch.choice.spec, launch.choice.quant
        first = self._entries.get(spec.id)
        id = spec.id if first is None else f"{spec.id}:{quant.name}"
        if first is not None and first.spec != spec:
            raise ConfigError(f"two models would be served as {spec.id}; rename one of the files, or give it an entry")
        if id not in self._entries and not (first and first.quant == quant.name):
            self._add(Entry(id, launch.name, spec, self._services, launch))

    def _add(self, entry: Entry) -> Entry:
        self._entries[entry.id] = entry
        self._services.room.tenants.append(entry)
        return entry

    def _served_as(self, name: str) -> Entry | None:
        """The model behind id:QUANT where it has that quant already."""
        id, colon, quant = name.partition(":")
        for entry in self._entries.values() if colon else ():
            if entry.spec.id == id and (entry.quant or "").lower() == quant.lower():
                return entry
        return None

    def _add_from_registry(self, name: str) -> Entry:
        spec = self._registry.find(name.partition(":")[0])
        choice = self._registry.resolve(name)
        if self._settings.commercial:
            check_commercial(spec)
        id = f"{spec.id}:{choice.quant.name}" if ":" in name else spec.id
        return self._entries.get(id) or self._add(Entry(id, id, spec, self._services))

    def _not_served(self, name: str) -> str:
        names = [*self._entries, *self._aliases]
        near = get_close_matches(name, names, n=1)
        meant = f"; did you mean {near[0]}?" if near else ";"
        known = any(spec.id == name.partition(":")[0] for spec in self._registry.models)
        hint = " (the registry has it: start the server with --on-demand)" if known else ""
        return f"no model {name!r} is served here{hint}{meant} these are: {', '.join(names)}"

    def _checked_aliases(self) -> dict[str, str]:
        """The registry's aliases and the settings', as far as they lead anywhere. Raises ConfigError."""
        aliases = {name: id for name, id in self._registry.aliases.items() if self._leads_somewhere(id)}
        for text in self._settings.alias:
            name, equals, id = text.partition("=")
            if not (name and equals and id):
                raise ConfigError(f"--alias {text}: it has the form NAME=MODEL")
            try:
                aliases[name] = self.find(id).id
            except LocalchatError as error:
                raise ConfigError(f"--alias {text}: {error}") from None
        return {name: id for name, id in aliases.items() if name not in self._entries}

    def _leads_somewhere(self, id: str) -> bool:
        try:
            self.find(id)
        except LocalchatError:
            return False
        return True


def _call_later(seconds: float, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, callback, *arguments)
