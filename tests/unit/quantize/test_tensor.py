"""Tensors that are read when they are written."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from localchat_quantize import tensor as module
from localchat_quantize.convert.attention import ungroup
from localchat_quantize.convert.rotary import halves_to_pairs, pairs_to_halves
from localchat_quantize.tensor import Tensor, constant, split, stack
from localchat_quantize.weights import ALL, Array


def held(values: Array) -> Tensor:
    return Tensor(values.shape, lambda rows: values[rows], by_rows=True)


def numbered(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_blocks_are_the_whole_in_parts() -> None:
    rows = module.BLOCK_BYTES // 4 // 1000
    values = numbered(rows + 7, 1000)
    blocks = list(held(values).blocks())
    assert [len(block) for block in blocks] == [rows, 7]
    assert np.array_equal(np.concatenate(blocks), values)


def test_what_is_changed_as_a_whole_is_one_block() -> None:
    values = numbered(6, 4)
    (block,) = held(values).transposed().blocks()
    assert np.array_equal(block, values.T)


def test_shapes_are_known_before_reading() -> None:
    source = held(numbered(6, 4))
    made = [
        source.transposed(),
        source.padded(8),
        source.padded(6, 256),
        source.scaled(3),
        stack([source, source]),
        constant(1, (5,)),
        *split(source, 2, 4),
    ]
    assert [part.shape for part in made] == [part.read(ALL).shape for part in made]
    assert [part.read(slice(1, 2)).shape[0] for part in made] == [1] * len(made)


def test_split_and_stack_undo_each_other() -> None:
    values = numbered(9, 2)
    assert np.array_equal(stack(split(held(values), 2, 3, 4)).read(ALL), values)


@given(heads=st.integers(1, 4), pairs=st.integers(1, 4), rest=st.integers(0, 3))
def test_pairs_and_halves_are_the_same_rows(heads: int, pairs: int, rest: int) -> None:
    values = numbered(heads * (2 * pairs + rest), 3)
    turned = pairs_to_halves(heads, 2 * pairs)(held(values)).read(ALL)
    assert sorted(map(tuple, turned)) == sorted(map(tuple, values))
    if not rest:
        assert np.array_equal(halves_to_pairs(heads)(held(turned)).read(ALL), values)


def test_groups_of_queries_keys_and_values() -> None:
    """Two groups of two heads of queries, each head of one row."""
    rows = {"q0": 0, "q1": 1, "k0": 2, "v0": 3, "q2": 4, "q3": 5, "k1": 6, "v1": 7}
    found = ungroup(2, 2)(held(numbered(8, 1))).read(ALL).ravel().tolist()
    assert found == [rows[name] for name in ("q0", "q1", "q2", "q3", "k0", "k1", "v0", "v1")]
