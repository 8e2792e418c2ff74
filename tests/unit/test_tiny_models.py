"""Tiny models behave in llama.cpp as real ones of their architecture do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.hardware import read_header
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.sampling_params import SamplingParams
from localchat.worker.client import WorkerClient
from localchat.worker.messages import Load, Submit
from tiny_models import ARCHITECTURES, DECODERS, FORGETFUL, RECURRENT, build

Logits = NDArray[np.float32]

TEXT = "Hello, how are you about the user?"
OTHER = "They were all in that system when it was said."
TOLERANCE = 0.02
"""Logits have a standard deviation of 2.5; keys and values are kept in 16 bits, and so is the table for GELU."""

CUTTABLE = sorted(DECODERS.keys() - FORGETFUL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture
def context(request: pytest.FixtureRequest, folder: Path) -> Iterator[Context]:
    """Two sequences over a model of the architecture that the test names."""
    path = folder / f"{request.param}.gguf"
    model = Model(path if path.exists() else build(path, request.param))
    made = Context(model, ContextParams(n_ctx=128, parallel=2))
    yield made
    made.close()
    model.close()


each_decoder = pytest.mark.parametrize("context", sorted(DECODERS), indirect=True)
each_cuttable = pytest.mark.parametrize("context", CUTTABLE, indirect=True)


def tokens_of(context: Context, text: str = TEXT) -> list[int]:
    return context.vocabulary.tokenize(text, add_bos=True)


def feed(context: Context, *parts: tuple[int, int, list[int]]) -> list[Logits]:
    """Decode (sequence, position, tokens) in one batch; the logits after each part's last token."""
    context.batch.clear()
    for sequence, position, tokens in parts:
        context.batch.add(sequence, position, tokens, last=True)
    context.decode()
    return [row.copy() for row in context.logits(len(parts))]


def greedy(context: Context, count: int) -> list[int]:
    """The likeliest continuation of TEXT."""
    context.drop(0)
    tokens = tokens_of(context)
    prompt = len(tokens)
    (row,) = feed(context, (0, 0, tokens))
    while len(tokens) < prompt + count:
        tokens.append(int(row.argmax()))
        (row,) = feed(context, (0, len(tokens) - 1, tokens[-1:]))
    return tokens[prompt:]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_header_says_what_the_model_is(tmp_path: Path, architecture: str) -> None:
    path = build(tmp_path / "tiny.gguf", architecture, name="Some Name", context_length=96)
    header = read_header(path)
    assert (header.architecture, header.name, header.quant) == (architecture, "Some Name", "F32")
    assert (header.context_length, header.block_count, header.embedding_length) == (96, 2, 64)
    assert header.vocab_size > 150
    assert header.eos_id is not None
    assert header.is_recurrent == (architecture in RECURRENT)
    assert (header.is_encoder_decoder, header.is_encoder_only) == (architecture == "t5", architecture == "bert")
    assert path.stat().st_size < 2 << 20


def test_there_are_many_architectures() -> None:
    assert len(DECODERS) >= 12


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        build(tmp_path / f"{index}.gguf", "mpt", seed=seed).read_bytes() for index, seed in enumerate((7, 7, 8))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("architecture", ["llama", "mpt"])
def test_special_tokens_are_single_tokens_and_the_template_is_in_the_file(tmp_path: Path, architecture: str) -> None:
    marker, template = "<|prompter|>", "{{ messages[0].content }}"
    path = build(tmp_path / "tiny.gguf", architecture, special_tokens=["</s>", marker], chat_template=template)
    assert read_header(path).chat_template == template
    model = Model(path)
    assert model.vocabulary.tokenize(marker, parse_special=True) == [model.vocabulary.size - 1]
    assert len(model.vocabulary.tokenize(marker)) > 1, "text of a user is not read as special"
    model.close()


@pytest.mark.parametrize("size", [(64, 2), (256, 3)])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_size_loads(tmp_path: Path, architecture: str, size: tuple[int, int]) -> None:
    width, layers = size
    model = Model(build(tmp_path / "tiny.gguf", architecture, width=width, layers=layers))
    assert model.description.split()[0] == architecture
    model.close()


@each_decoder
def test_text_survives_the_vocabulary(context: Context) -> None:
    pieces = b"".join(map(context.vocabulary.piece, tokens_of(context, "Hä? {x}\n\tis 42€")))
    assert pieces.decode().removeprefix(" ") == "Hä? {x}\n\tis 42€"


@each_decoder
def test_logits_are_finite_and_decided(context: Context) -> None:
    (row,) = feed(context, (0, 0, tokens_of(context)))
    assert np.isfinite(row).all()
    assert 1 < row.std() < 5


@each_decoder
def test_two_sequences_in_one_batch_do_not_touch(context: Context) -> None:
    first, second = tokens_of(context), tokens_of(context, OTHER)
    (alone,) = feed(context, (0, 0, first))
    (other_alone,) = feed(context, (1, 0, second))
    context.drop(0)
    context.drop(1)
    together, other_together = feed(context, (0, 0, first), (1, 0, second))
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    np.testing.assert_allclose(other_together, other_alone, atol=TOLERANCE)
    assert np.abs(alone - other_alone).max() > 1, "other words lead elsewhere"


