"""Sequences of an encoder-decoder: what is written from a source, whoever else is read or written meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.errors import EngineError, ModelLoadFailed
from localchat.llama.context import Context, ContextParams
from localchat.llama.encoder_decoder import EncoderDecoder
from localchat.llama.model import Model
from tiny_models import build
from tiny_models.architectures import ARCHITECTURES, Architecture
from tiny_models.encoders import T5
from tiny_models.size import Size
from tiny_models.weights import Weights

Logits = NDArray[np.float32]

N_CTX = 96
STEPS = 12
SOURCES = (
    "Hello, how are you about the user?",
    "a",
    "They were all in that system when it was said, and nobody who was in it could say so.",
    "a quick one",
)
TOLERANCE = {"relu": 1e-3, "gated-gelu": 0.02}
"""Logits have a standard deviation of 2.5. GELU is a table of 16 bits, in which a small difference may be a step."""


class T5WithRelu(T5):
    """The first T5: no gates, and ReLU."""

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        super().tensors(weights, size, tokens)
        for name in [name for name in weights.tensors if "ffn_gate" in name]:
            del weights.tensors[name]


@dataclass
class Written:
    """Tokens that were likeliest, and the logits they were chosen by."""

    tokens: list[int]
    logits: list[Logits] = field(default_factory=list)


class Writer:
    """Reads sources and writes from them, greedily, as the engine would."""

    def __init__(self, context: EncoderDecoder) -> None:
        self.context = context
        self.written: dict[int, Written] = {}

    def read(self, source: Sequence[int], *slots: int) -> None:
        """Read a source and wait for it."""
        outcome = queue.SimpleQueue[BaseException | None]()
        self.context.read(source, slots, outcome.put)
        assert outcome.get(timeout=60) is None
        self.written |= {slot: Written([self.context.model.start_token]) for slot in slots}

    def step(self, times: int = 1, *slots: int) -> None:
        """Write on in these slots, or in all."""
        for _ in range(times):
            chosen = sorted(slots or self.written)
            self.context.batch.clear()
            for slot in chosen:
                position = len(self.written[slot].tokens) - 1
                self.context.batch.add(slot, position, self.written[slot].tokens[-1:], last=True)
            self.context.decode()
            for slot, row in zip(chosen, self.context.logits(len(chosen)), strict=True):
                self.written[slot].logits.append(row.copy())
                self.written[slot].tokens.append(int(row.argmax()))

    def leave(self, slot: int) -> Written:
        self.context.drop(slot)
        return self.written.pop(slot)


def difference(written: Written, alone: Written) -> float:
    """The greatest difference of logits, as long as the same tokens went before them."""
    differences = []
    for index, (row, other) in enumerate(zip(written.logits, alone.logits, strict=False)):
        if written.tokens[: index + 1] != alone.tokens[: index + 1]:
            break
        differences.append(float(np.abs(row - other).max()))
    return max(differences)


@pytest.fixture(scope="module", params=sorted(TOLERANCE))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with pytest.MonkeyPatch.context() as patch:
        if kind == "relu":
            patch.setitem(ARCHITECTURES, "t5", Architecture(T5WithRelu(), ARCHITECTURES["t5"].vocabulary))
        path = build(tmp_path_factory.mktemp("t5") / f"{kind}.gguf", "t5", seed=3)
    made = Model(path)
    yield made
    made.close()


@pytest.fixture
def writer(model: Model) -> Iterator[Writer]:
    context = EncoderDecoder(model, ContextParams(n_ctx=N_CTX, parallel=4, threads=2))
    yield Writer(context)
    context.close()


@pytest.fixture(scope="module")
def sources(model: Model) -> list[list[int]]:
    vocabulary = model.vocabulary
    return [[*vocabulary.tokenize(text), vocabulary.eos] for text in SOURCES]


@pytest.fixture(scope="module")
def alone(model: Model, sources: list[list[int]]) -> list[Written]:
    """What a plain context writes from each source, alone."""
    params = ContextParams(n_ctx=256, batch_size=128, ubatch_size=128, kv_unified=True, flash_attn="off")
    results = []
    for source in sources:
        context, written = Context(model, params), Written([model.start_token])
        context.encode(source)
        for position in range(STEPS):
            context.batch.clear()
            context.batch.add(0, position, written.tokens[-1:], last=True)
            context.decode()
            written.logits.append(context.logits(1)[0].copy())
            written.tokens.append(int(written.logits[-1].argmax()))
        context.close()
        results.append(written)
    return results


def test_sources_differ_in_what_is_written_from_them(alone: list[Written]) -> None:
    assert len({tuple(written.tokens) for written in alone}) == len(SOURCES)
    assert all(np.isfinite(written.logits).all() for written in alone)


def test_together_as_alone(writer: Writer, sources: list[list[int]], alone: list[Written], kind: str) -> None:
    for slot, source in enumerate(sources):
        writer.read(source, slot)
    writer.step(STEPS)
    for slot, expected in enumerate(alone):
        assert difference(writer.written[slot], expected) < TOLERANCE[kind]


def test_coming_and_leaving_changes_nothing_for_others(
    writer: Writer, sources: list[list[int]], alone: list[Written], kind: str
) -> None:
    writer.read(sources[0], 2)
    writer.step(3)
    writer.read(sources[2], 0)
    writer.step(3)
    writer.read(sources[1], 3)
    writer.step(2)
    results = [(writer.leave(2), alone[0])]
    writer.step(1)
    writer.read(sources[3], 2)
    writer.step(6)
    results += [(writer.leave(slot), alone[index]) for slot, index in ((0, 2), (3, 1), (2, 3))]
    for written, expected in results:
        assert difference(written, expected) < TOLERANCE[kind]


def test_slots_that_share_a_source(writer: Writer, sources: list[list[int]], alone: list[Written], kind: str) -> None:
    writer.read(sources[2], 0, 3)
    writer.read(sources[0], 1)
    writer.step(4, 0, 1)
    writer.step(4)
    writer.leave(0)
    writer.step(4)
    assert difference(writer.written[3], alone[2]) < TOLERANCE[kind]
    assert difference(writer.written[1], alone[0]) < TOLERANCE[kind]


def test_rows_of_logits_are_those_that_asked(writer: Writer, sources: list[list[int]], alone: list[Written]) -> None:
    writer.read(sources[0], 0)
    writer.read(sources[1], 1)
    batch, start = writer.context.batch, writer.context.model.start_token
    batch.clear()
    batch.add(0, 0, [start], last=False)
    batch.add(1, 0, [start], last=True)
    writer.context.decode()
    assert np.abs(writer.context.logits(1)[0] - alone[1].logits[0]).max() < 0.02


def test_longest_source_and_longest_text(writer: Writer) -> None:
    writer.read([5] * N_CTX, 0)
    writer.step(N_CTX)
    assert writer.context.length(0) == N_CTX
    assert np.isfinite(writer.written[0].logits).all()


def test_lengths(writer: Writer, sources: list[list[int]]) -> None:
    writer.read(sources[0], 1, 2)
    writer.step(5, 1)
    assert [writer.context.length(slot) for slot in range(4)] == [0, 5, 0, 0]
    assert writer.context.keep(1, 5)
    assert not writer.context.keep(1, 4)
    writer.context.drop(1)
    assert writer.context.length(1) == 0


def test_what_would_end_the_process_is_refused(writer: Writer, sources: list[list[int]]) -> None:
    with pytest.raises(AssertionError, match="97 tokens for a context of 96"):
        writer.context.read([5] * 97, [0], lambda _error: None)
    writer.read(sources[0], 0)
    with pytest.raises(AssertionError, match="has a source"):
        writer.read(sources[1], 0)


def test_keys_and_values_that_need_flash_attention_are_refused(model: Model) -> None:
    with pytest.raises(ModelLoadFailed, match="--kv-type q8_0 needs flash attention"):
        EncoderDecoder(model, ContextParams(n_ctx=N_CTX, kv_type="q8_0"))


def test_encoding_for_a_sequence_that_has_begun_is_refused(model: Model, sources: list[list[int]]) -> None:
    params = ContextParams(n_ctx=256, batch_size=64, ubatch_size=64, kv_unified=True, flash_attn="off")
    context = Context(model, params)
    context.encode(sources[0])
    context.batch.add(0, 0, [model.start_token], last=True)
    context.decode()
    with pytest.raises(AssertionError, match="have begun"):
        context.encode(sources[0])
    context.drop(0)
    with pytest.raises(AssertionError, match="65 tokens of a source at once"):
        context.encode([5] * 65)
    context.close()


def test_source_that_nobody_waits_for_is_given_up(writer: Writer, sources: list[list[int]]) -> None:
    outcome = queue.SimpleQueue[BaseException | None]()
    test_goes_on = threading.Event()

    def hold(_error: BaseException | None) -> None:
        assert test_goes_on.wait(60)  # on the reader's thread, so that the next source is surely not read yet

    writer.context.read(sources[0], [0], hold)
    writer.context.read(sources[1], [1], outcome.put)
    writer.context.drop(1)
    test_goes_on.set()
    assert isinstance(outcome.get(timeout=60), EngineError)
    assert writer.context.length(1) == 0


def test_cancelled_encoding_raises(model: Model, sources: list[list[int]]) -> None:
    params = ContextParams(n_ctx=256, batch_size=64, ubatch_size=64, kv_unified=True, flash_attn="off")
    context = Context(model, params)
    with pytest.raises(EngineError, match="llama_encode returned 2"):
        context.encode(sources[0], cancelled=lambda: True)
    context.encode(sources[0])
    context.close()
