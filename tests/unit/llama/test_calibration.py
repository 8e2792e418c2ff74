"""How many threads a single row is worth, on a machine that follows a script."""

from __future__ import annotations

import pytest

from localchat.llama.batch import Batch
from localchat.llama.calibration import calibrate


class Machine:
    """A context whose decodes take a time that depends on the threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.batch = Batch(4)
        self.now = 0.0
        self.decodes = 0
        self.sequences = 0
        self.threads = (max(seconds), max(seconds))
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def decode(self) -> None:
        self.now += self._seconds[self.threads[0]]
        self.decodes += 1
        self.sequences += 1

    def logits(self, rows: int) -> object:
        return rows

    def drop(self, sequence: int) -> None:
        assert sequence == 0
        self.sequences -= 1

    def set_threads(self, single: int, several: int) -> None:
        self.threads = (single, several)


@pytest.mark.parametrize(
    ("seconds", "single"),
    [({2: 0.004, 1: 0.0042}, 1), ({2: 0.08, 1: 0.15}, 2), ({8: 0.01, 7: 0.0101}, 7), ({8: 0.01, 7: 0.012}, 8)],
    ids=["a small model gains little", "a large one gains much", "one of eight is spared", "one of eight is needed"],
)
def test_the_last_thread_is_taken_only_where_it_is_worth_it(seconds: dict[int, float], single: int) -> None:
    machine = Machine(seconds)
    assert calibrate(machine, max(seconds), machine.clock) == single
    assert machine.threads == (single, max(seconds)), "several rows take all threads"
    assert machine.sequences == 0, "nothing is left in the KV cache"


def test_one_thread_is_only_warmed_up() -> None:
    machine = Machine({1: 0.01})
    assert calibrate(machine, 1, machine.clock) == 1
    assert machine.decodes == 1


def test_a_slow_model_is_not_kept_from_serving() -> None:
    machine = Machine({2: 3.0, 1: 5.0})
    calibrate(machine, 2, machine.clock)
    assert machine.decodes <= 5


def test_number_that_is_known_is_taken_without_measuring() -> None:
    machine = Machine({2: 1.0, 1: 9.0})
    assert calibrate(machine, 2, machine.clock, known=1) == 1
    assert machine.threads == (1, 2)
    assert machine.decodes == 1