@each_decoder
def test_every_token_of_the_past_has_its_say(context: Context) -> None:
    tokens = tokens_of(context)
    (row,) = feed(context, (0, 0, tokens))
    (changed,) = feed(context, (1, 0, [tokens[0], tokens[1] + 1, *tokens[2:]]))
    assert np.abs(row - changed).max() > 0.05


@each_decoder
def test_a_prompt_may_come_in_parts(context: Context) -> None:
    tokens = tokens_of(context)
    (whole,) = feed(context, (0, 0, tokens))
    feed(context, (1, 0, tokens[:5]))
    (rest,) = feed(context, (1, 5, tokens[5:]))
    np.testing.assert_allclose(rest, whole, atol=TOLERANCE)


@each_cuttable
def test_a_sequence_cut_back_goes_on_as_if_it_had_never_been_longer(context: Context) -> None:
    tokens, others = tokens_of(context), tokens_of(context, OTHER)
    (expected,) = feed(context, (0, 0, tokens[:6] + others[:4]))
    feed(context, (1, 0, tokens))
    assert context.can_cut
    assert context.keep(1, 6)
    assert context.length(1) == 6
    (row,) = feed(context, (1, 6, others[:4]))
    np.testing.assert_allclose(row, expected, atol=TOLERANCE)


@pytest.mark.parametrize("context", sorted(RECURRENT), indirect=True)
def test_a_state_cannot_be_cut_back(context: Context) -> None:
    feed(context, (0, 0, tokens_of(context)))
    assert not context.can_cut
    assert not context.keep(0, 3)


@each_decoder
def test_a_copy_goes_its_own_way(context: Context) -> None:
    tokens, others = tokens_of(context), tokens_of(context, OTHER)
    feed(context, (0, 0, tokens))
    context.copy(0, 1)
    assert context.length(1) == len(tokens)
    same, elsewhere = feed(context, (0, len(tokens), others[2:5]), (1, len(tokens), others[3:6]))
    context.drop(0)
    (expected,) = feed(context, (0, 0, tokens + others[2:5]))
    np.testing.assert_allclose(same, expected, atol=TOLERANCE)
    assert np.abs(same - elsewhere).max() > 1


@each_decoder
def test_a_saved_sequence_goes_on_elsewhere_as_it_would_have(context: Context) -> None:
    tokens, others = tokens_of(context, f"{TEXT} {OTHER}"), tokens_of(context, OTHER)
    feed(context, (0, 0, tokens))
    saved = context.save(0)
    assert saved is not None
    assert len(saved) == context.state_bytes(0)
    (expected,) = feed(context, (0, len(tokens), others[:4]))
    context.drop(0)
    feed(context, (1, 0, others))
    assert context.restore(1, saved)
    assert context.length(1) == len(tokens)
    (row,) = feed(context, (1, len(tokens), others[:4]))
    np.testing.assert_allclose(row, expected, atol=TOLERANCE)


@each_decoder
def test_a_state_that_is_cut_short_is_refused_and_leaves_the_sequence_empty(context: Context) -> None:
    tokens = tokens_of(context)
    feed(context, (0, 0, tokens))
    saved = context.save(0)
    assert saved is not None
    assert not context.restore(1, saved[: len(saved) // 2])
    assert context.length(1) == 0
    (expected, row) = feed(context, (0, len(tokens), tokens[:1]), (1, 0, [*tokens, *tokens[:1]]))
    np.testing.assert_allclose(row, expected, atol=TOLERANCE)


@each_decoder
def test_a_dropped_sequence_leaves_nothing(context: Context) -> None:
    feed(context, (0, 0, tokens_of(context)))
    context.drop(0)
    assert context.length(0) == 0
    (after,) = feed(context, (0, 0, tokens_of(context, OTHER)))
    (fresh,) = feed(context, (1, 0, tokens_of(context, OTHER)))
    np.testing.assert_allclose(after, fresh, atol=TOLERANCE)


@each_decoder
def test_the_likeliest_text_is_the_same_each_time(context: Context) -> None:
    text = greedy(context, 24)
    assert text == greedy(context, 24)
    assert len(set(text)) > 4, "it is not one token again and again"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mamba"])
async def test_a_worker_says_what_the_model_says(folder: Path, architecture: str) -> None:
    path = folder / f"worker-{architecture}.gguf"
    model = Model(build(path, architecture))
    context = Context(model, ContextParams(n_ctx=128))
    tokens, expected = tokens_of(context), greedy(context, 24)
    text = b"".join(map(model.vocabulary.piece, expected)).decode("utf-8", "replace")
    context.close()
    model.close()
    load = Load(
        path=str(path),
        n_ctx=128,
        parallel=1,
        batch_size=64,
        ubatch_size=64,
        threads=1,
        gpu_layers=0,
        kv_type="f16",
        kv_unified=False,
        flash_attn="auto",
        mmap=True,
        queue_size=1,
        outputs=1,
    )
    worker = await WorkerClient.start(load)
    try:
        params = SamplingParams(temperature=0, ignore_eos=True)
        generation = worker.submit([Submit(0, tokens, params, max_tokens=24)])
        deltas = [delta async for batch in generation.batches() for _, delta in batch]
        assert "".join(delta.text for delta in deltas) == text
    finally:
        await worker.stop()
