"""Prefixes in files: who waits for them, what they spare, and which states are worth one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.sequence import Sequence
from localchat.engine.stored import MIN_GAIN, MIN_SHARED, MIN_WHOLE, MOST_READ, Candidate, Stored
from localchat.outputs import Finish

from .scripted import Greedy, ScriptedContext, babble

Then = Callable[[memoryview | None], None]
LONG = MIN_WHOLE + 100


def text(seed: int, count: int) -> list[int]:
    return [(seed * 31 + at * 7 + at * at) % 256 for at in range(count)]


class Shelf:
    """Files in memory, which come when the test says so."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[Stored, memoryview]] = {}
        self.asked: list[tuple[Stored, Then]] = []

    def stored(self) -> list[Stored]:
        return [Stored(stored.name, stored.tokens, stored.is_shared) for stored, _ in self.files.values()]

    def read(self, stored: Stored, then: Then) -> None:
        self.asked.append((stored, then))

    def bring(self, *, broken: bool = False) -> None:
        stored, then = self.asked.pop(0)
        then(None if broken else self.files[stored.name][1])

    def keep(self, candidate: Candidate, data: memoryview) -> Stored:
        stored = Stored(f"file {len(self.files)}", list(candidate.tokens), candidate.is_shared)
        self.files[stored.name] = stored, data
        return stored


class House:
    """An engine beside a shelf; `restart` leaves of it what is on the shelf."""

    def __init__(self, *, can_cut: bool = True, saved_bytes: int = 1 << 20) -> None:
        self.shelf = Shelf()
        self.can_cut = can_cut
        self.saved_bytes = saved_bytes
        self.restart()

    def restart(self) -> None:
        self.context = ScriptedContext(babble, n_ctx=4096, capacity=512, parallel=4, can_cut=self.can_cut)
        self.engine = Engine(self.context, budget=512, archive=self.shelf, saved_bytes=self.saved_bytes)

    def submit(self, id: int, prompt: list[int]) -> Sequence:
        sequence = Sequence(id, list(prompt), max_tokens=3, sampler=Greedy(), detokenizer=Detokenizer())
        self.engine.submit(sequence)
        return sequence

    def run(self) -> dict[int, Finish]:
        ends: dict[int, Finish] = {}
        while not self.engine.is_idle:
            deltas, failures = self.engine.step()
            assert not failures
            ends |= {delta.sequence: delta.finish for delta in deltas if delta.finish}
        return ends

    def ask(self, prompt: list[int], *, broken: bool = False) -> tuple[list[int], int]:
        """What the model says after a prompt, and how many of its tokens were cached."""
        sequence = self.submit(0, prompt)
        ends = self.run()
        while self.shelf.asked:
            self.shelf.bring(broken=broken)
            ends |= self.run()
        self.engine.usage()  # checks what the slots hold
        return sequence.tokens, ends[0].cached_tokens

    def keep_all(self) -> list[Candidate]:
        kept: list[Candidate] = []
        while candidate := next(self.engine.candidates(), None):
            data = self.engine.state(candidate)
            assert data is not None
            assert self.engine.state_bytes(candidate) >= len(data)
            for gone in self.engine.archived(self.shelf.keep(candidate, data)):
                del self.shelf.files[gone.name]
            kept.append(candidate)
        self.engine.usage()
        return kept


def plain(prompt: list[int]) -> list[int]:
    """What the model says without any memory of others."""
    return House().ask(prompt)[0]


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("saved_bytes", [1 << 20, 0])
def test_a_conversation_goes_on_after_a_restart(can_cut: bool, saved_bytes: int) -> None:
    house = House(can_cut=can_cut, saved_bytes=saved_bytes)
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    more = [*said, *text(2, 30)]
    # The last token that was chosen is in the text, but was never computed.
    assert house.ask(more) == (plain(more), len(said) - 1)


def test_a_slot_that_holds_more_than_the_file_is_used_at_once() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    assert house.ask([*said, 5])[1] == len(said) - 1
    assert not house.shelf.asked


def test_others_go_on_while_a_file_is_read() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    house.submit(1, [*said, 5])
    house.submit(2, text(9, 40))
    assert set(house.run()) == {2}
    house.submit(3, [*said, 6])  # waits for the same file
    assert not house.run()
    assert len(house.shelf.asked) == 1
    house.shelf.bring()
    assert {id: end.cached_tokens for id, end in house.run().items()} == {1: len(said) - 1, 3: len(said) - 1}


def test_one_that_leaves_while_a_file_is_read_leaves_nothing_behind() -> None:
    house = House(saved_bytes=0)
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    house.submit(1, [*said, 5])
    house.run()
    house.engine.abort(1)
    house.shelf.bring()
    assert house.engine.usage().kv_tokens_cached == 0
    assert house.ask([*said, 5])[1] == len(said) - 1


