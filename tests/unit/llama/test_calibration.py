"""What is measured after loading, on a machine that follows a script."""

from __future__ import annotations

import pytest

from localchat.llama.batch import Batch
from localchat.llama.calibration import STAIRS, Calibration, calibrate


class Machine:
    """A context whose decodes take a time that depends on threads, rows and what they look at."""

    def __init__(
        self, seconds: dict[int, float], *, row: float = 0.0, look: float = 0.0, n_ctx: int = 4096, cuts: bool = True
    ) -> None:
        self.n_ctx = n_ctx
        self.batch = Batch(512)
        self.now = 0.0
        self.decodes = 0
        self.length = 0
        self.threads = (max(seconds), max(seconds))
        self._seconds, self._row, self._look, self._cuts = seconds, row, look, cuts

    def clock(self) -> float:
        return self.now

    def decode(self) -> None:
        rows = self.batch.size
        assert self.length + rows <= self.n_ctx
        self.now += self._seconds[self.threads[rows > 1]] + (rows - 1) * self._row + rows * self.length * self._look
        self.decodes += 1
        self.length += rows

    def logits(self, rows: int) -> object:
        return rows

    def keep(self, sequence: int, length: int) -> bool:
        assert sequence == 0
        if self._cuts:
            self.length = length
        return self._cuts

    def drop(self, sequence: int) -> None:
        assert sequence == 0
        self.length = 0

    def set_threads(self, single: int, several: int) -> None:
        self.threads = (single, several)


def measure(machine: Machine) -> Calibration:
    return calibrate(machine, max(machine.threads), machine.clock)


@pytest.mark.parametrize(
    ("seconds", "single"),
    [({2: 0.004, 1: 0.0042}, 1), ({2: 0.08, 1: 0.15}, 2), ({8: 0.01, 7: 0.0101}, 7), ({8: 0.01, 7: 0.012}, 8)],
    ids=["a small model gains little", "a large one gains much", "one of eight is spared", "one of eight is needed"],
)
def test_the_last_thread_is_taken_only_where_it_is_worth_it(seconds: dict[int, float], single: int) -> None:
    machine = Machine(seconds)
    assert measure(machine).single_row_threads == single
    assert machine.threads == (single, max(seconds)), "several rows take all threads"
    assert machine.length == 0, "nothing is left in the KV cache"


def test_stairs_and_looks_are_measured_while_there_is_time() -> None:
    machine = Machine({1: 0.005}, row=0.0005, look=2e-7)
    found = measure(machine)
    assert dict(found.stairs)[16] == pytest.approx(0.005 + 15 * 0.0005)
    assert [rows for rows, _ in found.stairs] == list(STAIRS)
    assert found.few == pytest.approx(2e-7)
    assert found.many == pytest.approx(2e-7)
    assert machine.length == 0, "nothing is left in the KV cache"


def test_a_slow_model_is_not_kept_from_serving() -> None:
    machine = Machine({2: 3.0, 1: 5.0}, row=1.0)
    found = measure(machine)
    assert machine.decodes <= 5
    assert 3.0 < dict(found.stairs)[64] < 3.0 * 64, "a guess"


def test_a_short_context_is_never_overrun() -> None:
    machine = Machine({1: 0.001}, n_ctx=100)
    found = measure(machine)
    assert found.few > found.many > 0


def test_a_memory_that_cannot_be_cut_leaves_nothing_behind() -> None:
    machine = Machine({1: 0.001}, cuts=False)
    found = measure(machine)
    assert found.few > 0
    assert machine.length == 0


def test_number_that_is_known_is_taken_without_measuring() -> None:
    machine = Machine({2: 1.0, 1: 9.0})
    assert calibrate(machine, 2, machine.clock, known=1).single_row_threads == 1
    assert machine.threads == (1, 2)
