"""The process that measures: what it does with a real, tiny model, and what is said when it cannot."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from localchat.errors import EngineError, ModelLoadFailed
from localchat.tuning.client import Bencher
from localchat.tuning.messages import Decode, Open, Prompt, Work
from tiny_models import build

from .machine import setup

WORKS: tuple[Work, ...] = (Prompt(600), Decode(1, 3), Decode(4, 3), Decode(4, 3, 100), Decode(2, 3, 50))


@pytest.mark.parametrize("architecture", ["llama", "mamba", "mpt"])
@pytest.mark.parametrize("unified", [False, True])
def test_every_work_takes_its_time_with_every_kind_of_memory(tmp_path: Path, architecture: str, unified: bool) -> None:
    path = build(tmp_path / "tiny.gguf", architecture, context_length=1024)
    with Bencher(Open(str(path))) as bencher:
        times = bencher.measure(setup(n_ctx=1024, kv_unified=unified, threads=1), WORKS)
        assert len(times.seconds) == len(WORKS)
        assert all(seconds > 0 for seconds in times.seconds)
        assert times.single_row_threads == 1


def test_threads_for_a_single_row_are_found_or_taken_as_given(tmp_path: Path) -> None:
    path = build(tmp_path / "tiny.gguf", "llama")
    with Bencher(Open(str(path))) as bencher:
        assert bencher.measure(setup(), (Decode(1, 2),)).single_row_threads in (1, 2)
        assert bencher.measure(setup(single_row_threads=2), (Decode(1, 2),)).single_row_threads == 2


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and then nothing")
    with Bencher(Open(str(tmp_path / "bad.gguf"))) as bencher, pytest.raises(ModelLoadFailed, match=r"bad\.gguf"):
        bencher.measure(setup(), (Prompt(1),))


def test_death_of_the_process_is_told_and_the_next_trial_starts_another(tmp_path: Path) -> None:
    path = build(tmp_path / "tiny.gguf", "llama")
    with Bencher(Open(str(path))) as bencher:
        bencher.measure(setup(threads=1), (Prompt(1),))
        first = bencher.pid
        assert first
        psutil.Process(first).kill()
        with pytest.raises(EngineError, match=r"the process that measures .*tiny\.gguf ended with status"):
            bencher.measure(setup(threads=1), (Prompt(1),))
        bencher.measure(setup(threads=1), (Prompt(1),))
        assert bencher.pid not in (None, first)


def test_process_ends_with_the_block(tmp_path: Path) -> None:
    path = build(tmp_path / "tiny.gguf", "llama")
    with Bencher(Open(str(path))) as bencher:
        bencher.measure(setup(threads=1), (Prompt(1),))
        pid = bencher.pid
    assert bencher.pid is None
    assert pid
    assert not psutil.pid_exists(pid)
