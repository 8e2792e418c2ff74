"""Ranges of the sampling parameters, and what a value out of range is told."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import InvalidRequest
from localchat.sampling_params import MAX_SEED, RANGES, SamplingParams


def one(name: str, value: Any) -> SamplingParams:
    return SamplingParams(**{name: value})


def test_defaults_are_in_range() -> None:
    params = SamplingParams()
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.8, 0.95, 40, 0.05)
    assert params.seed is None


def test_every_number_has_a_range() -> None:
    numbers = {f.name for f in fields(SamplingParams) if f.type in ("int", "float", "int | None")}
    assert numbers == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_ends_of_the_range_are_accepted(name: str) -> None:
    least, most = RANGES[name]
    assert getattr(one(name, least), name) == least
    assert getattr(one(name, most), name) == most


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("beyond", [-1, 1])
def test_value_beyond_the_range_is_refused_by_name(name: str, beyond: int) -> None:
    least, most = RANGES[name]
    value = most + 1 if beyond > 0 else least - 1
    with pytest.raises(InvalidRequest) as caught:
        one(name, value)
    assert caught.value.param == name
    assert str(caught.value) == f"{name} must be between {least:g} and {most:g}, not {value}"


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_no_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} must be between"):
        one(name, value)


@given(st.sampled_from(sorted(RANGES)), st.floats(0, 1))
def test_values_in_between_are_accepted(name: str, part: float) -> None:
    least, most = RANGES[name]
    value = min(most, least + part * (most - least))
    assert getattr(one(name, value), name) == value


@pytest.mark.parametrize("bias", [-100, -0.5, 0, 100])
def test_bias_in_range_is_accepted(bias: float) -> None:
    assert SamplingParams(logit_bias={7: bias}).logit_bias == {7: bias}


@pytest.mark.parametrize("bias", [-100.5, 101, math.nan, math.inf])
def test_bias_out_of_range_is_refused_with_its_token(bias: float) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias of 7 must be between -100 and 100") as caught:
        SamplingParams(logit_bias={3: 1.0, 7: bias})
    assert caught.value.param == "logit_bias"


def test_greatest_seed_is_not_the_one_that_means_any() -> None:
    assert MAX_SEED == 0xFFFFFFFF - 1


def test_parameters_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        SamplingParams().temperature = 1  # type: ignore[misc]


@pytest.mark.parametrize(("temperature", "greedy"), [(0, True), (0.0, True), (1e-6, False), (1, False)])
def test_greedy_is_no_temperature(temperature: float, greedy: bool) -> None:
    assert SamplingParams(temperature=temperature).is_greedy is greedy


@pytest.mark.parametrize(
    ("given", "penalized"),
    [
        ({}, False),
        ({"repeat_penalty": 1.1}, True),
        ({"repeat_penalty": 0.9}, True),
        ({"presence_penalty": -1}, True),
        ({"frequency_penalty": 0.1}, True),
        ({"repeat_penalty": 1.1, "repeat_last_n": 0}, False),
        ({"presence_penalty": 1, "repeat_last_n": -1}, True),
    ],
)
def test_penalties_need_a_strength_and_a_memory(given: dict[str, Any], penalized: bool) -> None:
    assert SamplingParams(**given).has_penalties is penalized