def test_a_file_that_cannot_be_read_is_asked_for_once() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    assert house.ask([*said, 5], broken=True) == (plain([*said, 5]), 0)
    assert house.ask([*said, 5])[1] == len(said)
    assert not house.shelf.asked


def test_a_state_that_the_model_refuses_is_computed_anew() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    house.context.refusals = 2
    assert house.ask([*said, 5]) == (plain([*said, 5]), 0)
    house.ask(text(8, 40))
    house.engine.submit(Sequence(7, [*said, 6], max_tokens=1, sampler=Greedy(), detokenizer=Detokenizer()))
    house.run()
    assert not house.shelf.asked  # it would be refused again


@pytest.mark.parametrize(("more", "is_read"), [(10, True), (-10, False)])
def test_a_file_that_is_nearly_all_beside_the_point_is_not_read(more: int, is_read: bool) -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.restart()
    share = LONG // MOST_READ + more
    assert house.ask([*said[:share], *[said[share] ^ 1] * 50])[1] == share * is_read


@given(st.data())
@pytest.mark.parametrize("can_cut", [True, False])
def test_whatever_is_kept_and_lost_the_text_is_what_it_is_without(can_cut: bool, data: st.DataObject) -> None:
    house = House(can_cut=can_cut, saved_bytes=data.draw(st.sampled_from([0, 8000, 1 << 20]), "bytes"))
    texts = [text(1, LONG)]
    for _ in range(data.draw(st.integers(1, 6), "steps")):
        match data.draw(st.sampled_from(["ask", "ask", "keep", "restart"]), "what"):
            case "keep":
                house.keep_all()
            case "restart":
                house.restart()
            case _:
                begun = data.draw(st.sampled_from(texts), "text")
                share = data.draw(st.integers(len(begun) // 2, len(begun)), "share")
                prompt = [*begun[:share], *text(data.draw(st.integers(2, 5), "seed"), 150)]
                said, cached = house.ask(prompt, broken=data.draw(st.booleans(), "broken"))
                assert said == plain(prompt)
                assert cached < len(prompt)
                texts.append(said)


# What is worth a file.


def test_what_prompts_share_is_kept_before_what_each_has_alone() -> None:
    house, system = House(), text(1, MIN_SHARED)
    for seed in (2, 3):
        house.ask([*system, *text(seed, 10 * LONG // 4)])
    kept = house.keep_all()
    assert [(candidate.is_shared, len(candidate.tokens) >= LONG) for candidate in kept] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert kept[0].tokens[: len(system)] == system


def test_what_prompts_share_needs_no_file_where_a_conversation_gives_it_cheaply() -> None:
    house, system = House(), text(1, MIN_SHARED)
    house.ask([*system, *text(2, LONG)])
    house.keep_all()
    house.ask([*system, *text(3, 50)])
    assert not house.keep_all()


def test_what_one_slot_was_used_for_again_and_again_is_kept() -> None:
    house, system = House(), text(1, MIN_SHARED)
    house.ask([*system, 5])
    assert not house.keep_all()
    house.ask([*system, 6])
    assert [len(candidate.tokens) for candidate in house.keep_all()] == [MIN_SHARED + 3]


@pytest.mark.parametrize("count", [20, MIN_WHOLE - 10])
def test_short_conversations_are_worth_no_file(count: int) -> None:
    house = House()
    house.ask(text(1, count))
    assert not house.keep_all()


def test_a_conversation_that_went_on_takes_the_place_of_its_file() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    more, _ = house.ask([*said, *text(2, MIN_GAIN)])
    house.keep_all()
    assert [stored.tokens for stored, _ in house.shelf.files.values()] == [more[:-1]]


def test_a_little_more_is_not_worth_another_file() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    house.ask([*said, *text(2, MIN_GAIN - 10)])
    assert not house.keep_all()


def test_states_that_cannot_be_cut_are_all_kept() -> None:
    house = House(can_cut=False)
    prompt = text(1, LONG)
    said, _ = house.ask(prompt)
    lengths = {len(candidate.tokens) for candidate in house.keep_all()}
    assert lengths == {LONG - 1, len(said) - 1}  # for another answer, and for the next turn
    house.restart()
    assert house.ask(prompt) == (said, LONG - 1)


def test_files_that_would_have_been_of_use_are_told() -> None:
    house = House()
    said, _ = house.ask(text(1, LONG))
    house.keep_all()
    assert not house.engine.touched()
    house.ask([*said, 5])
    assert [stored.name for stored in house.engine.touched()] == ["file 0"]
    assert not house.engine.touched()
