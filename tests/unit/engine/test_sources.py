"""Sequences that are written from a source: read once, before anything else, and beside those that write."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.sequence import Sequence
from localchat.errors import EngineError
from localchat.outputs import Finish

from .scripted import START, Greedy, ScriptedEncoderDecoder, babble, replies


class Desk:
    """An engine over a scripted encoder-decoder; what comes from the encoder waits until `step`."""

    def __init__(self, context: ScriptedEncoderDecoder) -> None:
        self.context = context
        self.inbox: list[Callable[[], None]] = []
        self.engine = Engine(
            context, budget=context.batch.capacity, outputs=context.outputs, encoder=context, post=self.inbox.append
        )
        self.texts: dict[int, str] = {}
        self.finishes: dict[int, Finish] = {}
        self.errors: dict[int, EngineError] = {}

    def submit(self, id: int, source: str, *, max_tokens: int = 8) -> Sequence:
        sequence = Sequence(
            id,
            [START],
            max_tokens=max_tokens,
            sampler=Greedy(),
            detokenizer=Detokenizer(),
            source=list(source.encode()),
        )
        self.texts[id] = ""
        self.engine.submit(sequence)
        return sequence

    def step(self) -> None:
        """Do what came in, then step."""
        jobs, self.inbox[:] = self.inbox[:], []
        for job in jobs:
            job()
        deltas, failures = self.engine.step()
        for delta in deltas:
            self.texts[delta.sequence] += delta.text
            if delta.finish is not None:
                self.finishes[delta.sequence] = delta.finish
        self.errors |= {failure.sequence: failure.error for failure in failures}

    def run(self) -> dict[int, str]:
        """Step until nothing is left, then look whether the context agrees with the books."""
        while self.inbox or not self.engine.is_idle:
            self.step()
        self.engine.usage()
        assert not self.context.sources, "a source that nobody is written from"
        return self.texts


def alone(source: str, *, max_tokens: int = 8) -> str:
    desk = Desk(ScriptedEncoderDecoder(babble))
    desk.submit(1, source, max_tokens=max_tokens)
    return desk.run()[1]


def test_text_follows_from_the_source() -> None:
    desk = Desk(ScriptedEncoderDecoder(replies({"translate: Hallo": "Hello", "translate: Welt": "world"})))
    desk.submit(1, "translate: Hallo")
    desk.submit(2, "translate: Welt")
    assert desk.run() == {1: "Hello", 2: "world"}


def test_source_is_what_the_prompt_tokens_count() -> None:
    desk = Desk(ScriptedEncoderDecoder(replies({"Hallo": "Hello"})))
    sequence = desk.submit(1, "Hallo")
    assert sequence.prompt_tokens == 5
    desk.run()
    finish = desk.finishes[1]
    assert (finish.prompt_tokens, finish.cached_tokens, finish.completion_tokens) == (5, 0, 6)


def test_length_ends_at_max_tokens() -> None:
    assert len(alone("Hallo", max_tokens=5)) == 5


def test_same_source_is_read_once_for_all_that_wait() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble))
    for id, source in enumerate(["Hallo", "Welt", "Hallo", "Hallo"]):
        desk.submit(id, source)
    texts = desk.run()
    assert desk.context.reads == [([0, 2, 3], "Hallo"), ([1], "Welt")]
    assert texts == {id: alone(source) for id, source in enumerate(["Hallo", "Welt", "Hallo", "Hallo"])}


def test_source_is_read_again_for_the_next_request() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble))
    for id in range(2):
        desk.submit(id, "Hallo")
        desk.run()
    assert [source for _, source in desk.context.reads] == ["Hallo", "Hallo"]


def test_others_go_on_while_a_source_is_read() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False))
    desk.submit(1, "Hallo")
    desk.step()
    desk.context.finish_reading()
    desk.step()
    desk.submit(2, "Welt")
    for _ in range(3):
        desk.step()
    assert desk.texts == {1: alone("Hallo")[:4], 2: ""}
    desk.context.finish_reading()
    assert desk.run() == {1: alone("Hallo"), 2: alone("Welt")}


def test_engine_is_idle_while_a_source_is_read_and_nobody_writes() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False))
    desk.submit(1, "Hallo")
    assert not desk.engine.is_idle
    desk.step()
    assert desk.engine.is_idle
    assert desk.engine.usage().running == 1
    desk.context.finish_reading()
    assert desk.run() == {1: alone("Hallo")}


def test_sources_are_read_one_after_the_other() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False))
    for id, source in enumerate(["a", "b", "c"]):
        desk.submit(id, source)
    for source in ("a", "b", "c"):
        desk.step()
        assert desk.context.reads[-1][1] == source
        desk.context.finish_reading()
    assert desk.run() == {0: alone("a"), 1: alone("b"), 2: alone("c")}


def test_more_sources_than_slots_wait() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, parallel=2))
    sources = [f"source {id}" for id in range(5)]
    for id, source in enumerate(sources):
        desk.submit(id, source)
    assert desk.run() == {id: alone(source) for id, source in enumerate(sources)}


def test_abort_while_the_source_is_read_frees_the_slot() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False, parallel=1))
    desk.submit(1, "Hallo")
    desk.step()
    desk.engine.abort(1)
    desk.submit(2, "Welt")
    desk.step()
    assert desk.context.reads == [([0], "Hallo")]  # the reader is told to stop, and the next source waits until it has
    desk.context.finish_reading(EngineError("given up"))
    desk.step()
    desk.context.finish_reading()
    assert desk.run() == {1: "", 2: alone("Welt")}
    assert not desk.errors


def test_abort_of_one_leaves_the_others_their_source() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble))
    for id in range(3):
        desk.submit(id, "Hallo")
    desk.step()
    desk.step()
    desk.engine.abort(1)
    texts = desk.run()
    assert (texts[0], texts[2]) == (alone("Hallo"), alone("Hallo"))
    assert len(desk.context.reads) == 1


def test_abort_before_a_slot_is_free() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, parallel=1))
    desk.submit(1, "Hallo")
    desk.submit(2, "Welt")
    desk.step()
    desk.engine.abort(2)
    assert desk.run() == {1: alone("Hallo"), 2: ""}


def test_source_that_cannot_be_read_fails_those_who_wait_for_it() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False))
    for id, source in enumerate(["Hallo", "Welt", "Hallo"]):
        desk.submit(id, source)
    desk.step()
    desk.context.finish_reading(EngineError("no memory"))
    desk.step()
    assert set(desk.errors) == {0, 2}
    desk.context.finish_reading()
    assert desk.run()[1] == alone("Welt")


def test_failed_decode_fails_its_sequences_and_the_next_ones_are_right() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble))
    desk.submit(1, "Hallo")
    desk.step()
    desk.context.fail_next()
    desk.step()
    assert set(desk.errors) == {1}
    desk.submit(2, "Hallo")
    assert desk.run()[2] == alone("Hallo")


def test_fault_of_the_reader_is_not_taken_for_a_failed_request() -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False))
    desk.submit(1, "Hallo")
    desk.step()
    desk.context.finish_reading(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        desk.step()


@given(st.data())
def test_any_order_of_coming_reading_and_leaving_gives_each_its_own_text(data: st.DataObject) -> None:
    desk = Desk(ScriptedEncoderDecoder(babble, reads_at_once=False, parallel=3))
    sources: dict[int, str] = {}
    aborted: set[int] = set()
    for _ in range(data.draw(st.integers(1, 40))):
        act = data.draw(st.sampled_from(["submit", "abort", "read", "step", "step"]))
        if act == "submit":
            id = len(sources)
            sources[id] = data.draw(st.sampled_from(["Hallo", "Welt", "a long source indeed"]))
            desk.submit(id, sources[id])
        elif act == "abort" and sources:
            id = data.draw(st.sampled_from(sorted(sources)))
            desk.engine.abort(id)
            aborted.add(id)
        elif act == "read" and desk.context.is_reading:
            desk.context.finish_reading()
        elif not desk.engine.is_idle or desk.inbox:
            desk.step()
    while desk.context.is_reading or desk.inbox or not desk.engine.is_idle:
        if desk.context.is_reading:
            desk.context.finish_reading()
        desk.step()
    desk.run()
    for id, source in sources.items():
        assert desk.texts[id] == alone(source) or (id in aborted and alone(source).startswith(desk.texts[id]))
