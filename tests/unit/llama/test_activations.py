"""What is seen of a model's matrices while it reads a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localchat.llama.activations import Activations
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model

TOKENS = list(range(1000, 1064))


@pytest.fixture(scope="module")
def model(embedded_model_path: Path) -> Iterator[Model]:
    model = Model(embedded_model_path)
    yield model
    model.close()


def read(model: Model, *texts: list[int]) -> Activations:
    seen = Activations()
    context = Context(model, ContextParams(n_ctx=256, batch_size=64, ubatch_size=64, observer=seen))
    for text in texts:
        context.drop(0)
        context.batch.clear()
        context.batch.add(0, 0, text, last=True, every=True)
        context.decode()
    context.close()
    assert seen.error is None
    return seen


def test_every_matrix_of_every_layer_is_seen_with_every_token(model: Model) -> None:
    uses = read(model, TOKENS).uses
    for layer in range(30):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"):
            use = uses[f"blk.{layer}.{name}.weight"]
            assert use.squares.shape == (1, 576)
            assert use.counts[0] == len(TOKENS)
        assert uses[f"blk.{layer}.attn_q.weight"].squares.min() > 0


def test_matrices_of_the_same_input_see_the_same(model: Model) -> None:
    uses = read(model, TOKENS).uses
    np.testing.assert_array_equal(uses["blk.0.attn_q.weight"].squares, uses["blk.0.attn_k.weight"].squares)
    np.testing.assert_array_equal(uses["blk.3.ffn_gate.weight"].squares, uses["blk.3.ffn_up.weight"].squares)


def test_texts_add_up(model: Model) -> None:
    other = list(range(2000, 2064))
    name = "blk.5.ffn_down.weight"
    both, first, second = (read(model, *texts).uses[name] for texts in ((TOKENS, other), (TOKENS,), (other,)))
    np.testing.assert_allclose(both.squares, first.squares + second.squares, rtol=1e-6)
    assert both.counts[0] == 2 * len(TOKENS)


def test_a_few_rows_are_not_looked_at(model: Model) -> None:
    assert read(model, TOKENS[:8]).uses == {}


def test_logits_are_what_they_are_without_an_observer(model: Model) -> None:
    rows = []
    for observer in (None, Activations()):
        context = Context(model, ContextParams(n_ctx=256, batch_size=64, ubatch_size=64, observer=observer))
        context.batch.clear()
        context.batch.add(0, 0, TOKENS, last=True)
        context.decode()
        rows.append(context.logits(1).copy())
        context.close()
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-3)
