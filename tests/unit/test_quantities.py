"""What people write for how long and how much."""

from __future__ import annotations

import math
from typing import Any

import pytest

from localchat.quantities import parse_duration, parse_room, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("0", 0), (5, 5), ("-1", math.inf)],
)
def test_duration(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "10m5", "nan", None, True, [1]])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("2tb", 2 << 40), ("1000", 1000), (7, 7)],
)
def test_size(text: Any, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "0", "-1", "8X", 0, -5, True, None])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


@pytest.mark.parametrize(("text", "room"), [("0", 0), (0, 0), ("1G", 1 << 30)])
def test_room_may_be_none(text: Any, room: int) -> None:
    assert parse_room(text) == room


@pytest.mark.parametrize("text", ["", "-1", None, False])
def test_what_is_no_room_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_room(text)
