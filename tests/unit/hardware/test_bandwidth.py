"""How fast memory is read, measured a few times and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from localchat.hardware import Machine
from localchat.hardware import bandwidth as module
from localchat.hardware.bandwidth import measure, memory_bandwidth
from localchat.hardware.cpu import Cpu

MIB = 1 << 20
MACHINE = Machine(2, 64 * MIB, 64 * MIB, cpu=Cpu("Quick"))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next measurements find; the last stays."""
    found = [3e9, 5e9, 4e9]
    monkeypatch.setattr(module, "measure", lambda cores, size: found.pop(0) if len(found) > 1 else found[0])
    return found


def test_memory_is_measured() -> None:
    assert measure(2, 8 * MIB, 0.01) > 1e6


def test_best_of_the_first_calls_counts_and_later_ones_do_not_measure(tmp_path: Path, figures: list[float]) -> None:
    cache = tmp_path / "sub" / "bandwidth.json"
    assert [memory_bandwidth(MACHINE, cache) for _ in range(5)] == [3e9, 5e9, 5e9, 5e9, 5e9]
    figures[:] = [9e9]
    assert memory_bandwidth(MACHINE, cache) == 5e9
    assert [file.name for file in cache.parent.iterdir()] == ["bandwidth.json"]


def test_figure_that_matters_is_measured_again_and_only_grows(tmp_path: Path, figures: list[float]) -> None:
    cache = tmp_path / "bandwidth.json"
    for _ in range(5):
        memory_bandwidth(MACHINE, cache)
    figures[:] = [9e9, 1e9]
    assert memory_bandwidth(MACHINE, cache, again=True) == 9e9
    assert [memory_bandwidth(MACHINE, cache, again=True) for _ in range(9)] == [9e9] * 9
    assert [len(found) for found in msgspec.json.decode(cache.read_bytes()).values()] == [5]


def test_machines_do_not_share_a_figure(tmp_path: Path, figures: list[float]) -> None:
    cache = tmp_path / "bandwidth.json"
    assert memory_bandwidth(MACHINE, cache) == 3e9
    assert memory_bandwidth(replace(MACHINE, cores=4), cache) == 5e9
    assert set(msgspec.json.decode(cache.read_bytes())) == {"Quick x 2", "Quick x 4"}


@pytest.mark.parametrize("content", ["", "[]", '{"Quick x 2": "fast"}', "\0"])
def test_broken_cache_is_written_again(tmp_path: Path, figures: list[float], content: str) -> None:
    cache = tmp_path / "bandwidth.json"
    cache.write_text(content)
    assert memory_bandwidth(MACHINE, cache) == 3e9
    assert memory_bandwidth(MACHINE, cache) == 5e9


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path, figures: list[float]) -> None:
    (tmp_path / "file").touch()
    assert memory_bandwidth(MACHINE, tmp_path / "file" / "bandwidth.json") == 3e9
