"""Finds the settings with which a model is fastest here: one change at a time, kept where it is surely better."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from msgspec import structs

from localchat.errors import LocalchatError
from localchat.tuning.bench import Measure, sized
from localchat.tuning.candidates import AXES, KINDS, Axis, Candidate, Processors
from localchat.tuning.compare import Comparison, compare
from localchat.tuning.messages import Decode, Prompt, Setup, Times, Work

Setups = Callable[[Mapping[str, Any]], Setup | None]
"""Makes a setup of changed settings; None if it cannot be had."""
Tell = Callable[[Candidate, Comparison], None]

DEPTH = 256
"""Tokens that sequences have before they are timed."""
_STEPS, _PROMPT = 64, 1024
_PILOT_STEPS, _PILOT_PROMPT = 2, 64
_SWEEP, _FINAL = 0.85, 0.15
_TRIALS = 90
"""Pieces of work in a sweep, about: all candidates, both ways, some rounds, the kinds of work that each concerns."""


@dataclass(frozen=True)
class Outcome:
    """What is faster than the defaults, and tokens/s of both by kind of work."""

    changes: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    advice: tuple[tuple[Candidate, Comparison], ...] = ()
    """What is faster too, but not as good."""
    untried: int = 0
    """Candidates for which there was no time."""


@dataclass(frozen=True)
class Tuner:
    """A sweep of about so many seconds over what is not `fixed`."""

    measure: Measure
    setups: Setups
    processors: Processors
    seconds: float
    tell: Tell
    fixed: Collection[str] = ()
    clock: Callable[[], float] = time.perf_counter

    def run(self, default: Setup, works: Mapping[str, Work]) -> Outcome:
        """Try everything. Raises EngineError, ModelLoadFailed where not even the default setup can be measured."""
        found = Outcome({"single_row_threads": default.single_row_threads}, {}, {})
        deadline = self.clock() + self.seconds * _SWEEP
        for number, axis in enumerate(AXES):
            for candidate in self._open(axis, self._setup(found.changes)):
                left = deadline - self.clock()
                if left < 0:
                    found = replace(found, untried=found.untried + 1)
                    continue
                share = left / max(1, self._count(AXES[number:], self._setup(found.changes)))
                found = self._try(found, candidate, works, share)
        return self._confirm(default, found, works)

    def _try(self, found: Outcome, candidate: Candidate, works: Mapping[str, Work], seconds: float) -> Outcome:
        best, setup = self._setup(found.changes), self.setups({**found.changes, **candidate.changes})
        if setup is None:
            return found
        chosen = [works[kind] for kind in candidate.kinds]
        try:
            comparison = self._compare(best, setup, chosen, worth=candidate.worth, seconds=seconds)
        except LocalchatError:  # llama.cpp refuses the candidate
            return found
        self.tell(candidate, comparison)
        if not comparison.is_better:
            return found
        if candidate.is_free:
            return replace(found, changes={**found.changes, **candidate.changes})
        return replace(found, advice=(*found.advice, (candidate, comparison)))

    def _confirm(self, default: Setup, found: Outcome, works: Mapping[str, Work]) -> Outcome:
        """Measure before and after; the defaults again where all changes together turn out to be no gain."""
        comparison = self._compare(
            default,
            self._setup(found.changes),
            list(works.values()),
            worth=1.0,
            seconds=self.seconds * _FINAL,
            stops_early=False,
        )
        before, after = _speeds(works, comparison.first), _speeds(works, comparison.second)
        changes, spared = found.changes, {"single_row_threads"}
        if set(changes) > spared and comparison.gain < 1:
            changes, after = {"single_row_threads": default.single_row_threads}, before
        changes = {name: value for name, value in changes.items() if name not in self.fixed}
        return replace(found, changes=changes, before=before, after=after)

    def _compare(self, first: Setup, second: Setup, works: Sequence[Work], **how: Any) -> Comparison:
        return compare(self._trial(first, works), self._trial(second, works), clock=self.clock, **how)

    def _trial(self, setup: Setup, works: Sequence[Work]) -> Callable[[], Times]:
        return lambda: self.measure(setup, tuple(works))

    def _setup(self, changes: Mapping[str, Any]) -> Setup:
        setup = self.setups(changes)
        assert setup is not None, f"{changes} was measured and cannot be had"
        return setup

    def _open(self, axis: Axis, best: Setup) -> list[Candidate]:
        """What nobody has decided already."""
        return [one for one in axis(best, self.processors) if not one.changes.keys() & set(self.fixed)]

    def _count(self, axes: Sequence[Axis], best: Setup) -> int:
        return sum(len(self._open(axis, best)) for axis in axes)


def look(measure: Measure, setup: Setup, seconds: float) -> tuple[Setup, dict[str, Work]]:
    """The setup with the threads that loading finds for single rows, and as much of each kind of work as fits.

    No sequence has more before it decodes than the prompt that is measured leaves in it, so that nothing else is read.
    """
    shortest = min(_PILOT_PROMPT, setup.n_ctx // 4)
    pilots = _works(setup, shortest, _PILOT_STEPS, shortest)
    measure(setup, pilots)  # a warmer machine answers the second time
    found = measure(setup, pilots)
    each = seconds * _SWEEP / _TRIALS
    reads, alone, together = found.seconds
    prompt = sized(Prompt(min(_PROMPT, setup.n_ctx)), pilots[0], reads, each)
    assert isinstance(prompt, Prompt)
    depth = min(DEPTH, setup.n_ctx // 4, prompt.tokens)
    asked = _works(setup, prompt.tokens, min(_STEPS, setup.n_ctx - depth - 1), depth)
    works = (prompt, sized(asked[1], pilots[1], alone, each), sized(asked[2], pilots[2], together, each))
    return structs.replace(setup, single_row_threads=found.single_row_threads), dict(zip(KINDS, works, strict=True))


def _works(setup: Setup, prompt: int, steps: int, depth: int) -> tuple[Work, Work, Work]:
    return Prompt(prompt), Decode(1, steps, depth), Decode(setup.parallel, steps, depth)


def _speeds(works: Mapping[str, Work], rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    columns = zip(*rounds, strict=True)
    return {kind: _tokens(works[kind]) / median(column) for kind, column in zip(works, columns, strict=True)}


def _tokens(work: Work) -> int:
    return work.tokens if isinstance(work, Prompt) else work.sequences * work.steps
