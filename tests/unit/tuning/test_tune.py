"""The sweep, on machines that follow a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec import structs

from localchat.errors import EngineError
from localchat.tuning.candidates import PROMPT, SEVERAL, SINGLE, Candidate, Processors
from localchat.tuning.compare import Comparison
from localchat.tuning.messages import Decode, Prompt, Setup, Times, Work
from localchat.tuning.tune import Outcome, Tuner, look

from .machine import ScriptedMachine, setup

TRIED = 11
"""Candidates on a machine with four cores of two threads each."""

Pace = Callable[[Setup, Work], float]


def even(setup: Setup, work: Work) -> float:
    return 1e-4


def setups(changes: Mapping[str, Any]) -> Setup | None:
    return structs.replace(setup(n_ctx=1280, threads=4), **changes)


class Sweep:
    """A tuner with what it tried."""

    def __init__(self, pace: Pace, seconds: float = 60, make: Callable[..., Setup | None] = setups) -> None:
        self.machine = ScriptedMachine(pace, single_row_threads=3)
        self.tried: list[tuple[dict[str, Any], bool]] = []
        self._make = make
        self._seconds = seconds

    def tell(self, candidate: Candidate, found: Comparison) -> None:
        self.tried.append((candidate.changes, found.is_better))

    def run(self, *fixed: str, measure: Callable[..., Times] | None = None) -> Outcome:
        measure = measure or self.machine.measure
        tuner = Tuner(
            measure, self._make, Processors(4, 8), self._seconds, self.tell, fixed=fixed, clock=self.machine.clock
        )
        first = self._make({})
        assert first
        return tuner.run(*look(self.machine.measure, first, self._seconds))


def test_where_nothing_is_faster_the_defaults_stay() -> None:
    sweep = Sweep(even)
    outcome = sweep.run()
    assert outcome.changes == {"single_row_threads": 2}, "fewer threads are preferred where they are as fast"
    assert outcome.before == outcome.after
    assert not outcome.advice
    assert outcome.untried == 0
    assert len(sweep.tried) == TRIED


def test_fastest_setup_is_found_one_change_after_the_other() -> None:
    def pace(setup: Setup, work: Work) -> float:
        seconds = {8: 2.0, 4: 1.0, 3: 0.8, 2: 1.2}[setup.threads]
        if isinstance(work, Prompt):
            seconds *= 0.7 if setup.ubatch_size == 256 else 1.0
        elif work.sequences > 1:
            seconds *= 0.6 if setup.kv_unified else 1.0
        else:
            seconds = {3: 1.0, 4: 0.95, 2: 1.1, 1: 2.0}[setup.single_row_threads or 3]
        return seconds * 1e-4 * (1.5 if setup.flash_attn == "off" else 1.0)

    outcome = Sweep(pace).run()
    assert outcome.changes == {"threads": 3, "single_row_threads": 2, "ubatch_size": 256, "kv_unified": True}
    assert outcome.after[PROMPT] / outcome.before[PROMPT] == pytest.approx(1 / 0.56)
    assert outcome.after[SEVERAL] / outcome.before[SEVERAL] == pytest.approx(1 / 0.48)
    assert outcome.after[SINGLE] / outcome.before[SINGLE] == pytest.approx(1 / 1.1)


def test_what_rounds_the_cache_is_advice_and_nothing_more() -> None:
    outcome = Sweep(lambda setup, work: 0.5e-4 if setup.kv_type == "q8_0" else 1e-4).run()
    assert "kv_type" not in outcome.changes
    assert [candidate.changes for candidate, _ in outcome.advice] == [{"kv_type": "q8_0"}]


def test_what_a_person_has_fixed_is_neither_tried_nor_kept() -> None:
    sweep = Sweep(lambda setup, work: 1e-4 * setup.threads)
    outcome = sweep.run("threads", "single_row_threads", "ubatch_size")
    assert outcome.changes == {}
    assert not {"threads", "single_row_threads", "ubatch_size"} & {name for tried, _ in sweep.tried for name in tried}


def test_what_cannot_be_had_or_is_refused_is_passed_over() -> None:
    def make(changes: Mapping[str, Any]) -> Setup | None:
        return None if changes.get("kv_unified") else setups(changes)

    sweep = Sweep(even, make=make)

    def measure(setup: Setup, works: tuple[Work, ...]) -> Times:
        if setup.flash_attn == "off":
            raise EngineError("no")
        return sweep.machine.measure(setup, works)

    sweep.run(measure=measure)
    tried = [changes for changes, _ in sweep.tried]
    assert {"kv_type": "q8_0"} in tried
    assert {"flash_attn": "off"} not in tried
    assert {"kv_unified": True} not in tried


def test_changes_that_are_no_gain_together_are_dropped() -> None:
    """As when a neighbour was at work while single changes were tried."""

    def pace(setup: Setup, work: Work) -> float:
        both = setup.ubatch_size == 128 and setup.kv_unified
        alone = setup.ubatch_size == 128 or setup.kv_unified
        is_final = len(sweep.tried) >= TRIED
        return 1e-4 * (3.0 if both and is_final else 0.5 if both else 0.8 if alone else 1.0)

    sweep = Sweep(pace)
    outcome = sweep.run()
    assert ({"ubatch_size": 128}, True) in sweep.tried
    assert outcome.changes == {"single_row_threads": 3}
    assert outcome.before == outcome.after


def test_slow_machine_is_not_kept_for_long_and_says_what_was_left() -> None:
    sweep = Sweep(lambda setup, work: 0.5, seconds=60)
    outcome = sweep.run()
    assert outcome.untried > 0
    pilots = sweep.machine.asked[:6]
    assert [type(work) for _, work in pilots] == [Prompt, Decode, Decode] * 2


def test_time_is_about_what_it_may_be() -> None:
    for seconds in (20, 60):
        sweep = Sweep(lambda setup, work: 1e-3, seconds)
        assert sweep.run().untried == 0
        assert sweep.machine.now <= seconds * 1.1


def test_small_context_leaves_room_to_write() -> None:
    machine = ScriptedMachine(even)
    _, works = look(machine.measure, setup(n_ctx=128), 60)
    for work in works.values():
        assert (work.tokens if isinstance(work, Prompt) else work.depth + work.steps + 1) <= 128
