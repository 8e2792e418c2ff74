"""Sequences that are computed alone: their passes hang on nothing but their own tokens."""

from __future__ import annotations

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.scheduler import ALONE_ROWS
from localchat.engine.sequence import Sequence
from localchat.lane import Lane

from .scripted import Greedy, ScriptedContext, babble

PROMPT = "x" * 150


def sequence(id: int, prompt: str, *, alone: bool = False, lane: Lane = Lane.INTERACTIVE, tokens: int = 5) -> Sequence:
    return Sequence(
        id,
        list(prompt.encode()),
        max_tokens=tokens,
        sampler=Greedy(),
        detokenizer=Detokenizer(),
        alone=alone,
        lane=lane,
    )


def run(context: ScriptedContext, *sequences: Sequence) -> dict[int, list[list[tuple[int, int]]]]:
    """By sequence the passes it was in, each as (position, count) of all that were in it."""
    engine = Engine(context, budget=context.batch.capacity, outputs=context.outputs)
    slots: dict[int, int] = {}
    passes: dict[int, list[list[tuple[int, int]]]] = {one.id: [] for one in sequences}
    for one in sequences:
        engine.submit(one)
    while not engine.is_idle:
        before = len(context.steps)
        engine.step()
        slots |= {one.id: one.slot for one in sequences if one.slot >= 0}
        for step in context.steps[before:]:
            for id, slot in slots.items():
                if any(slot == other for other, _, _ in step):
                    passes[id].append([(position, count) for _, position, count in step])
    engine.usage()
    return passes


def test_passes_are_the_same_in_company() -> None:
    expected = run(ScriptedContext(babble, capacity=128), sequence(0, PROMPT, alone=True))[0]
    assert expected[:3] == [[(0, ALONE_ROWS)], [(64, ALONE_ROWS)], [(128, 22)]]
    company = [sequence(id, "hello" * id, tokens=30) for id in (1, 2)]
    passes = run(ScriptedContext(babble, capacity=128), *company, sequence(3, PROMPT, alone=True))
    assert passes[3] == expected


def test_two_of_them_do_not_share_a_pass() -> None:
    context = ScriptedContext(babble, capacity=128)
    run(context, sequence(0, PROMPT, alone=True), sequence(1, PROMPT, alone=True))
    assert all(len(step) == 1 for step in context.steps)


def test_nothing_is_reused_of_others() -> None:
    context = ScriptedContext(babble, capacity=128)
    engine = Engine(context, budget=128, outputs=context.outputs)
    for id, alone in enumerate((False, True)):
        one = sequence(id, PROMPT, alone=alone)
        engine.submit(one)
        while not engine.is_idle:
            engine.step()
        assert one.cached == 0


def test_it_is_never_preempted() -> None:
    context = ScriptedContext(babble, parallel=1, capacity=128)
    one = sequence(0, "a", alone=True, lane=Lane.BACKGROUND, tokens=40)
    engine = Engine(context, budget=128, outputs=context.outputs)
    engine.submit(one)
    engine.step()
    engine.submit(sequence(1, "b"))
    while not engine.is_idle:
        engine.step()
    assert one.preemptions == 0
