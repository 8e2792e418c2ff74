"""Our sampler, which hands llama.cpp a few candidates, picks what llama.cpp's own chain picks from them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary
from localchat.sampling_params import MAX_SEED, SamplingParams

from .stock import StockSampler

Logits = NDArray[np.float32]

N_CTX = 256
STEPS = 60
SIZE = 49152
CYCLE = [101, 2205, 30_333, 417, 28, 49_000, 7_777, 12_121, 64, 3_999, 45_454, 8_080]
"""The prompt and, where the sampler lets it, the text go round in this circle: there is something to penalize."""
PROMPT = CYCLE * 4 + CYCLE[:5]

PARAMS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "top_k": {"top_k": 40, "top_p": 1.0, "min_p": 0.0},
    "top_k of one": {"top_k": 1},
    "top_k of many": {"top_k": 300, "top_p": 1.0, "min_p": 0.0},
    "top_k of too many": {"top_k": 1000},
    "top_k of more than all": {"top_k": 100_000},
    "top_p": {"top_k": 0, "top_p": 0.9, "min_p": 0.0},
    "top_p of next to nothing": {"top_k": 0, "top_p": 0.0},
    "top_p of next to all": {"top_k": 0, "top_p": 0.9999, "temperature": 1.5},
    "top_p, and all that comes after": {
        "top_k": 0,
        "top_p": 0.8,
        "min_p": 0.02,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.02,
        "dynatemp_range": 0.3,
    },
    "top_p after penalties": {"top_k": 0, "top_p": 0.7, "repeat_penalty": 1.3, "presence_penalty": -0.5},
    "top_p after bias": {"top_k": 0, "top_p": 0.7, "logit_bias": {5: 100.0, CYCLE[0]: -100.0}},
    "min_p": {"top_k": 0, "top_p": 1.0, "min_p": 0.1},
    "min_p, and all that comes after": {
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.01,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.02,
        "dynatemp_range": 0.3,
    },
    "min_p after penalties": {"top_k": 0, "top_p": 1.0, "min_p": 0.1, "frequency_penalty": 1.0},
    "typical": {"top_k": 0, "typical_p": 0.7},
    "typical after top_k": {"typical_p": 0.5},
    "top_n_sigma": {"top_n_sigma": 1.5, "temperature": 1.5},
    "nothing but temperature": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.3},
    "repeat penalty": {"repeat_penalty": 1.3},
    "repeat reward": {"repeat_penalty": 0.7, "repeat_last_n": -1},
    "presence penalty": {"presence_penalty": 1.5},
    "presence reward": {"presence_penalty": -2.0, "frequency_penalty": -0.5},
    "all penalties, short memory": {
        "repeat_penalty": 1.1,
        "presence_penalty": 0.7,
        "frequency_penalty": 0.3,
        "repeat_last_n": 9,
    },
    "all penalties, long memory": {
        "repeat_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": 1.7,
        "repeat_last_n": -1,
    },
    "bias up": {"logit_bias": {5: 100.0, 48_123: 99.5, 9: 3.0}},
    "bias down": {"logit_bias": dict.fromkeys(CYCLE, -7.5)},
    "ban": {"logit_bias": dict.fromkeys(CYCLE[:6], -100.0), "top_k": 3},
    "end ignored": {"ignore_eos": True},
    "dry": {"dry_multiplier": 0.8},
    "dry, short memory, no breakers": {
        "dry_multiplier": 5.0,
        "dry_base": 2.0,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 40,
        "dry_sequence_breakers": (),
    },
    "xtc": {"xtc_probability": 0.6, "xtc_threshold": 0.05},
    "dynatemp": {"dynatemp_range": 0.5, "dynatemp_exponent": 1.4},
    "mirostat 1": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.3, "repeat_penalty": 1.2},
    "greedy": {"temperature": 0.0},
    "greedy with penalties": {"temperature": 0.0, "repeat_penalty": 1.5, "frequency_penalty": 0.4},
    "greedy with reward": {"temperature": 0.0, "presence_penalty": -2.0, "repeat_last_n": -1},
    "greedy with bias": {"temperature": 0.0, "logit_bias": {CYCLE[0]: -100.0, CYCLE[1]: -100.0, 77: 5.0}},
    "greedy with dry": {"temperature": 0.0, "dry_multiplier": 2.0},
    "everything": {
        "temperature": 1.1,
        "top_k": 25,
        "typical_p": 0.95,
        "repeat_penalty": 1.05,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.2,
        "dry_multiplier": 0.8,
        "logit_bias": {CYCLE[3]: -100.0, 48_123: 4.0},
        "xtc_probability": 0.3,
        "dynatemp_range": 0.3,
    },
}

# What the logits are by rank; no two are alike.
_RANK = np.arange(SIZE)
SHAPES: dict[str, NDArray[np.float64]] = {
    "flat": np.linspace(1, -1, SIZE) - 0.5 * np.log1p(_RANK / 50),
    "peaked": 12 * np.exp(-_RANK / 3) - 1.7 * np.log1p(_RANK),
    "real": 14 - 1.9 * np.log1p(_RANK),
}


def row(shape: NDArray[np.float64], step: int) -> Logits:
    """The logits of a step: the ranks of the likely tokens change, and the next token of the circle is among them."""
    generator = np.random.default_rng(step)
    order = np.random.default_rng(0).permutation(SIZE)
    order[:200] = order[np.argsort(np.arange(200) + generator.normal(0, 8, 200))]
    logits = np.empty(SIZE, np.float32)
    logits[order] = shape
    likely, rank = CYCLE[(len(PROMPT) + step) % len(CYCLE)], int(generator.integers(0, 4))
    logits[[likely, order[rank]]] = logits[[order[rank], likely]]
    return logits


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Logits]]:
    return {name: [row(shape, step) for step in range(STEPS)] for name, shape in SHAPES.items()}


@pytest.fixture(scope="session")
def vocabulary(embedded_model_path: Path) -> Iterator[Vocabulary]:
    model = Model(embedded_model_path)
    yield model.vocabulary
    model.close()


class SmallVocabulary:
    """All that a sampler without DRY asks of a vocabulary."""

    pointer = None

    def __init__(self, size: int, *end_tokens: int) -> None:
        self.size = size
        self.end_tokens = frozenset(end_tokens)


def small(size: int, *end_tokens: int) -> Vocabulary:
    return cast(Vocabulary, SmallVocabulary(size, *end_tokens))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PARAMS)
def test_picks_are_those_of_the_whole_vocabulary(
    name: str, shape: str, rows: dict[str, list[Logits]], vocabulary: Vocabulary
) -> None:
    params = SamplingParams(**PARAMS[name], seed=1234)
    ours, stock = Sampler(params, vocabulary, N_CTX), StockSampler(params, vocabulary, N_CTX, 1234)
    ours.accept(PROMPT)
    stock.accept(PROMPT)
    picks: list[tuple[int, int]] = []
    for logits in rows[shape]:
        token = stock.sample(logits)
        picks.append((ours.sample(logits), token))
        ours.accept([token])
        stock.accept([token])
    stock.close()
    assert [pick for pick, _ in picks] == [token for _, token in picks]


@pytest.mark.parametrize("name", PARAMS)
def test_picks_among_ties_are_as_good(name: str, rows: dict[str, list[Logits]], vocabulary: Vocabulary) -> None:
    """Which of equals is picked hangs on the order they are sorted into; how good they are does not."""
    params = SamplingParams(**PARAMS[name], seed=99)
    ours, stock = Sampler(params, vocabulary, N_CTX), StockSampler(params, vocabulary, N_CTX, 99)
    ours.accept(PROMPT)
    stock.accept(PROMPT)
    for smooth in rows["real"][:30]:
        logits = np.round(smooth)
        changed = stock.changed(logits)
        token = stock.sample(logits)
        assert changed[ours.sample(logits)] == changed[token]
        ours.accept([token])
        stock.accept([token])
    stock.close()


def test_parameters_under_test_are_all_there_are() -> None:
    tested = {knob for params in PARAMS.values() for knob in params}
    # A seed is given to all; the thresholds of what is off have their defaults.
    assert set(SamplingParams.__slots__) - tested == {"seed"}


@pytest.mark.parametrize("size", [10, 1000, 49152])
def test_greedy_takes_the_likeliest(size: int) -> None:
    generator = np.random.default_rng(size)
    sampler = Sampler(SamplingParams(temperature=0), small(size), N_CTX)
    for _ in range(20):
        logits = generator.normal(size=size).astype(np.float32)
        assert sampler.sample(logits) == int(np.argmax(logits))


def picks(params: SamplingParams, count: int, logits: Logits) -> list[int]:
    sampler = Sampler(params, small(logits.size), N_CTX)
    return [sampler.sample(logits) for _ in range(count)]


@pytest.mark.parametrize("knobs", [{}, {"mirostat": 1}, {"mirostat": 2}, {"xtc_probability": 0.5}], ids=str)
def test_same_seed_gives_the_same_tokens(knobs: dict[str, Any]) -> None:
    logits = np.random.default_rng(0).normal(size=6400).astype(np.float32)
    params = SamplingParams(seed=7, temperature=1.5, **knobs)
    assert picks(params, 50, logits) == picks(params, 50, logits)


def test_seeds_differ() -> None:
    logits = np.zeros(6400, np.float32)
    one, other = (picks(SamplingParams(seed=seed, top_k=0), 20, logits) for seed in (1, 2))
    assert one != other


def test_sampler_without_a_seed_draws_one() -> None:
    seeds = {Sampler(SamplingParams(), small(100), N_CTX).seed for _ in range(10)}
    assert len(seeds) > 1
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


@pytest.mark.parametrize("seed", [0, MAX_SEED])
def test_seeds_at_the_ends_of_the_range_are_seeds(seed: int) -> None:
    logits = np.zeros(1000, np.float32)
    params = SamplingParams(seed=seed, top_k=0, min_p=0)
    assert picks(params, 20, logits) == picks(params, 20, logits)


@pytest.mark.parametrize(
    ("size", "top_k"), [(8, 0), (8, 5), (640, 5), (6400, 5)], ids=["all", "cut", "shrunk", "shrunk much"]
)
def test_tokens_come_as_often_as_they_are_likely(size: int, top_k: int) -> None:
    weights = np.array([0.30, 0.24, 0.18, 0.12, 0.08, 0.05, 0.02, 0.01])
    likely = np.linspace(0, size - 1, 8).astype(int)
    logits = np.full(size, -30, np.float32)
    logits[likely] = np.log(weights)
    kept = weights[: top_k or None] / weights[: top_k or None].sum()
    count = 20_000
    found = picks(SamplingParams(temperature=1, top_p=1, min_p=0, top_k=top_k, seed=5), count, logits)
    counts = np.array([found.count(token) for token in likely[: kept.size]])
    assert counts.sum() == count
    chi_square = float(((counts - count * kept) ** 2 / (count * kept)).sum())
    assert chi_square < 30  # of seven degrees of freedom: one seed in ten thousand has more


def test_temperature_sharpens() -> None:
    logits = np.log([0.6, 0.4]).astype(np.float32)
    found = picks(SamplingParams(temperature=0.5, top_p=1, min_p=0, seed=5), 20_000, logits)
    assert found.count(0) / len(found) == pytest.approx(0.36 / 0.52, abs=0.02)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_banned_token_never_comes(temperature: float) -> None:
    logits = np.zeros(1000, np.float32)
    logits[[5, 6]] = 50, 40
    found = picks(SamplingParams(temperature=temperature, logit_bias={5: -100}), 10, logits)
    assert found == [6] * 10


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_favoured_token_comes_although_it_is_the_least_likely(temperature: float) -> None:
    logits = np.linspace(64, 0, 6400, dtype=np.float32)
    found = picks(SamplingParams(temperature=temperature, top_k=3, logit_bias={6399: 100}), 10, logits)
    assert found == [6399] * 10


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ignored_end_never_comes(temperature: float) -> None:
    logits = np.zeros(1000, np.float32)
    logits[[1, 2, 3]] = 50, 60, 40
    sampler = Sampler(SamplingParams(temperature=temperature, ignore_eos=True), small(1000, 1, 2), N_CTX)
    assert [sampler.sample(logits) for _ in range(10)] == [3] * 10


def test_penalty_forgets_what_is_older_than_its_memory() -> None:
    params = SamplingParams(temperature=0, presence_penalty=2, repeat_last_n=3)
    logits = np.zeros(6400, np.float32)
    logits[10] = 1
    sampler = Sampler(params, small(6400), N_CTX)
    sampler.accept([10, 11, 12])
    assert sampler.sample(logits) == 0
    sampler.accept([13])
    assert sampler.sample(logits) == 10


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=0), SamplingParams(mirostat=2)])
def test_row_is_not_changed(params: SamplingParams) -> None:
    logits = np.random.default_rng(0).normal(size=6400).astype(np.float32)
    before = logits.copy()
    sampler = Sampler(params, small(6400), N_CTX)
    sampler.accept([1, 2, 3])
    sampler.sample(logits)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("count", [1, 7, 300, SIZE - 5])
@pytest.mark.parametrize("name", PARAMS)
def test_only_allowed_tokens_are_chosen_as_if_the_others_could_not_be(
    name: str, count: int, vocabulary: Vocabulary, rows: dict[str, list[Logits]]
) -> None:
    params = SamplingParams(seed=11, **PARAMS[name])
    sampler, masked = Sampler(params, vocabulary, N_CTX), Sampler(params, vocabulary, N_CTX)
    generator = np.random.default_rng(count)
    for logits in rows["real"][:6]:
        allowed = np.zeros(SIZE, np.bool_)
        allowed[generator.choice(SIZE, count, replace=False)] = True
        token = sampler.sample(logits, allowed)
        assert allowed[token]
        if not (params.mirostat or params.top_n_sigma > 0 or params.typical_p < 1):  # these look at all that there is
            assert masked.sample(np.where(allowed, logits, np.float32(-1e9))) == token
        for one in (sampler, masked):
            one.accept((token,))
