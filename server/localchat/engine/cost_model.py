"""What a step costs on this machine, as measured and as corrected by every step since."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

UNBOUNDED = 1 << 20
"""More rows than any batch holds."""
_LEARN = 0.03


class CostModel:
    """Seconds of a step by its rows and by the keys they look at.

    `stairs` are (rows, seconds) as measured; between them a straight line, behind the last one its continuation.
    `kv_tokens` counts the tokens of context that rows look at, added up over the rows: for one that decodes that is
    the length of its sequence. Without stairs every step is free.
    """

    def __init__(self, stairs: Iterable[tuple[int, float]] = (), kv_seconds: float = 0.0) -> None:
        points = sorted(stairs)
        self._rows = [rows for rows, _ in points]
        self._seconds = list(accumulate((seconds for _, seconds in points), max))
        self._kv_seconds = kv_seconds

    @property
    def is_measured(self) -> bool:
        """Whether it knows anything."""
        return bool(self._rows)

    def step_seconds(self, rows: int, kv_tokens: int) -> float:
        """What a step of so many rows takes."""
        return self._stair(rows) + self._kv_seconds * kv_tokens

    def rows_within(self, seconds: float, rows: int, kv_tokens: int, context: int = 0) -> int:
        """How many rows, behind so much `context`, may join a step of `rows` that is to take no longer than this."""
        if not self._rows:
            return UNBOUNDED
        low, high = 0, UNBOUNDED
        while low < high:
            middle = (low + high + 1) // 2
            looked_at = kv_tokens + middle * (context + middle)
            if self.step_seconds(rows + middle, looked_at) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def free_rows(self, rows: int, kv_tokens: int, tolerance: float = 0.05) -> int:
        """How many rows like the others may join without making the step longer by more than this share."""
        if not self._rows:
            return 0
        limit = self.step_seconds(rows, kv_tokens) * (1 + tolerance)
        each, count = kv_tokens // max(rows, 1), 0
        while count < self._rows[-1] and self.step_seconds(rows + count + 1, kv_tokens + each * (count + 1)) <= limit:
            count += 1
        return count

    def observe(self, rows: int, kv_tokens: int, seconds: float) -> None:
        """Learn from a step: each moves the stairs on both sides of it a little, however far off it was."""
        if not self._rows:
            return
        change = 1 + _LEARN if seconds > self.step_seconds(rows, kv_tokens) else 1 / (1 + _LEARN)
        at = bisect_right(self._rows, rows)
        for index in {max(at - 1, 0), min(bisect_left(self._rows, rows), len(self._rows) - 1)}:
            self._seconds[index] *= change

    def _stair(self, rows: int) -> float:
        if len(self._rows) < 2:
            return self._seconds[0] * rows / self._rows[0] if self._rows else 0.0
        right = min(max(bisect_left(self._rows, rows), 1), len(self._rows) - 1)
        left = right - 1
        share = (rows - self._rows[left]) / (self._rows[right] - self._rows[left])
        return self._seconds[left] + share * (self._seconds[right] - self._seconds[left])
