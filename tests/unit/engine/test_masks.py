"""Masks are prepared while the model decodes, and a grammar that fails ends its sequence alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.sequence import Sequence
from localchat.errors import EngineError

from .scripted import SIZE, Greedy, ScriptedContext, babble


class Watched:
    """Allows everything, and remembers whether it was prepared when asked; fails at the given token."""

    is_awake = True
    is_complete = False

    def __init__(self, fails_at: int | None = None) -> None:
        self.was_prepared: list[bool] = []
        self._is_prepared = False
        self._fails_at = fails_at

    def prepare(self) -> None:
        self._is_prepared = True

    def allowed(self) -> NDArray[np.bool_]:
        if len(self.was_prepared) == self._fails_at:
            raise EngineError("too much")
        self.was_prepared.append(self._is_prepared)
        return np.ones(SIZE, np.bool_)

    def accept(self, token: int) -> None:
        self._is_prepared = False


def sequence(id: int, matcher: Watched) -> Sequence:
    return Sequence(id, list(b"Hello"), max_tokens=5, sampler=Greedy(), detokenizer=Detokenizer(), matcher=matcher)


def test_masks_are_there_when_tokens_are_chosen() -> None:
    context = ScriptedContext(babble)
    engine = Engine(context, budget=context.batch.capacity, outputs=context.outputs)
    matchers = [Watched(), Watched()]
    for id, matcher in enumerate(matchers):
        engine.submit(sequence(id, matcher))
    while not engine.is_idle:
        engine.step()
    assert [matcher.was_prepared for matcher in matchers] == [[True] * 5] * 2


def test_grammar_that_fails_ends_its_sequence_alone() -> None:
    context = ScriptedContext(babble)
    engine = Engine(context, budget=context.batch.capacity, outputs=context.outputs)
    engine.submit(sequence(0, Watched(fails_at=2)))
    engine.submit(sequence(1, Watched()))
    failed, finished = [], []
    while not engine.is_idle:
        deltas, failures = engine.step()
        failed += [failure.sequence for failure in failures]
        finished += [delta.sequence for delta in deltas if delta.finish]
    assert (failed, finished) == ([0], [1])
    engine.usage()  # which checks what the slots hold
