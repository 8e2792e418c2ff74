"""When prefixes go into files: real files, and an engine over a scripted model."""

from __future__ import annotations

import os
import queue
from pathlib import Path

import pytest

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine, Job
from localchat.engine.sequence import Sequence
from localchat.engine.stored import MIN_WHOLE
from localchat.worker import keeper as module
from localchat.worker.archive import Archive
from localchat.worker.keeper import Keeper
from unit.engine.scripted import Greedy, ScriptedContext, babble

KEY = "build123" + "0" * 32


class House:
    """What a worker has, but for the pipes."""

    def __init__(self, folder: Path, *, most: int = 1 << 30, idle_seconds: float = 0) -> None:
        self.warnings: list[str] = []
        self.inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.archive = Archive(folder, KEY, most, self.warnings.append)
        self.engine = Engine(
            ScriptedContext(babble, n_ctx=4096, capacity=512, parallel=4), budget=512, archive=self.archive
        )
        self.keeper = Keeper(self.engine, self.archive, self.inbox.put, idle_seconds)

    def ask(self, seed: int, count: int = MIN_WHOLE) -> None:
        prompt = [(seed + at * at) % 256 for at in range(count)]
        self.engine.submit(Sequence(seed, prompt, max_tokens=2, sampler=Greedy(), detokenizer=Detokenizer()))
        while not self.engine.is_idle:
            self.engine.step()
            self.keeper.note_work()

    def job(self) -> None:
        """The next job, which a file that was written brings; without one the test would wait for ever."""
        job = self.keeper.next(self.inbox)
        assert job is not None
        job()


def kept(folder: Path) -> int:
    return len(list(folder.glob("*.prefix")))


def test_states_are_written_one_after_the_other_while_nothing_comes(tmp_path: Path) -> None:
    house = House(tmp_path)
    for seed in range(3):
        house.ask(seed)
    for count in range(1, 4):
        house.job()
        assert kept(tmp_path) == count
    house.inbox.put(None)
    assert house.keeper.next(house.inbox) is None
    assert kept(tmp_path) == 3


def test_what_comes_is_done_first(tmp_path: Path) -> None:
    house = House(tmp_path, idle_seconds=3600)
    house.ask(1)
    house.inbox.put(None)
    assert house.keeper.next(house.inbox) is None
    assert kept(tmp_path) == 0


def test_at_the_end_all_is_written(tmp_path: Path) -> None:
    house = House(tmp_path, idle_seconds=3600)
    for seed in range(3):
        house.ask(seed)
    house.keeper.finish(60)
    assert kept(tmp_path) == 3
    assert len(House(tmp_path).archive.stored()) == 3


def test_what_would_take_too_long_is_left_out_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RATE", 1.0)
    house = House(tmp_path)
    house.ask(1)
    house.keeper.finish(60)
    assert kept(tmp_path) == 0


def test_after_a_failure_nothing_is_tried_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    house = House(tmp_path / "file" / "prefixes")
    house.ask(1)
    house.ask(2)
    house.job()
    house.ask(3)
    house.inbox.put(None)
    assert house.keeper.next(house.inbox) is None
    assert len(house.warnings) == 1


def test_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    house = House(tmp_path, most=16 * MIN_WHOLE)
    house.ask(1, 4000)
    house.ask(2)
    house.job()
    assert kept(tmp_path) == 1


def test_files_that_serve_stay_young(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ask(1)
    house.keeper.finish()
    (file,) = tmp_path.glob("*.prefix")
    os.utime(file, (1000, 1000))
    house.ask(1)
    house.keeper.finish()
    assert file.stat().st_mtime > 1000
