"""The plot: legible, self-explaining, the same each time."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.errors import ConfigError
from localchat.registry import Measured
from localchat_quantize.plot import Box, can_plot, place, plot

from .cards import SIX, measured

FRAME = Box(0, 0, 500, 300)
SIZE = (46.0, 14.0)


def six() -> dict[str, Measured]:
    return {format: measured(*figures) for format, figures in SIX.items()}


def test_same_figures_give_the_same_file(tmp_path: Path) -> None:
    plot("tiny", six(), tmp_path / "a.svg")
    plot("tiny", six(), tmp_path / "b.svg")
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in drawn


def test_page_is_opaque_on_any_background(tmp_path: Path) -> None:
    from PIL import Image

    plot("tiny", six(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "figures",
    [
        {"Q8_0": measured(145, 0.0006)},
        {"Q8_0": measured(145, 0.0)},
        {"Q8_0": measured(7000, 0.0006), "Q4_0": measured(7000, 0.0006)},
        {"F16": measured(270, None), "Q2_K": measured(80, 25.0), "Q8_0": measured(145, 1e-12)},
    ],
)
def test_odd_figures_can_be_drawn(tmp_path: Path, figures: dict[str, Measured]) -> None:
    plot("tiny", figures, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_nothing_to_compare_is_nothing_to_plot() -> None:
    assert not can_plot({"F16": measured(270, None)})
    assert can_plot({"F16": measured(270, None), "Q8_0": measured()})


def test_missing_matplotlib_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"a\.svg takes matplotlib: pip install 'localchat\[quantize\]'"):
        plot("tiny", six(), tmp_path / "a.svg")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(50, 450), st.floats(40, 260)), max_size=3))
def test_few_names_stay_inside_and_cover_nothing(points: list[tuple[float, float]]) -> None:
    labels = place(points, [SIZE] * len(points), FRAME)
    boxes = [label.box for label in labels]
    assert all(box.overlap(FRAME) == pytest.approx(SIZE[0] * SIZE[1]) for box in boxes)
    assert all(one.overlap(other) < 0.01 for one, other in combinations(boxes, 2))
    assert all(box.overlap(Box(x - 4, y - 4, x + 4, y + 4)) < 0.01 for box in boxes for x, y in points)


def test_name_is_beside_a_point_that_stands_alone() -> None:
    [label] = place([(100, 100)], [SIZE], FRAME)
    assert label.box == Box(108, 93, 154, 107)
    assert not label.leader


def test_name_stands_apart_with_a_line_where_all_is_full() -> None:
    labels = place([(100, 100)] * 9, [SIZE] * 9, FRAME)
    assert any(label.leader for label in labels)
