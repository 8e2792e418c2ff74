"""Perplexity and divergence, first of numbers that are known, then of a real model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from localchat.errors import ConfigError, EngineError
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat_quantize.chunks import chunks_of
from localchat_quantize.quality import kl_divergence, log_softmax, measure, open_reference, write_reference

SIZE = 64
logits = arrays(np.float32, (3, 7), elements=st.floats(-30, 30, width=32))


@given(logits)
def test_log_probabilities_sum_to_one(values: np.ndarray) -> None:
    np.testing.assert_allclose(np.exp(log_softmax(values)).sum(axis=1), 1, rtol=1e-5)


@given(logits, logits)
def test_divergence_is_never_negative_and_nothing_from_oneself(left: np.ndarray, right: np.ndarray) -> None:
    base, other = log_softmax(left), log_softmax(right)
    assert kl_divergence(base, other).min() > -1e-4
    assert kl_divergence(base, base).max() == 0


def test_divergence_of_two_coins() -> None:
    fair, bent = np.log([[0.5, 0.5]]).astype(np.float32), np.log([[0.9, 0.1]]).astype(np.float32)
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    np.testing.assert_allclose(kl_divergence(fair, bent), [expected], rtol=1e-6)


@pytest.fixture(scope="module")
def context(embedded_model_path: Path) -> Iterator[Context]:
    model = Model(embedded_model_path)
    context = Context(model, ContextParams(n_ctx=SIZE, batch_size=SIZE, ubatch_size=SIZE, outputs=SIZE))
    yield context
    context.close()
    model.close()


@pytest.fixture(scope="module")
def chunks(context: Context) -> list[list[int]]:
    text = "The sky is blue because air scatters short waves of light more than long ones. " * 5
    other = "Bread rises because yeast turns sugar into gas, and the dough holds the gas in its bubbles. " * 5
    return chunks_of(context.vocabulary, text + other, SIZE)


def test_model_agrees_with_itself(context: Context, chunks: list[list[int]], tmp_path: Path) -> None:
    alone = write_reference(context, chunks, tmp_path / "reference.npy")
    quality = measure(context, chunks, open_reference(tmp_path / "reference.npy"))
    assert quality.tokens == len(chunks) * (SIZE // 2 - 1)
    assert quality.kl_mean == pytest.approx(0, abs=1e-3)
    assert quality.top1 == 1
    assert quality.perplexity == pytest.approx(alone.perplexity, rel=1e-3)


def test_perplexity_is_that_of_the_text_given_what_stands_before(
    context: Context, chunks: list[list[int]], tmp_path: Path
) -> None:
    real, shuffled = chunks[:1], [sorted(chunks[0])]
    values = [write_reference(context, each, tmp_path / "reference.npy").perplexity for each in (real, shuffled)]
    assert None not in values
    assert 1 < values[0] < values[1]  # type: ignore[operator]


def test_model_without_numbers_is_told(context: Context, chunks: list[list[int]], tmp_path: Path) -> None:
    write_reference(context, chunks[:1], tmp_path / "r.npy")
    original = np.load(tmp_path / "r.npy")
    original[0, 3] = np.nan
    with pytest.raises(EngineError, match=f"for 1 of {SIZE // 2 - 1} tokens it gives no numbers"):
        measure(context, chunks[:1], original)


def test_steps_are_told(context: Context, chunks: list[list[int]], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    write_reference(context, chunks[:2], tmp_path / "r.npy", lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]


def test_short_text_is_refused(context: Context) -> None:
    with pytest.raises(ConfigError, match="at least 128 are needed"):
        chunks_of(context.vocabulary, "short", SIZE)
