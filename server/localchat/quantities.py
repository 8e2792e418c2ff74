"""Durations and sizes as people write them: 90s, 10m, 1h30m; 512M, 8G."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_duration(value: Any) -> float:
    """Seconds; 0 is not at all, and a negative number for ever. Raises ValueError."""
    if isinstance(value, str):
        parts = list(_PART.finditer(value))
        if parts and "".join(part[0] for part in parts) == value:
            return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError("a duration is a text such as 90s, 10m or 1h30m, or a number of seconds; -1 is for ever")
    return math.inf if number < 0 else number


def parse_size(value: Any) -> int:
    """Bytes; units are powers of 1024. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(float(found[1]) * _BYTES[found[2].upper()]) if found else 0
    if size <= 0:
        raise ValueError("a size is a number of bytes, or a text such as 512M or 8G")
    return size


def parse_room(value: Any) -> int:
    """As `parse_size`; 0 is no room at all. Raises ValueError."""
    return 0 if str(value).strip() == "0" else parse_size(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""
Room = Annotated[int, BeforeValidator(parse_room)]
"""Bytes, or 0 for none."""
