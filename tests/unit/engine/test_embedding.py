"""Vectors of many calls at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localchat.engine.embedding import Call, EmbeddingEngine
from localchat.errors import EngineError
from localchat.lane import Lane

WIDTH = 3


class Sums:
    """Makes of a text its length, its sum and its first token."""

    def __init__(self, capacity: int = 10, texts: int = 4, fails_at: int | None = None) -> None:
        self.capacity = capacity
        self.texts = texts
        self.passes: list[list[list[int]]] = []
        self._fails_at = fails_at

    def embed_many(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        assert 0 < len(texts) <= self.texts
        assert sum(map(len, texts)) <= self.capacity
        self.passes.append([list(text) for text in texts])
        if any(self._fails_at in text for text in texts):
            raise EngineError("no")
        return np.array([vector(text) for text in texts], np.float32)


def vector(text: Sequence[int]) -> list[float]:
    return [len(text), sum(text), text[0]]


def call(id: int, texts: Sequence[Sequence[int]], lane: Lane = Lane.INTERACTIVE, key: str = "") -> Call:
    return Call(id, texts, np.zeros((len(texts), WIDTH), np.float32), lane=lane, key=key)


def finish(engine: EmbeddingEngine) -> list[Call]:
    done = []
    while not engine.is_idle:
        done += engine.step()
    return done


@given(
    asked=st.lists(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=10), min_size=1, max_size=7), max_size=6),
    background=st.booleans(),
)
def test_every_call_gets_the_vectors_of_its_texts(asked: list[list[list[int]]], background: bool) -> None:
    engine = EmbeddingEngine(Sums())
    calls = [
        call(id, texts, Lane.BACKGROUND if background and id % 2 else Lane.INTERACTIVE, key=str(id % 3))
        for id, texts in enumerate(asked)
    ]
    for one in calls:
        engine.submit(one)
    assert {one.id for one in finish(engine)} == {one.id for one in calls}
    for one in calls:
        assert one.vectors.tolist() == [vector(text) for text in one.texts]


def test_texts_of_several_calls_share_a_pass() -> None:
    embedder = Sums()
    engine = EmbeddingEngine(embedder)
    for id in range(3):
        engine.submit(call(id, [[id, id]]))
    assert len(finish(engine)) == 3
    assert embedder.passes == [[[0, 0], [1, 1], [2, 2]]]


def test_interactive_calls_come_before_the_background() -> None:
    engine = EmbeddingEngine(Sums(texts=1))
    engine.submit(call(0, [[1], [2]], Lane.BACKGROUND))
    engine.submit(call(1, [[3]]))
    assert [one.id for one in finish(engine)] == [1, 0]


def test_aborted_call_is_not_read_any_further() -> None:
    embedder = Sums(texts=1)
    engine = EmbeddingEngine(embedder)
    engine.submit(call(0, [[1], [2], [3]]))
    engine.submit(call(1, [[4]]))
    engine.step()
    engine.abort(0)
    engine.abort(0)
    assert [one.id for one in finish(engine)] == [1]
    assert embedder.passes == [[[1]], [[4]]]


def test_pass_that_fails_ends_its_calls_alone() -> None:
    engine = EmbeddingEngine(Sums(texts=1, fails_at=7))
    engine.submit(call(0, [[1], [7], [2]]))
    engine.submit(call(1, [[4]]))
    done = finish(engine)
    assert {one.id: one.error is not None for one in done} == {0: True, 1: False}
