"""What waits for an answer takes the place of background work, which then goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from operator import mul
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.scheduler import Drafter
from localchat.engine.seam import Sampler
from localchat.engine.sequence import Sequence, Status
from localchat.lane import Lane
from localchat.outputs import Finish, TokenLogprob

from .scripted import END, START, Greedy, ScriptedContext, ScriptedEncoderDecoder, babble, replies
from .test_drafts import Dice, Guesses

BACKGROUND = Lane.BACKGROUND


@dataclass
class House:
    """An engine over a script, and all that it said of each sequence."""

    context: ScriptedContext
    saved_bytes: int = 0
    drafter: Drafter | None = None
    sequences: dict[int, Sequence] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    logprobs: dict[int, list[TokenLogprob]] = field(default_factory=dict)
    finishes: dict[int, Finish] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    """Who said something, in the order in which it came."""

    def __post_init__(self) -> None:
        encoder = self.context if isinstance(self.context, ScriptedEncoderDecoder) else None
        self.engine = Engine(
            self.context,
            budget=self.context.batch.capacity,
            encoder=encoder,
            drafter=self.drafter,
            saved_bytes=self.saved_bytes,
        )

    def submit(
        self,
        prompt: str,
        lane: Lane = Lane.INTERACTIVE,
        *,
        max_tokens: int = 40,
        key: str = "",
        stops: Items[str] = (),
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        source: str | None = None,
        sampler: Sampler | None = None,
    ) -> int:
        id = len(self.sequences) + 1
        tokens = list(prompt.encode()) if source is None else [START]
        sequence = Sequence(
            id,
            tokens,
            max_tokens=min(max_tokens, self.context.n_ctx - len(tokens)),
            sampler=sampler or Greedy(),
            detokenizer=Detokenizer(stops),
            source=None if source is None else list(source.encode()),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            lane=lane,
            key=key,
        )
        self.sequences[id], self.texts[id], self.logprobs[id] = sequence, "", []
        self.engine.submit(sequence)
        return id

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            deltas, failures = self.engine.step()
            assert not failures
            for delta in deltas:
                assert delta.sequence not in self.finishes, "a delta after the end"
                self.order.append(delta.sequence)
                self.texts[delta.sequence] += delta.text
                self.logprobs[delta.sequence] += delta.logprobs or []
                if delta.finish is not None:
                    self.finishes[delta.sequence] = delta.finish

    def run(self) -> None:
        """Step until nothing is left, then look whether the KV cache agrees with the books."""
        steps = 0
        while not self.engine.is_idle:
            self.step()
            steps += 1
            assert steps < 5000, "no end"
        self.engine.usage()

    def preemptions(self, id: int) -> int:
        return self.sequences[id].preemptions

    def runs(self, id: int) -> bool:
        return self.sequences[id].status is Status.RUNNING


def alone(prompt: str, max_tokens: int = 40, n_ctx: int = 256, **options: int | bool) -> House:
    """A house in which nothing disturbed the only sequence, 1."""
    house = House(ScriptedContext(babble, n_ctx=n_ctx))
    house.submit(prompt, max_tokens=max_tokens, **options)  # type: ignore[arg-type]
    house.run()
    return house


# Who gives way.


def test_interactive_sequence_takes_the_slot_of_one_in_the_background() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("slow work", BACKGROUND)
    house.step(5)
    quick = house.submit("quick question", max_tokens=3)
    house.step()
    assert (house.runs(slow), house.runs(quick)) == (False, True)
    assert house.texts[quick] != ""
    house.run()
    assert house.texts[slow] == alone("slow work").texts[1]
    assert house.texts[quick] == alone("quick question", 3).texts[1]


def test_nobody_gives_way_while_a_slot_is_free() -> None:
    house = House(ScriptedContext(babble, parallel=2))
    slow = house.submit("slow work", BACKGROUND)
    house.step(5)
    house.submit("quick question", max_tokens=3)
    house.run()
    assert house.preemptions(slow) == 0


def test_interactive_sequence_does_not_give_way() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    first = house.submit("first")
    house.step(5)
    house.submit("second")
    house.submit("work", BACKGROUND)
    house.run()
    assert house.preemptions(first) == 0
    assert house.order == sorted(house.order)


def test_background_does_not_take_the_place_of_background() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    first = house.submit("first", BACKGROUND)
    house.step(5)
    house.submit("second", BACKGROUND)
    house.run()
    assert house.preemptions(first) == 0


def test_one_with_the_least_to_read_again_gives_way() -> None:
    house = House(ScriptedContext(babble, parallel=3))
    prompts = ["x" * 30, "y" * 10, "z" * 20]
    slow = [house.submit(prompt, BACKGROUND) for prompt in prompts]
    house.step(4)
    house.submit("quick question", max_tokens=3)
    house.step()
    assert [house.runs(id) for id in slow] == [True, False, True]
    house.run()
    assert [house.texts[id] for id in slow] == [alone(prompt).texts[1] for prompt in prompts]


def test_as_many_give_way_as_wait_in_one_step() -> None:
    house = House(ScriptedContext(babble, parallel=4))
    slow = [house.submit(f"slow work {i}", BACKGROUND) for i in range(4)]
    house.step(4)
    quick = [house.submit(f"question {i}", max_tokens=3) for i in range(3)]
    house.step()
    assert all(house.texts[id] for id in quick)
    assert sum(house.runs(id) for id in slow) == 1


def test_nobody_gives_way_to_one_that_would_get_no_row() -> None:
    house = House(ScriptedContext(babble, parallel=2, capacity=4))
    slow = house.submit("slow work", BACKGROUND)
    house.step(6)
    house.submit("x" * 20)
    house.submit("y" * 20)
    house.step(6)  # three rows a step
    assert house.runs(slow)
    house.step()
    assert not house.runs(slow)


def test_one_that_decodes_leaves_its_row_where_that_is_all_there_is() -> None:
    house = House(ScriptedContext(babble, parallel=2, capacity=2))
    house.submit("interactive")
    slow = house.submit("background", BACKGROUND)
    house.step(30)
    assert [sequence.is_decoding for sequence in house.sequences.values()] == [True, True]
    quick = house.submit("?")
    house.step()
    assert (house.runs(slow), house.runs(quick)) == (False, True)
    assert house.texts[quick] != ""


def test_sequence_with_a_source_does_not_give_way() -> None:
    house = House(ScriptedEncoderDecoder(replies({"source": "a long text that is written"}), parallel=1))
    slow = house.submit("", BACKGROUND, source="source")
    house.step(5)
    house.submit("", source="source")
    house.run()
    assert house.preemptions(slow) == 0
    assert house.texts[slow] == "a long text that is written"


# Prompts share a step's rows.


def test_prompts_of_the_background_get_rows_after_all_others() -> None:
    house = House(ScriptedContext(babble, parallel=3, capacity=16))
    house.submit("x" * 100, BACKGROUND)
    house.step(2)
    house.submit("y" * 20)
    house.submit("z" * 10)
    house.context.steps.clear()
    house.step(3)
    assert [sorted(count for _, _, count in step) for step in house.context.steps] == [
        [16],
        [2, 4, 10],
        [1, 1, 14],
    ] or (house.context.steps)
    assert house.texts[2] != ""
    assert house.texts[3] != ""


# Nothing lost, nothing twice.


@given(
    arrivals=st.lists(
        st.tuples(
            st.builds(mul, st.text(alphabet="abcdef", min_size=1, max_size=6), st.sampled_from([1, 2, 10, 70])),
            st.sampled_from(list(Lane)),
            st.sampled_from(["", "a", "b"]),
            st.integers(0, 12),
        ),
        min_size=1,
        max_size=10,
    ),
    parallel=st.integers(1, 3),
    extra=st.integers(0, 300),
    can_cut=st.booleans(),
    saved_bytes=st.sampled_from([0, 1500, 1 << 20]),
)
def test_each_says_the_same_as_undisturbed(
    arrivals: list[tuple[str, Lane, str, int]], parallel: int, extra: int, can_cut: bool, saved_bytes: int
) -> None:
    context = ScriptedContext(babble, n_ctx=512, parallel=parallel, capacity=parallel + extra, can_cut=can_cut)
    house = House(context, saved_bytes)
    for prompt, lane, key, gap in arrivals:
        house.submit(prompt, lane, key=key, logprobs=0)
        for _ in range(gap):
            if not house.engine.is_idle:
                house.step()
    house.run()
    for id, (prompt, *_) in enumerate(arrivals, start=1):
        undisturbed = alone(prompt, logprobs=0, n_ctx=512)
        assert house.texts[id] == undisturbed.texts[1]
        assert house.logprobs[id] == undisturbed.logprobs[1]
        assert house.finishes[id].completion_tokens == 40
        assert house.finishes[id].prompt_tokens == len(prompt)
        assert house.finishes[id].logprob_sum == pytest.approx(undisturbed.finishes[1].logprob_sum)


@given(
    steps=st.integers(1, 30), seed=st.integers(0, 99), guesses=st.booleans(), saved_bytes=st.sampled_from([0, 1 << 20])
)
def test_dice_fall_alike(steps: int, seed: int, guesses: bool, saved_bytes: int) -> None:
    prompt = "work " * 60
    undisturbed = House(ScriptedContext(babble, n_ctx=512))
    undisturbed.submit(prompt, sampler=Dice(seed))
    undisturbed.run()
    context = ScriptedContext(babble, parallel=1, n_ctx=512, capacity=100)
    house = House(context, saved_bytes, Guesses(babble, Random(seed)) if guesses else None)
    slow = house.submit(prompt, BACKGROUND, sampler=Dice(seed))
    house.step(steps)
    house.submit("?", max_tokens=2)
    house.run()
    assert house.texts[slow] == undisturbed.texts[1]
    assert house.finishes[slow].completion_tokens == undisturbed.finishes[1].completion_tokens


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 11])
def test_prompt_logprobs_come_once(steps: int) -> None:
    prompt = "a prompt of more than two steps"
    house = House(ScriptedContext(babble, parallel=1, capacity=12))
    slow = house.submit(prompt, BACKGROUND, max_tokens=10, logprobs=1, prompt_logprobs=True)
    house.step(steps)
    house.submit("?", max_tokens=2)
    house.run()
    assert house.preemptions(slow) == 1
    assert house.logprobs[slow] == alone(prompt, 10, logprobs=1, prompt_logprobs=True).logprobs[1]


def test_sampler_hears_of_every_token_once() -> None:
    house = House(ScriptedContext(replies({"work": "words and more words"}), parallel=1))
    slow = house.submit("work", BACKGROUND)
    house.step(6)
    house.submit("?", max_tokens=2)
    house.run()
    sampler = house.sequences[slow].sampler
    assert isinstance(sampler, Greedy)
    assert sampler.seen == [*b"words and more words", END]


@pytest.mark.parametrize("steps", range(1, 12))
def test_character_in_pieces_and_held_text_survive(steps: int) -> None:
    house = House(ScriptedContext(replies({"work": "so 👩‍🚀#! STO"}), parallel=1))
    slow = house.submit("work", BACKGROUND, stops=["STOP", "##"])
    house.step(steps)
    house.submit("?", max_tokens=2)
    house.run()
    assert (house.texts[slow], house.preemptions(slow)) == ("so 👩‍🚀#! STO", 1)


def test_what_it_finds_of_itself_does_not_count_as_cached() -> None:
    house = House(ScriptedContext(babble, parallel=2))
    slow = house.submit("the slow work of a long night", BACKGROUND)
    other = house.submit("the slow work of other nights", max_tokens=10)
    house.step(3)
    quick = house.submit("?", max_tokens=2)
    house.run()
    assert house.preemptions(slow) == 1
    assert [house.finishes[id].cached_tokens for id in (slow, other, quick)] == [0, 0, 0]


def test_what_it_found_first_still_counts_as_cached() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    house.submit("the slow work of a long night", max_tokens=2)
    house.run()
    slow = house.submit("the slow work of a long night, again", BACKGROUND)
    house.step(4)
    house.submit("?", max_tokens=2)
    house.run()
    assert house.preemptions(slow) == 1
    assert house.finishes[slow].cached_tokens == len("the slow work of a long night")


def test_what_is_written_is_read_again_in_one_step() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("work", BACKGROUND)
    house.step(10)
    quick = house.submit("?", max_tokens=1)
    house.step()
    assert quick in house.finishes
    house.step()
    assert house.context.steps[-1] == [(0, 0, 14)]
    assert len(house.texts[slow]) == 11


@pytest.mark.parametrize("can_cut", [True, False])
def test_what_was_computed_is_saved_and_not_read_again(can_cut: bool) -> None:
    context = ScriptedContext(babble, parallel=1, n_ctx=512, capacity=512, can_cut=can_cut)
    house = House(context, saved_bytes=1 << 20)
    slow = house.submit("work " * 60, BACKGROUND)
    house.step(10)
    quick = house.submit("?", max_tokens=1)
    house.step()
    assert quick in house.finishes
    house.step()
    assert context.steps[-1] == [(0, len(house.sequences[slow].tokens) - 2, 1)]
    house.run()
    assert house.texts[slow] == alone("work " * 60, n_ctx=512).texts[1]
    assert house.finishes[slow].cached_tokens == 0


def test_interactive_prompt_does_not_wait_for_what_the_background_shares_with_it() -> None:
    house = House(ScriptedContext(babble, parallel=2, n_ctx=512, capacity=100))
    system = "the words of a long system prompt, " * 10
    slow = house.submit(system + "slow", BACKGROUND)
    house.step()
    quick = house.submit(system + "quick", max_tokens=2)
    house.step(4)
    assert house.texts[quick] != ""
    assert house.texts[slow] == ""
    house.run()
    assert house.texts[slow] == alone(system + "slow", n_ctx=512).texts[1]


# It gets on.


def test_it_is_next_in_its_lane() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("slow", BACKGROUND, key="a")
    later = house.submit("later", BACKGROUND, key="b")
    house.step(5)
    house.submit("?", max_tokens=2)
    house.run()
    assert house.preemptions(slow) == 1
    assert house.order.index(later) > max(i for i, id in enumerate(house.order) if id == slow)


def test_it_gets_on_before_it_gives_way_again() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("slow", BACKGROUND, max_tokens=100)
    house.step()
    written: list[int] = []
    while slow not in house.finishes:
        preemptions = house.preemptions(slow)
        house.submit("?", max_tokens=2)
        while house.preemptions(slow) == preemptions and slow not in house.finishes:
            house.step()
        written.append(house.sequences[slow].output_length)
        while slow not in house.finishes and not house.runs(slow):
            house.step()
    assert written == [1, 17, 33, 49, 65, 81, 97, 100]
    assert house.texts[slow] == alone("slow", 100).texts[1]


def test_background_has_every_slot_that_nobody_else_wants() -> None:
    house = House(ScriptedContext(babble, parallel=4))
    slow = [house.submit(f"slow {i}", BACKGROUND) for i in range(3)]
    house.submit("?", max_tokens=2)
    house.step()
    assert all(house.runs(id) for id in slow)


# Aborts.


@given(
    arrivals=st.lists(
        st.tuples(st.text(alphabet="ab", min_size=1, max_size=30), st.sampled_from(list(Lane)), st.integers(0, 8)),
        min_size=1,
        max_size=10,
    ),
    leaves=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=6),
)
def test_whoever_leaves_and_whenever_the_others_go_on(
    arrivals: list[tuple[str, Lane, int]], leaves: list[tuple[int, int]]
) -> None:
    house = House(ScriptedContext(babble, parallel=2, capacity=8))
    due = dict(leaves)
    steps = 0
    for prompt, lane, gap in [*arrivals, ("", Lane.INTERACTIVE, 60)]:
        if prompt:
            house.submit(prompt, lane, max_tokens=20)
        for _ in range(gap):
            house.engine.abort(due.get(steps, 0))
            if not house.engine.is_idle:
                house.step()
            steps += 1
    house.run()
    for id in house.finishes:
        assert house.texts[id] == alone(arrivals[id - 1][0], 20).texts[1]
    assert set(house.sequences) - set(house.finishes) <= set(due.values())


def test_abort_of_one_set_aside_leaves_nothing() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("slow", BACKGROUND)
    house.step(5)
    quick = house.submit("?", max_tokens=5)
    house.step()
    house.engine.abort(slow)
    assert house.engine.load(BACKGROUND, "") == 0
    house.run()
    assert slow not in house.finishes
    assert house.texts[quick] == alone("?", 5).texts[1]


def test_abort_of_the_one_that_took_its_place_brings_it_back() -> None:
    house = House(ScriptedContext(babble, parallel=1))
    slow = house.submit("slow", BACKGROUND)
    house.step(5)
    quick = house.submit("?")
    house.step(2)
    house.engine.abort(quick)
    house.run()
    assert house.texts[slow] == alone("slow").texts[1]
