"""Cards for tests: one with plausible figures, and any at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from localchat.registry import Measured
from localchat_quantize.card import Card, Row

SIX = {
    "Q8_0": (145, 0.0006),
    "Q6_K": (138, 0.0035),
    "Q5_K_M": (112, 0.013),
    "Q4_K_M": (105, 0.041),
    "Q4_0": (92, 0.12),
    "Q2_K": (88, 0.9),
}


def measured(megabytes: float = 105, kl: float | None = 0.041, **more: Any) -> Measured:
    values = {
        "size": int(megabytes * 1e6),
        "bits_per_weight": 4.8512345,
        "perplexity": 18.234567,
        "kl_mean": kl,
        "kl_p99": None if kl is None else 9 * kl,
        "top1": 0.91234567,
        "prompt_speed": 512.34567,
        "decode_speed": 48.712345,
        "peak_rss": 231_000_001,
        "tokens": 12_288,
        "threads": 2,
        "text": "measuring.txt",
        "reference": None if kl is None else "F16",
        "machine": "A CPU",
    }
    return Measured.model_validate(values | more)


def row(format: str, *figures: Any, requantized_from: str | None = None, **more: Any) -> Row:
    own = measured(*figures or SIX[format], **more)
    return Row(
        format=format,
        file=f"tiny.{format}.gguf",
        sha256=format.encode().hex().ljust(64, "0"),
        measured=own,
        requantized_from=requantized_from,
    )


def card(*rows: Row, source: str = "owner/tiny@0123456789ab", **more: Any) -> Card:
    values = {"id": "tiny", "source": source, "made": "2026-05-17", "localchat": "1.2.3", **more}
    return Card(rows=rows or tuple(map(row, SIX)), **values)


_FORMATS = ("F16", "Q8_0", "Q6_K", "Q4_K_M", "IQ2_XS")
_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_some = st.floats(1e-12, 1e12)

any_measured = st.builds(
    Measured,
    size=st.integers(1, 2**45),
    bits_per_weight=_some,
    perplexity=st.none() | _some,
    kl_mean=st.none() | st.just(0.0) | _some,
    kl_p99=st.none() | _some,
    top1=st.none() | st.floats(0, 1),
    prompt_speed=st.none() | _some,
    decode_speed=st.none() | _some,
    peak_rss=st.none() | st.integers(1, 2**45),
    tokens=st.none() | st.integers(1, 10**6),
    threads=st.none() | st.integers(1, 512),
    text=st.none() | st.sampled_from(["a.txt", "b.txt"]) | _words,
    reference=st.none() | st.sampled_from(["F16", "F32"]),
    machine=st.none() | _words,
    imatrix=st.booleans(),
)
any_row = st.builds(
    Row,
    format=st.sampled_from(_FORMATS),
    file=_words,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    measured=any_measured,
    requantized_from=st.none() | st.just("Q4_1"),
)
any_card = st.builds(
    Card,
    id=st.just("tiny"),
    source=st.sampled_from(["owner/tiny@0123", "folder"]),
    base=st.none() | st.just("owner/base@0123"),
    made=st.dates().map(str),
    localchat=_words,
    rows=st.lists(any_row, max_size=6).map(tuple),
)
