"""A draft model reads along, guesses, and is asked no more where that does not pay."""

from __future__ import annotations

from collections.abc import Sequence as Items

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.cost_model import CostModel
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.draft_model import READ, DraftModel
from localchat.engine.engine import Engine, Usage
from localchat.engine.sequence import Sequence
from localchat.engine.speculation import Speculation
from localchat.lane import Lane

from .scripted import SIZE, Follow, Greedy, ScriptedContext, babble

STAIRS = [(1, 1.0), (2, 1.2), (4, 1.6), (16, 3.0), (64, 12.0)]
CHEAP = [(1, 0.01), (64, 0.02)]
DEAR = [(1, 5.0), (64, 6.0)]


def seldom_right(tokens: Items[int]) -> int:
    """Another mind."""
    return babble(tokens) if len(tokens) % 7 == 0 else ord("?")


def mostly_right(tokens: Items[int]) -> int:
    """Nearly the same mind."""
    return ord("?") if len(tokens) % 7 == 0 else babble(tokens)


class Steady(CostModel):
    """Of a machine that never changes: what a script's steps cost has nothing to do with the time they take."""

    def observe(self, passes: Items[tuple[int, int, int]], seconds: float) -> float:
        return 0.0


class House:
    """An engine whose drafts are another script's; `draft` asserts that it is fed what llama.cpp would forgive."""

    def __init__(
        self,
        follow: Follow | None,
        *,
        costs: list[tuple[int, float]] = CHEAP,
        draft_ctx: int = 256,
        parallel: int = 3,
        streams: bool = True,
    ) -> None:
        cost_model = Steady(STAIRS)
        self.context = ScriptedContext(babble, parallel=parallel, capacity=64, outputs=40)
        self.draft = ScriptedContext(follow or babble, n_ctx=draft_ctx, parallel=parallel, outputs=parallel)
        draft_model = DraftModel(self.draft, Steady(costs), SIZE) if follow else None
        drafter = (
            Speculation(cost_model, self.context.n_ctx, streams=streams, draft_model=draft_model) if follow else None
        )
        self.engine = Engine(
            self.context, budget=64, outputs=40, drafter=drafter, cost_model=cost_model, streams=streams
        )
        self.texts: dict[int, str] = {}

    def submit(self, prompt: str, *, max_tokens: int = 40, lane: Lane = Lane.INTERACTIVE) -> None:
        id = len(self.texts) + 1
        self.texts[id] = ""
        sequence = Sequence(id, list(prompt.encode()), max_tokens, Greedy(), Detokenizer(), lane=lane)
        self.engine.submit(sequence)

    def step(self) -> None:
        deltas, failures = self.engine.step()
        assert not failures
        for delta in deltas:
            self.texts[delta.sequence] += delta.text

    def finish(self) -> Usage:
        while not self.engine.is_idle:
            self.step()
        return self.engine.usage()


def test_model_that_thinks_the_same_is_always_right() -> None:
    house, plain = House(babble), House(None)
    for each in (house, plain):
        each.submit("Once upon a time")
    usage = house.finish()
    plain.finish()
    assert house.texts == plain.texts
    assert usage.accepted == usage.drafted > 30
    assert len(house.context.steps) < len(plain.context.steps) / 5


def test_model_that_thinks_otherwise_is_soon_asked_no_more() -> None:
    house = House(seldom_right)
    house.submit("Once upon a time", max_tokens=200)
    usage = house.finish()
    steps = len(house.draft.steps)
    house.submit("Another time", max_tokens=30)
    house.finish()
    assert 0 < usage.drafted < 60
    assert len(house.draft.steps) - steps < steps


def test_model_that_costs_more_than_it_saves_is_not_asked() -> None:
    house = House(babble, costs=DEAR)
    house.submit("Once upon a time")
    assert house.finish().drafted == 0
    assert house.draft.steps == []


def test_long_prompts_are_read_in_parts() -> None:
    house = House(babble, draft_ctx=256)
    house.submit("word " * 40, max_tokens=40)
    usage = house.finish()
    assert max(count for step in house.draft.steps for _, _, count in step) <= min(READ, 64)
    assert usage.accepted > 20


def test_text_that_outgrows_the_drafts_context_goes_on_without() -> None:
    house, plain = House(babble, draft_ctx=40), House(None)
    for each in (house, plain):
        each.submit("Once upon a time", max_tokens=100)
        each.finish()
    assert house.texts == plain.texts
    assert 0 < max(position for step in house.draft.steps for _, position, _ in step) < 40


def test_failure_of_the_draft_is_no_failure_of_the_answer() -> None:
    house, plain = House(babble), House(None)
    for each in (house, plain):
        each.submit("Once upon a time")
    for _ in range(3):
        house.step()
    house.draft.fail_next()
    house.finish()
    plain.finish()
    failed = len(house.draft.steps)
    house.submit("And again", max_tokens=20)
    house.finish()
    assert house.texts[1] == plain.texts[1]
    assert len(house.draft.steps) == failed


@given(
    requests=st.lists(
        st.tuples(st.text(alphabet="abc ", min_size=1, max_size=60), st.integers(1, 50), st.sampled_from(Lane)),
        min_size=1,
        max_size=7,
    ),
    follow=st.sampled_from([babble, mostly_right, seldom_right]),
    streams=st.booleans(),
    draft_ctx=st.sampled_from([48, 256]),
)
def test_text_is_the_same(requests: list[tuple[str, int, Lane]], follow: Follow, streams: bool, draft_ctx: int) -> None:
    """Whoever comes, goes, waits or gives way."""
    texts = []
    for house in (House(None, streams=streams), House(follow, streams=streams, draft_ctx=draft_ctx)):
        for prompt, max_tokens, lane in requests:
            house.submit(prompt, max_tokens=max_tokens, lane=lane)
            house.step()
        house.finish()
        texts.append(house.texts)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("parallel", [1, 3])
def test_neighbours_guess_in_one_pass(parallel: int) -> None:
    house = House(babble, parallel=parallel)
    for index in range(parallel):
        house.submit("same length " + "abc"[index], max_tokens=30)
    house.finish()
    rows = [{count for _, _, count in step} for step in house.draft.steps if len(step) == parallel]
    assert all(len(counts) == 1 for counts in rows[parallel:])
