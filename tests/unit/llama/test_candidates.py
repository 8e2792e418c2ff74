"""The few tokens that can be chosen: none that could be is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localchat.llama.candidates import above, nucleus, shrink

Logits = NDArray[np.float32]
Ids = NDArray[np.int32]

NONE = np.empty(0, np.int32)


@st.composite
def rows(draw: st.DrawFn) -> Logits:
    """Rows of many sizes and shapes: smooth, in few values so that most tie, and with bans."""
    size = draw(st.integers(1, 4000))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = generator.normal(0, draw(st.sampled_from([0.01, 1, 10])), size).astype(np.float32)
    if draw(st.booleans()):
        row = np.round(row)
    if draw(st.booleans()):
        row[generator.random(size) < draw(st.sampled_from([0.1, 0.9, 1.0]))] = -np.inf
    if draw(st.booleans()):
        row.sort()
    return row


def missing(row: Logits, k: int, ids: Ids) -> list[int]:
    """Tokens that are surely among the k greatest, and yet were left out."""
    kth = np.sort(row)[-k]
    return sorted(set(np.flatnonzero(row > kth).tolist()) - set(ids.tolist()))


@given(rows(), st.integers(1, 60), st.data())
def test_the_greatest_and_the_extra_are_among_the_candidates(row: Logits, k: int, data: st.DataObject) -> None:
    extra = np.array(data.draw(st.lists(st.integers(0, row.size - 1), max_size=20)), np.int32)
    ids = shrink(row, k, extra)
    if ids is None:
        assert k > row.size // 64 // 2
        return
    assert ids.dtype == np.int32
    assert (np.diff(ids) > 0).all(), "not ascending, or not unique"
    assert set(extra.tolist()) <= set(ids.tolist())
    assert missing(row, k, ids) == []
    # Among those that tie for the last place any will do, so long as there are k in all.
    assert (row[ids] >= np.sort(row)[-k]).sum() >= k


@given(rows(), st.integers(1, 60))
def test_candidates_need_no_extra(row: Logits, k: int) -> None:
    ids = shrink(row, k, NONE)
    if ids is not None:
        assert missing(row, k, ids) == []
        assert (np.diff(ids) > 0).all()


@pytest.mark.parametrize("size", [1, 63, 64, 127])
def test_tiny_vocabulary_is_left_as_it_is(size: int) -> None:
    assert shrink(np.zeros(size, np.float32), 1, NONE) is None


@pytest.mark.parametrize(("k", "shrinks"), [(1, True), (384, True), (385, False), (49152, False), (10**6, False)])
def test_more_than_half_a_stripe_is_not_worth_it(k: int, shrinks: bool) -> None:
    row = np.arange(49152, dtype=np.float32)
    assert (shrink(row, k, NONE) is not None) == shrinks


@pytest.mark.parametrize("size", [49152, 49151, 32001, 50257, 151_936])
def test_candidates_are_few(size: int) -> None:
    row = np.random.default_rng(size).normal(size=size).astype(np.float32)
    ids = shrink(row, 40, NONE)
    assert ids is not None
    assert 40 <= ids.size < 60


@pytest.mark.parametrize("at", [0, 31_999, 32_000, 32_049])
def test_greatest_is_found_wherever_it_is(at: int) -> None:
    row = np.zeros(32_050, np.float32)  # 500 columns of 64, and 50 values over
    row[:2000] = 1
    row[at] = 2
    ids = shrink(row, 1, NONE)
    assert ids is not None
    assert at in ids


def test_all_equal_are_all_candidates() -> None:
    ids = shrink(np.full(1000, 3, np.float32), 2, NONE)
    assert ids is not None
    assert ids.tolist() == list(range(1000))


def test_bans_leave_the_rest() -> None:
    row = np.full(6400, -np.inf, np.float32)
    row[[5, 900, 6399]] = 1, 2, 3
    ids = shrink(row, 3, np.array([7], np.int32))
    assert ids is not None
    assert ids.tolist() == [5, 7, 900, 6399]


def test_row_is_not_changed() -> None:
    row = np.random.default_rng(0).normal(size=6400).astype(np.float32)
    before = row.copy()
    shrink(row, 10, np.array([3, 1], np.int32))
    np.testing.assert_array_equal(row, before)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.floats(0.1, 12))
def test_nucleus_is_the_fewest_likeliest_tokens_that_reach_the_share(seed: int, top_p: float, spread: float) -> None:
    logits = np.random.default_rng(seed).normal(0, spread, 1000).astype(np.float32)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum()
    ids = nucleus(logits, top_p)
    assert shares[ids].sum() >= top_p - 1e-6
    assert shares[ids[:-1]].sum() <= top_p + 1e-6
    assert len(set(ids.tolist())) == len(ids)
    assert shares[ids].min() >= np.delete(shares, ids).max(initial=0) - 1e-12


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1))
def test_above_keeps_every_token_that_min_p_keeps(seed: int, min_p: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, 1000).astype(np.float32)
    shares = np.exp(logits.astype(np.float64) - float(logits.max()))
    assert set(np.flatnonzero(shares >= min_p).tolist()) <= set(above(logits, min_p).tolist())
