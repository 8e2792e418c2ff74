"""One model of the pool: its line, and its worker while there is one."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from localchat.chat.model import ChatModel
from localchat.errors import EngineError, LocalchatError, ModelLoading, WorkerDied
from localchat.hub.progress import Progress
from localchat.launch import Launch
from localchat.pool.background import in_background
from localchat.pool.line import Line, Place
from localchat.pool.progress import FetchProgress
from localchat.pool.room import Room
from localchat.registry import ModelSpec
from localchat.worker.client import WorkerClient

log = logging.getLogger(__name__)

State = Literal["unloaded", "fetching", "loading", "ready", "failed"]


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the entries of a pool share."""

    prepare: Callable[[str, Progress], Launch]
    start_worker: Callable[..., Awaitable[WorkerClient]]
    call_later: Callable[..., asyncio.TimerHandle]
    room: Room
    check_open: Callable[[], None]
    """Raises ShuttingDown."""
    check_line: Callable[[], None]
    """Raises QueueFull where no more may wait."""
    keep_alive: float
    load_seconds: float
    uses: itertools.count[int] = field(default_factory=itertools.count)


class Entry:
    """A model that requests can name.

    `enter` and `leave` frame every use. It ends when it is neither used nor has a sequence or call open in its worker:
    after its keep-alive, or when its memory is needed for another.
    """

    def __init__(self, id: str, name: str, spec: ModelSpec, services: Services, launch: Launch | None = None) -> None:
        self.id = id
        self.spec = spec
        self.launch = launch
        self.model: ChatModel | None = None
        self.error: LocalchatError | None = None
        self.created = int(time.time())
        self.held = 0
        self.last_used = 0
        self.is_resting = False
        """Whether it is not loaded because nobody needs it, and not for any fault."""
        self._name = name
        self._services = services
        self._keep_alive = self.usual_keep_alive
        self._line = Line(services.call_later, services.load_seconds)
        self._worker: WorkerClient | None = None
        self._progress: FetchProgress | None = None
        self._loading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._is_leaving = False
        self._is_closed = False

    # What can be known of it.

    @property
    def state(self) -> State:
        """Where the model is between its source and service."""
        if self.model is not None:
            return "ready"
        if self._loading is not None:
            return "loading" if self._progress is None else "fetching"
        return "failed" if self.error else "unloaded"

    @property
    def percent(self) -> int | None:
        """How much of a file that is being fetched has arrived, where that is known."""
        return self._progress.percent if self._progress else None

    @property
    def n_ctx(self) -> int | None:
        """Context tokens of each sequence: as loaded, or as planned; None before that."""
        if self.model is not None:
            return self.model.worker.info.n_ctx
        return self.launch.plan.n_ctx if self.launch else None

    @property
    def quant(self) -> str | None:
        """The format of its weights; None before it is chosen."""
        return self.launch.choice.quant.name if self.launch else self.id.partition(":")[2] or None

    @property
    def usual_keep_alive(self) -> float:
        """Seconds that it stays loaded unused, unless a request says otherwise."""
        return self._services.keep_alive if self.spec.keep_alive is None else self.spec.keep_alive

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return self._line.waiting

    # Using it.

    def enter(self, keep_alive: float | None = None) -> Place:
        """A place in line, to be given back with `leave`. Raises ShuttingDown, QueueFull.

        `keep_alive` is how long the model stays loaded after this use, unless a later one says otherwise.
        """
        self._services.check_open()
        model = None if self._is_leaving else self.model
        if model is None:
            self._services.check_line()
        self._keep_alive = self.usual_keep_alive if keep_alive is None else keep_alive
        place = self._line.join(self._late)
        if model is not None:
            self._admit(model)
        elif self.model is None:
            self.start()
        return place

    def leave(self, place: Place) -> None:
        """Give a place back, whatever has become of it. May be called twice."""
        self._line.leave(place)
        self._settle()

    @asynccontextmanager
    async def use(self, keep_alive: float | None = None) -> AsyncIterator[ChatModel]:
        """The model, loaded if need be, for the length of a block. Raises what `enter` raises, or why it does not load.

        A generation that was started in the block keeps the model loaded beyond it.
        """
        place = self.enter(keep_alive)
        try:
            yield await place
        finally:
            self.leave(place)

    def start(self) -> None:
        """Load in the background, once."""
        if self._loading is None and not self._is_closed:
            self._loading = asyncio.get_running_loop().create_task(self._load())

    async def close(self, reason: LocalchatError) -> None:
        """End everything; whoever waits gets the reason."""
        self._is_closed = True
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        self._line.refuse(reason)
        if self.model is not None:
            self._end(reason)
        if self._ending is not None:
            await self._ending

    # What the room asks.

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._line.waiting > 0

    @property
    def is_settled(self) -> bool:
        """Whether it is loaded."""
        return self.model is not None

    @property
    def is_ending(self) -> bool:
        """Whether its process has been told to end, and has not yet."""
        return self._worker is not None and self.model is None

    @property
    def is_in_use(self) -> bool:
        """Whether it is answering, or somebody is about to ask it."""
        return self._line.users > 0 or (self._worker is not None and self._worker.is_busy)

    def measure(self) -> None:
        """Correct `held` by what its process takes by now."""
        if self.model is not None and self.launch is not None:
            self.held = max(self.launch.plan.memory.total, self.model.worker.resident)

    def ask_to_leave(self) -> None:
        """End as soon as it is not in use; until then whoever asks for it has to wait."""
        self._is_leaving = True
        self._settle()

    def let_stay(self) -> None:
        """Take that back."""
        self._is_leaving = False
        if self.model is not None:
            self._admit(self.model)

    # From a name to a worker.

    async def _load(self) -> None:
        """Prepare, wait for room, start. A failure is told to those who wait, and kept for who looks."""
        self.error = None
        try:
            if self._ending is not None:
                await asyncio.shield(self._ending)
            launch = await self._prepared()
            if await self._services.room.reserve(self, launch.plan.memory):
                await self._start_worker(launch)
            else:
                log.info("%s stays unloaded until it is asked for: others have its memory", self.id)
                self.is_resting = True
        except LocalchatError as error:
            self._fail(error)
        except Exception as error:
            log.exception("a bug in localchat met the loading of %s", self.id)
            self._fail(EngineError(f"{self.id} could not be loaded: {error!r}"))
        finally:
            self._loading = self._progress = None
        if self.model is not None:
            self._admit(self.model)
        elif self.is_wanted:  # somebody came when the last one had just given up
            self.start()
        self._settle()

    async def _prepared(self) -> Launch:
        if self.launch is None:
            prepare, name, progress = self._services.prepare, self._name, FetchProgress()
            self._progress = progress
            self.launch = await in_background(lambda: prepare(name, progress), f"fetch {self.id}")
            self._progress = None
        return self.launch

    async def _start_worker(self, launch: Launch) -> None:
        worker = await self._services.start_worker(launch.load, self._exited, self._settle)
        if not worker.is_alive:
            raise WorkerDied(f"{self.id}: the model's process ended when it had just been loaded")
        info = worker.info
        log.info(
            "%s is ready: %s, %d threads while a single sequence decodes, %s",
            self.id,
            info.description,
            info.single_row_threads,
            "offloads to a GPU" if info.gpu_offload else "CPU only",
        )
        self._worker = worker
        self.is_resting = False
        self.model = ChatModel(self.id, worker, launch.manner, launch.fingerprint)

    def _fail(self, error: LocalchatError) -> None:
        log.error("%s: %s", self.id, error)
        self.error = error
        self.held = 0
        self.is_resting = False
        self.launch = None  # the next try looks at file and machine anew
        self._line.refuse(error)

    def _late(self) -> LocalchatError:
        self._services.room.ring()  # perhaps nobody waits for it any more
        seconds, percent = self._services.load_seconds, self.percent
        arrived = "" if percent is None else f", and {percent} % of it are here"
        return ModelLoading(f"{self.id} is {self.state} after {seconds:g} s{arrived}; try again later")

    # From use to rest.

    def _admit(self, model: ChatModel) -> None:
        self._cancel_expiry()
        self._line.admit(model)

    def _settle(self) -> None:
        """A use has ended, or may have: leave if asked to, or begin to count the time."""
        if self.model is not None and not self.is_in_use:
            self.last_used = next(self._services.uses)
            if self._is_leaving:
                self._rest("its memory is needed")
            elif self._expiry is None and self._keep_alive < math.inf:
                self._expiry = self._services.call_later(self._keep_alive, self._expire)
        self._services.room.ring()

    def _expire(self) -> None:
        self._expiry = None
        if self.model is not None and not self.is_in_use:
            self._rest(f"unused for {self._keep_alive:g} s")

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _rest(self, why: str) -> None:
        log.info("%s is unloaded: %s", self.id, why)
        self.is_resting = True
        self._end(None)
        if self.is_wanted:
            self.start()

    def _end(self, reason: LocalchatError | None) -> None:
        assert self.model is not None, "there is nothing to end"
        self._cancel_expiry()
        worker, self.model = self.model.worker, None
        self._ending = asyncio.get_running_loop().create_task(worker.stop(reason))

    def _exited(self, worker: WorkerClient) -> None:
        if worker is not self._worker:
            return  # a start that failed, which is told elsewhere
        self._worker = None
        self.held = 0
        if self.model is not None:
            log.error("%s: its process has ended; a fresh one starts", self.id)
            self._cancel_expiry()
            self.model = None
            self.start()
        self._services.room.ring()
