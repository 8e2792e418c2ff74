"""Headers that are made up from the number of parameters."""

from __future__ import annotations

import pytest

from localchat.hardware.formats import FORMATS
from localchat.hardware.sketch import rescaled, size_of, sketch

from .headers import GIB, HOME, model, plan


@pytest.mark.parametrize(
    ("parameters", "width", "layers"),
    [(6_700_000_000, 4096, 32), (13_000_000_000, 5120, 40), (65_000_000_000, 8832, 69), (1_000_000, 256, 2)],
)
def test_shape_is_about_that_of_a_real_model(parameters: int, width: int, layers: int) -> None:
    header = sketch("x", "llama", parameters, 2048, "Q4_0", parameters // 2)
    assert (header.embedding_length, header.block_count, header.context_length) == (width, layers, 2048)
    assert header.weight_bytes == pytest.approx(parameters / 2, rel=0.01)


def test_need_is_about_that_of_a_real_model() -> None:
    guessed = plan(sketch("x", "llama", 6_740_000_000, 4096, "Q4_0", 3_533_701_120), HOME, ctx_size=2048, parallel=1)
    known = plan(model(), HOME, ctx_size=2048, parallel=1)
    assert guessed.memory.total == pytest.approx(known.memory.total, rel=0.1)


@pytest.mark.parametrize("name", FORMATS)
def test_size_of_another_format_takes_the_place_of_the_first(name: str) -> None:
    size = size_of(7_000_000_000, name)
    assert size is not None
    header = sketch("x", "llama", 7_000_000_000, 2048, "Q4_0", 4 * GIB)
    other = rescaled(header, "y", name, size)
    assert other.weight_bytes == pytest.approx(size, rel=0.01)
    assert (other.path.name, other.file_size, other.metadata) == ("y", size, header.metadata)


def test_size_of_an_unknown_format_is_not_known() -> None:
    assert size_of(7_000_000_000, "NEW") is None
