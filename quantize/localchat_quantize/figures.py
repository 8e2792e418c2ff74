"""What was measured of several formats of one model, as a table for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localchat.hub.progress import format_bytes
from localchat.registry import Measured

ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """One figure: its name, its meaning, and how it is written."""

    title: str
    meaning: str
    cell: Callable[[Measured], str]


def columns(figures: Mapping[str, Measured]) -> list[Column]:
    """Those that at least one format has a figure for."""
    return [column for column in _COLUMNS if any(column.cell(row) != ABSENT for row in figures.values())]


def to_markdown(figures: Mapping[str, Measured]) -> str:
    """A row a format, the figures to the right."""
    shown = columns(figures)
    lines = [["Format", *(column.title for column in shown)], [":--", *("--:" for _ in shown)]]
    lines += [[format, *(column.cell(row) for column in shown)] for format, row in figures.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _optional(pick: Callable[[Measured], float | None], write: Callable[[float], str]) -> Callable[[Measured], str]:
    def cell(row: Measured) -> str:
        value = pick(row)
        return ABSENT if value is None else write(value)

    return cell


def _digits(value: float, digits: int) -> str:
    """So many digits that mean something, without powers of ten."""
    before = math.floor(math.log10(value)) + 1
    return f"{value:,.{max(digits - before, 0)}f}"


def _divergence(nats: float) -> str:
    if not nats:
        return "0"
    return _digits(nats, 2) if nats >= 1e-4 else "< 0.0001"


def _speed(tokens: float) -> str:
    return f"{tokens:.1f}" if 1 <= tokens < 100 else _digits(tokens, 2)


_COLUMNS = (
    Column("Size", "of the file; 1 MB is 10⁶ bytes, 1 GB is 10⁹", lambda row: format_bytes(row.size)),
    Column("Bits/weight", "bits of the file for each number of the model", lambda row: f"{row.bits_per_weight:.2f}"),
    Column(
        "Perplexity",
        "how surprised the model is by the text; lower is better, and only comparable on the same text",
        _optional(lambda row: row.perplexity, lambda value: _digits(value, 4)),
    ),
    Column(
        "Mean KL",
        "how far its next-token probabilities are from the original's, in nats a token; 0 is no loss",
        _optional(lambda row: row.kl_mean, _divergence),
    ),
    Column(
        "99 % KL",
        "the same where it is bad: 99 of 100 tokens are below",
        _optional(lambda row: row.kl_p99, _divergence),
    ),
    Column(
        "Same top token",
        "how often it finds the same token likeliest as the original does",
        _optional(lambda row: row.top1, lambda value: f"{value:.1%}".replace("%", " %")),
    ),
    Column(
        "Cosine",
        "how alike its vectors are to the original's; 1 is no loss",
        _optional(lambda row: row.cosine, lambda value: f"{value:.5f}"),
    ),
    Column(
        "Prompt tokens/s",
        "how fast it reads a prompt of one request",
        _optional(lambda row: row.prompt_speed, _speed),
    ),
    Column(
        "Decode tokens/s",
        "how fast it writes the answer to one request",
        _optional(lambda row: row.decode_speed, _speed),
    ),
    Column(
        "Peak RSS",
        "the most memory that its process took, with a context of 1,024 tokens",
        _optional(lambda row: row.peak_rss, lambda value: format_bytes(int(value))),
    ),
)
