"""How long to wait for a server that asks for it, or that does not answer now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from localchat.hub.progress import Progress

# Seconds before each further attempt that brings nothing, once something has arrived.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
MOST_SECONDS = 60.0
MOST_WAITS = 5

_BUSY = (429, 503)


class Patience:
    """Waits as a server asks, a bounded number of times."""

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._progress = progress
        self._left = MOST_WAITS

    def waits_for(self, status: int, headers: Mapping[str, str]) -> bool:
        """Wait if this answer asks for a time that is reasonable; whether it did."""
        seconds = retry_after(headers) if status in _BUSY else None
        if seconds is None or seconds > MOST_SECONDS or not self._left:
            return False
        self._left -= 1
        self._progress.start(f"{self._label}: the server asks to wait {seconds:.0f} s", None)
        time.sleep(seconds)
        self._progress.finish()
        return True


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: the header gives them, or a date."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def advice(status: int, headers: Mapping[str, str]) -> str:
    """What to do about a refusal, to be put behind it."""
    if status == 429:
        seconds = retry_after(headers)
        return f", too many requests; wait {f'{seconds:.0f} s' if seconds else 'a while'} and try again"
    return "; try again later" if status >= 500 else ""
