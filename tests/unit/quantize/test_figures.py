"""Figures as people read them."""

from __future__ import annotations

import pytest

from localchat_quantize.figures import to_markdown

from .cards import measured


def cells(**figures: float | None) -> list[str]:
    lines = to_markdown({"Q4_0": measured(92, 0.12, **figures)}).splitlines()
    return [cell.strip() for cell in lines[-1].strip("|").split("|")]


@pytest.mark.parametrize(
    ("nats", "text"),
    [
        (0.0, "0"),
        (1e-9, "< 0.0001"),
        (1e-4, "0.00010"),
        (0.00356, "0.0036"),
        (0.9, "0.90"),
        (12.3, "12"),
        (345.6, "346"),
    ],
)
def test_divergence_has_two_digits_and_no_power_of_ten(nats: float, text: str) -> None:
    assert cells(kl_mean=nats)[4] == text


@pytest.mark.parametrize(("perplexity", "text"), [(1.5, "1.500"), (18.23456, "18.23"), (123456.7, "123,457")])
def test_perplexity_has_four_digits_and_no_power_of_ten(perplexity: float, text: str) -> None:
    assert cells(perplexity=perplexity)[3] == text


@pytest.mark.parametrize(("speed", "text"), [(0.42, "0.42"), (3.14, "3.1"), (48.71, "48.7"), (1234.5, "1,234")])
def test_speed_has_few_digits(speed: float, text: str) -> None:
    assert cells(decode_speed=speed)[-2] == text
