"""Which workers run: loads models, keeps them, starts a fresh worker when one dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Literal

from localchat.chat.model import ChatModel
from localchat.errors import EngineError, LocalchatError, ModelLoading, ModelNotFound, ShuttingDown
from localchat.launch import Launch
from localchat.worker.client import WorkerClient

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "failed"]


class Served:
    """One model of the pool: its launch, and its worker while there is one."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.created = int(time.time())
        self.model: ChatModel | None = None
        self.error: LocalchatError | None = None
        self.loading: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """Where the model is between file and service."""
        if self.model is not None:
            return "ready"
        if self.loading is not None:
            return "loading"
        return "failed" if self.error else "unloaded"

    @property
    def n_ctx(self) -> int:
        """Context tokens of each sequence: as loaded, or as planned before that."""
        return self.model.worker.info.n_ctx if self.model else self.launch.plan.n_ctx

    async def load(self) -> None:
        """Start a worker; a failure is remembered for those who ask."""
        self.error = None
        try:
            worker = await WorkerClient.start(self.launch.load, on_exit=self._exited)
        except LocalchatError as error:
            log.error("%s: %s", self.launch.id, error)
            self.error = error
            return
        finally:
            self.loading = None
        info = worker.info
        log.info(
            "%s is ready: %s, %d threads while a single sequence decodes, %s",
            self.launch.id,
            info.description,
            info.single_row_threads,
            "offloads to a GPU" if info.gpu_offload else "CPU only",
        )
        self.model = ChatModel(
            self.launch.id,
            worker,
            self.launch.template,
            defaults=self.launch.defaults,
            stops=self.launch.stops,
        )

    def _exited(self, worker: WorkerClient) -> None:
        if self.model is not None and self.model.worker is worker:
            log.error("%s: its process has ended; a fresh one starts", self.launch.id)
            self.model = None
            self.start()

    def start(self) -> asyncio.Task[None]:
        """Load in the background, once."""
        if self.loading is None:
            self.loading = asyncio.get_running_loop().create_task(self.load())
        return self.loading


class ModelPool:
    """The models that are served, by id."""

    def __init__(self, launches: Iterable[Launch], *, load_seconds: float) -> None:
        self._served = {launch.id: Served(launch) for launch in launches}
        self._load_seconds = load_seconds
        self._is_closing = False

    @property
    def served(self) -> Mapping[str, Served]:
        """The models by id, loaded or not."""
        return self._served

    @property
    def is_ready(self) -> bool:
        """Whether every model can answer."""
        return not self._is_closing and all(entry.state == "ready" for entry in self._served.values())

    def start(self) -> None:
        """Begin to load, in the background."""
        for entry in self._served.values():
            entry.start()

    def find(self, id: str) -> Served:
        """The model served under an id. Raises ModelNotFound, naming those that are."""
        if entry := self._served.get(id):
            return entry
        ids = ", ".join(self._served)
        raise ModelNotFound(f"no model {id!r} is served here; these are: {ids}", param="model")

    async def get(self, id: str) -> ChatModel:
        """A loaded model; waits for one that is loading. Raises ModelNotFound, ModelLoading, EngineError."""
        entry = self.find(id)
        if self._is_closing:
            raise ShuttingDown("the server is stopping")
        if entry.model is None:
            try:
                await asyncio.wait_for(asyncio.shield(entry.start()), self._load_seconds)
            except asyncio.TimeoutError:
                raise ModelLoading(f"{id} has been loading for {self._load_seconds:g} s; try again later") from None
        if entry.model is None:
            raise EngineError(f"{id} could not be loaded: {entry.error}")
        return entry.model

    def refuse_new(self) -> None:
        """From now on, `get` raises ShuttingDown."""
        self._is_closing = True

    async def close(self) -> None:
        """End all workers."""
        self._is_closing = True
        for entry in self._served.values():
            if entry.loading is not None:
                entry.loading.cancel()
                await asyncio.gather(entry.loading, return_exceptions=True)
            if (model := entry.model) is not None:
                entry.model = None
                await model.worker.stop(ShuttingDown("the server stopped before the answer was complete"))
