"""How much is guessed: what pays for its rows, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence as Items
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.cost_model import CostModel
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.draft_model import MOST
from localchat.engine.engine import Engine, Usage
from localchat.engine.scheduler import Chunk
from localchat.engine.sequence import Sequence
from localchat.engine.speculation import Speculation

from .scripted import Greedy, ScriptedContext, babble, replies

STAIRS = [(1, 1.0), (2, 1.9), (3, 2.0), (4, 2.0), (5, 2.8), (8, 3.4), (16, 5.5), (64, 20.0)]
"""As on two cores: two rows cost as much as four."""
LINE = [(1, 1.0), (64, 64.0)]
FREE = [(1, 1.0), (64, 1.1)]

N_CTX = 4096
PROMPT = "Say again: one two three four five six seven. "
COPY = "one two three four five six seven." * 5


def decoding(text: str, *, slot: int = 0, said: str = "", max_tokens: int = 100) -> Chunk:
    """The chunk of a sequence that has said something after its prompt."""
    prompt = list(text.encode())
    sequence = Sequence(slot, prompt, max_tokens=max_tokens, sampler=Greedy(), detokenizer=Detokenizer())
    sequence.tokens += said.encode()
    sequence.computed = len(sequence.tokens) - 1
    sequence.slot = slot
    return Chunk(sequence, sequence.computed, 1)


def sure(slot: int = 0, *, max_tokens: int = 100) -> Chunk:
    """One whose guesses have all come true lately."""
    return decoding("x", slot=slot, said="la " * 20, max_tokens=max_tokens)


def lengths(
    stairs: list[tuple[int, float]], chunks: list[Chunk], spare: int = 60, *, streams: bool = False
) -> list[int]:
    """How many tokens are guessed of each."""
    return [len(chunk.draft) for chunk in Speculation(CostModel(stairs), N_CTX, streams=streams).draft(chunks, spare)]


def test_nothing_is_guessed_where_every_row_costs_as_much_as_a_step() -> None:
    assert lengths(LINE, [sure()]) == [0]


def test_rows_that_cost_next_to_nothing_are_all_taken() -> None:
    assert lengths(FREE, [sure()]) == [MOST]


def test_nothing_is_guessed_before_anything_is_measured() -> None:
    assert lengths([], [sure()]) == [0]


def test_stairs_are_climbed_to_the_end_of_a_step() -> None:
    assert lengths([(1, 1.0), (2, 1.9), (4, 1.9), (5, 9.0), (64, 99.0)], [sure()]) == [3]


def test_uncertain_guess_is_made_only_of_rows_that_are_free() -> None:
    unsure = decoding("1abc2 xyz ", said="abc")
    assert lengths(STAIRS, [unsure]) == [0]
    assert lengths([(1, 1.0), (3, 1.01), (4, 9.0), (64, 99.0)], [unsure]) == [2]


def test_likeliest_guesses_of_all_sequences_come_first() -> None:
    unsure = decoding("1abc2 xyz ", said="abc", slot=1)
    stairs = [(1, 1.0), (5, 1.0), (6, 9.0), (64, 99.0)]
    taken = lengths(stairs, [sure(0), unsure, sure(2)])
    assert taken[1] == 0
    assert sum(taken) == 2


def test_guesses_that_slow_others_must_pay_for_it() -> None:
    stairs = [(1, 1.0), (2, 1.3), (16, 1.5), (17, 3.0), (64, 9.0)]
    alone, company = [sure()], [sure(), *(decoding("abcdefgh", slot=slot, said="j") for slot in range(1, 16))]
    assert lengths(stairs, alone) != [0]
    assert lengths(stairs, company) == [0] * 16


def test_all_guess_equally_far_where_each_has_a_stream() -> None:
    unsure = decoding("abcdefgh", slot=1, said="j")
    stairs = [(1, 1.0), (3, 1.1), (6, 1.2), (7, 9.0), (64, 99.0)]
    assert lengths(stairs, [sure(0), unsure, sure(2)], streams=True) == [1, 1, 1]


def test_one_stream_alone_guesses_as_far_as_it_pays() -> None:
    assert lengths(STAIRS, [sure()], streams=True) == lengths(STAIRS, [sure()]) == [MOST]


@pytest.mark.parametrize("spare", [0, 1, 5])
def test_equal_guesses_are_no_more_than_what_is_spare(spare: int) -> None:
    assert lengths(FREE, [sure(0), sure(1)], spare, streams=True) == [spare // 2] * 2


@pytest.mark.parametrize("spare", [0, 1, 5])
def test_no_more_than_what_is_spare(spare: int) -> None:
    assert sum(lengths(FREE, [sure(0), sure(1)], spare)) == spare


@pytest.mark.parametrize(("max_tokens", "length"), [(61, 0), (64, 3), (100, MOST)])
def test_no_more_than_may_still_be_said(max_tokens: int, length: int) -> None:
    assert lengths(FREE, [sure(max_tokens=max_tokens)]) == [length]
    assert lengths(FREE, [sure(max_tokens=max_tokens)], streams=True) == [length]


def test_neighbour_that_is_about_to_end_keeps_nobody_from_guessing() -> None:
    assert lengths(FREE, [sure(0, max_tokens=61), sure(1), sure(2)], streams=True) == [MOST] * 3


def test_neighbour_at_the_end_of_the_context_gets_no_more_rows_than_fit() -> None:
    chunks = [sure(0), sure(1)]
    speculation = Speculation(CostModel(FREE), chunks[0].start + 4)
    assert [len(chunk.draft) for chunk in speculation.draft(chunks, 60)] == [3, 3]


def test_what_one_gains_is_no_reason_to_slow_many() -> None:
    stairs = [(1, 1.0), (16, 1.6), (32, 2.2), (256, 9.0)]
    company = [sure(), *(decoding("abcdefgh", slot=slot, said="j") for slot in range(1, 16))]
    assert lengths(stairs, company, 240, streams=True) == [0] * 16
    assert lengths(stairs, [sure(slot) for slot in range(16)], 240, streams=True) == [MOST] * 16


def test_prompts_get_no_drafts() -> None:
    sequence = Sequence(0, list(b"la la la la la la"), max_tokens=9, sampler=Greedy(), detokenizer=Detokenizer())
    assert lengths(FREE, [Chunk(sequence, 0, 17)]) == [0]


def test_long_prompt_is_indexed_in_parts() -> None:
    chunk = decoding("la " * 3000, said="la")
    speculation = Speculation(CostModel(FREE), N_CTX)
    known = [0]
    while known[-1] < 9000:
        speculation.draft([chunk], 9)
        assert chunk.sequence.lookup is not None
        known.append(len(chunk.sequence.lookup))
    assert all(0 < after - before <= 2050 for before, after in pairwise(known))


def ask(prompt: str, reply: str, stairs: list[tuple[int, float]], prediction: str = "") -> tuple[str, int, Usage]:
    """The text, the steps it took, and the counts."""
    context = ScriptedContext(replies({prompt: reply}))
    cost_model = CostModel(stairs)
    engine = Engine(context, budget=64, drafter=Speculation(cost_model, context.n_ctx), cost_model=cost_model)
    sampler, detokenizer = Greedy(), Detokenizer()
    sequence = Sequence(1, list(prompt.encode()), max_tokens=200, sampler=sampler, detokenizer=detokenizer)
    sequence.prediction = list(prediction.encode())
    engine.submit(sequence)
    text = ""
    while not engine.is_idle:
        deltas, _ = engine.step()
        text += "".join(delta.text for delta in deltas)
    return text, len(context.steps), engine.usage()


def test_copying_takes_far_fewer_steps() -> None:
    text, steps, usage = ask(PROMPT, COPY, FREE)
    assert text == COPY
    assert steps < len(COPY) / 3
    assert usage.drafted >= usage.accepted > len(COPY) / 2


def test_prediction_takes_far_fewer_steps() -> None:
    reply = "A sentence of which the prompt knows nothing, and which never comes again."
    text, steps, _ = ask("Go.", reply, FREE, prediction=reply.replace("knows", "says"))
    assert text == reply
    assert steps < len(reply) / 3


@given(
    prompts=st.lists(st.sampled_from([PROMPT, "la la la", "abcabcabcabc", "Hi"]), min_size=1, max_size=6),
    stairs=st.sampled_from([STAIRS, FREE, LINE]),
    modulus=st.sampled_from([2, 3, 26]),
    streams=st.booleans(),
)
def test_text_is_the_same_with_lookups(
    prompts: list[str], stairs: list[tuple[int, float]], modulus: int, streams: bool
) -> None:
    """A model that often says the same again, but not always."""

    def follow(tokens: Items[int]) -> int:
        return ord("a") + babble(tokens[-4:]) % modulus

    texts = []
    for drafts in (False, True):
        context = ScriptedContext(follow, parallel=3, outputs=20)
        cost_model = CostModel(stairs)
        drafter = Speculation(cost_model, context.n_ctx, streams=streams) if drafts else None
        engine = Engine(context, budget=64, outputs=20, drafter=drafter, cost_model=cost_model, streams=streams)
        for id, prompt in enumerate(prompts):
            sampler, detokenizer = Greedy(), Detokenizer(["aaab"])
            engine.submit(Sequence(id, list(prompt.encode()), 40 + id, sampler, detokenizer))
        said = dict.fromkeys(range(len(prompts)), "")
        while not engine.is_idle:
            for delta in engine.step()[0]:
                said[delta.sequence] += delta.text
        engine.usage()
        texts.append(said)
    assert texts[0] == texts[1]


def tried(speculation: Speculation, off: float, steps: int = 1) -> list[int]:
    """How much is guessed in steps that take so many times what is expected where there are guesses."""
    chunk, counts = sure(), list[int]()
    for _ in range(steps):
        (drafted,) = speculation.draft([chunk], 60)
        counts.append(len(drafted.draft))
        speculation.observe(1.0, off if drafted.draft else 1.0)
    return counts


def idle(speculation: Speculation, steps: int = 1, off: float = 1.0) -> None:
    """Steps in which there is nothing to guess."""
    for _ in range(steps):
        speculation.draft([decoding("abc", said="d")], 60)
        speculation.observe(1.0, off)


@pytest.mark.parametrize("streams", [False, True])
def test_guesses_end_where_their_rows_turn_out_to_be_dear(streams: bool) -> None:
    speculation = Speculation(CostModel(STAIRS), N_CTX, streams=streams)
    idle(speculation)
    counts = tried(speculation, off=5.0, steps=100)
    assert counts[0] == MOST
    assert sum(map(bool, counts)) < 6


def test_guesses_are_tried_again_after_a_while() -> None:
    speculation = Speculation(CostModel(STAIRS), N_CTX)
    idle(speculation)
    tried(speculation, off=5.0, steps=10)
    idle(speculation, 600)
    assert tried(speculation, off=1.0, steps=5) == [MOST] * 5


def test_machine_that_is_slower_for_all_changes_nothing() -> None:
    speculation = Speculation(CostModel(STAIRS), N_CTX)
    idle(speculation, 20, off=4.0)
    assert tried(speculation, off=4.0, steps=20) == [MOST] * 20


def test_sure_guesses_are_tried_where_measured_costs_speak_against_them() -> None:
    speculation = Speculation(CostModel([(1, 1.0), (2, 40.0), (64, 99.0)]), N_CTX)
    counts = tried(speculation, off=1.0, steps=600)
    assert counts.count(3) == sum(map(bool, counts)) == 8
    assert not any(counts[:256])
