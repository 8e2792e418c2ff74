"""How urgent a request is."""

from __future__ import annotations

from enum import Enum


class Lane(Enum):
    """Somebody waits for what is interactive; background work has what is left, and gives way."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"
