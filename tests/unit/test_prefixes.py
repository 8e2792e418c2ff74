"""What is reused of other sequences gives the logits that are computed without it, whatever the memory is like."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.holes import Filler
from localchat.engine.runner import Runner
from localchat.engine.scheduler import Chunk
from localchat.engine.seam import Logits
from localchat.engine.sequence import Sequence
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from tiny_models import FORGETFUL, build

TOLERANCE = 2e-3
"""Logits have a standard deviation of 2.5, and keys and values are kept in 32 bits."""
SAVED = 64 << 20


@dataclass
class Witness:
    """Takes the likeliest token, and remembers the first logits it saw."""

    first: Logits | None = None
    seen: list[int] = field(default_factory=list)

    def sample(self, logits: Logits, allowed: NDArray[np.bool_] | None = None) -> int:
        if self.first is None:
            self.first = logits.copy()
        return int(logits.argmax())

    def accept(self, tokens: object) -> None:
        pass


@pytest.fixture(scope="module", params=sorted({"llama", *FORGETFUL}))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("prefixes") / "tiny.gguf"
    made = Model(build(path, request.param, layers=4))
    yield made
    made.close()


@pytest.fixture(params=[False, True], ids=["streams", "unified"])
def context(request: pytest.FixtureRequest, model: Model) -> Iterator[Context]:
    made = Context(
        model, ContextParams(n_ctx=512, parallel=2, kv_unified=request.param, kv_type="f32", flash_attn="off")
    )
    yield made
    made.close()


def words(context: Context, seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(5, context.vocabulary.size), k=count)


def ask(context: Context, *prompts: list[int], engine: Engine | None = None) -> tuple[list[Logits], list[int]]:
    """Run prompts together; the logits after each, and how many of its tokens were cached."""
    engine = engine or Engine(context, budget=context.batch.capacity)
    witnesses = [Witness() for _ in prompts]
    cached: dict[int, int] = {}
    for id, (prompt, witness) in enumerate(zip(prompts, witnesses, strict=True)):
        engine.submit(Sequence(id, list(prompt), max_tokens=3, sampler=witness, detokenizer=Detokenizer()))
    while not engine.is_idle:
        deltas, failures = engine.step()
        assert not failures
        cached |= {delta.sequence: delta.finish.cached_tokens for delta in deltas if delta.finish}
    engine.usage()  # checks that the memory holds what the slots say it does
    logits = [witness.first for witness in witnesses if witness.first is not None]
    return logits, [cached[id] for id in range(len(prompts))]


def expected(context: Context, prompts: list[list[int]]) -> list[Logits]:
    """The logits of an engine that remembers nothing."""
    rows = []
    for prompt in prompts:
        for slot in range(context.parallel):
            context.drop(slot)
        rows += ask(context, prompt)[0]
    for slot in range(context.parallel):
        context.drop(slot)
    return rows


def test_prefix_of_those_who_come_together(context: Context) -> None:
    system = words(context, 0, 200)
    prompts = [system + words(context, seed, 30) for seed in (1, 2, 3, 4)]
    rows = expected(context, prompts)
    engine = Engine(context, budget=context.batch.capacity, saved_bytes=SAVED)
    logits, cached = ask(context, *prompts, engine=engine)
    np.testing.assert_allclose(logits, rows, atol=TOLERANCE)
    assert cached == [0, 200, 200, 200]


def test_prefix_of_those_who_come_one_after_the_other(context: Context) -> None:
    system = words(context, 0, 200)
    prompts = [system + words(context, seed, 100) for seed in (1, 2, 3, 4)]
    rows = expected(context, prompts)
    engine = Engine(context, budget=context.batch.capacity, saved_bytes=SAVED)
    found = [ask(context, prompt, engine=engine) for prompt in prompts]
    np.testing.assert_allclose([logits[0] for logits, _ in found], rows, atol=TOLERANCE)
    # Without a cut, the second prompt shows where the third will part.
    assert [cached for _, [cached] in found] == ([0, 200, 200, 200] if context.can_cut else [0, 0, 200, 200])


def test_prompt_that_is_asked_again_after_others(context: Context) -> None:
    prompts = [words(context, seed, 300) for seed in (1, 2, 3)]
    rows = expected(context, prompts)
    engine = Engine(context, budget=context.batch.capacity, saved_bytes=SAVED)
    for prompt in prompts:
        ask(context, prompt, engine=engine)
    logits, [cached] = ask(context, prompts[0], engine=engine)
    np.testing.assert_allclose(logits[0], rows[0], atol=TOLERANCE)
    assert cached == 299


def test_prompt_without_memory_for_states_is_right_all_the_same(context: Context) -> None:
    system = words(context, 0, 200)
    prompts = [system + words(context, seed, 30) for seed in (1, 2, 3, 4)]
    rows = expected(context, prompts)
    engine = Engine(context, budget=context.batch.capacity)
    for prompt, row in zip(prompts, rows, strict=True):
        logits, _ = ask(context, prompt, engine=engine)
        np.testing.assert_allclose(logits[0], row, atol=TOLERANCE)


def test_rows_that_fill_a_gap_change_nobodys_logits(tmp_path: Path) -> None:
    model = Model(build(tmp_path / "tiny.gguf", "llama", layers=4))
    context = Context(model, ContextParams(n_ctx=512, parallel=3, kv_type="f32", flash_attn="off"))

    def run(*chunks: Chunk, fillers: tuple[Filler, ...] = ()) -> NDArray[np.float32]:
        rows = [row for row in Runner(context).run(chunks, fillers) if row is not None]
        return np.concatenate(rows)

    def chunk(slot: int, start: int, count: int) -> Chunk:
        sequence = Sequence(slot, words(context, slot, start + count), 9, Witness(), Detokenizer())
        sequence.slot = slot
        return Chunk(sequence, start, count)

    run(*(chunk(slot, 0, 20 + slot) for slot in range(3)))
    pair = (chunk(0, 20, 1), chunk(2, 22, 1))
    plain = run(*pair)
    for slot, length in ((0, 20), (2, 22)):
        context.keep(slot, length)
    filled = run(*pair, fillers=(Filler(1, 21),))
    assert np.abs(filled - plain).max() < TOLERANCE
    assert [context.length(slot) for slot in range(3)] == [21, 21, 23]
    after = run(chunk(1, 21, 1))
    context.drop(1)
    assert np.abs(after - run(chunk(1, 0, 22))).max() < TOLERANCE, "what stood in the gap goes on as if nothing was"
    context.close()
    model.close()
