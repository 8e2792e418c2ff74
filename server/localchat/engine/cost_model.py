"""What a step costs on this machine, as measured and as corrected by every step since."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence as Items
from itertools import accumulate

UNBOUNDED = 1 << 20
"""More rows than any batch holds."""
TILE = 64
"""From so many rows of a sequence in a pass on, llama.cpp computes attention in tiles: several times as fast."""
CROWD = 8
"""Time of a crowd of prompts in that of those who decode, where there are as many of the one as of the other."""
CROWD_STEPS = 4
"""The most time of such prompts, in limits of a step."""
_LEARN = 0.03


class CostModel:
    """Seconds of a step by its rows and by the keys they look at.

    `stairs` are (rows, seconds) as measured; between them a straight line, behind the last one its continuation.
    `kv_tokens` counts the tokens of context that rows look at, added up over the rows: for one that decodes that is
    the length of its sequence. One such look costs `few`, or `many` among at least TILE rows of a sequence.
    Without stairs every step is free.
    """

    def __init__(self, stairs: Iterable[tuple[int, float]] = (), few: float = 0.0, many: float | None = None) -> None:
        points = sorted(stairs)
        self._rows = [rows for rows, _ in points]
        self._seconds = list(accumulate((seconds for _, seconds in points), max))
        self._few = few
        self._many = few if many is None else many

    @property
    def is_measured(self) -> bool:
        """Whether it knows anything."""
        return bool(self._rows)

    def step_seconds(self, rows: int, kv_tokens: int, each: int = 1) -> float:
        """What a pass of so many rows takes, when a sequence has `each` of them."""
        return self._stair(rows) + (self._few if each < TILE else self._many) * kv_tokens

    def rows_within(self, seconds: float, rows: int, kv_tokens: int) -> int:
        """How many rows may join a pass of `rows` that is to take no longer than this."""
        if not self._rows:
            return UNBOUNDED
        low, high = 0, UNBOUNDED
        while low < high:
            middle = (low + high + 1) // 2
            if self.step_seconds(rows + middle, kv_tokens) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def free_rows(self, rows: int, kv_tokens: int, tolerance: float = 0.05) -> int:
        """How many rows like the others may join without making the pass longer by more than this share."""
        if not self._rows:
            return 0
        limit = self.step_seconds(rows, kv_tokens) * (1 + tolerance)
        each, count = kv_tokens // max(rows, 1), 0
        while count < self._rows[-1] and self.step_seconds(rows + count + 1, kv_tokens + each * (count + 1)) <= limit:
            count += 1
        return count

    def prompt_rows(self, seconds: float, rows: int, kv_tokens: int, context: int, most: int, *, crowd: int = 0) -> int:
        """How many rows of prompts, at most `most`, may join `rows` that decode in a step of so many seconds.

        Prompts get as much time as those who decode, where that is more than the limit leaves. A `crowd` of so many
        that wait gets more by how much larger it is than the number that decodes, up to CROWD_STEPS times the limit:
        those few lose less than the crowd gains, which then decodes together. Prompts are read in whole tiles where one
        fits, and a row more: with a KV stream for each sequence, the first goes with those who decode.
        """
        if not self._rows:
            return most
        decoding = self.step_seconds(rows, kv_tokens)
        left = max(seconds - decoding, decoding, min(CROWD * decoding * crowd / rows, CROWD_STEPS * seconds))
        tiles = 0
        while tiles * TILE < most and self._prompt_seconds((tiles + 1) * TILE, context) <= left:
            tiles += 1
        if tiles:
            return min(tiles * TILE + 1, most)
        count = min(most, TILE - 1)
        while count > 1 and self._prompt_seconds(count, context) > left:
            count -= 1
        return min(count, most)

    def observe(self, passes: Items[tuple[int, int, int]], seconds: float) -> float:
        """Learn from a step of passes, each (rows, kv_tokens, each), and return what was expected of it.

        All of them move a little, however far off they were: a hiccup of the machine spoils nothing.
        """
        if not self._rows:
            return 0.0
        expected = 0.0
        for rows, kv_tokens, each in passes:
            expected += self.step_seconds(rows, kv_tokens, each)
        learn = _LEARN if seconds > expected else -_LEARN
        for rows, kv_tokens, each in passes:
            self._learn(rows, kv_tokens, each, learn)
        return expected

    def _learn(self, rows: int, kv_tokens: int, each: int, learn: float) -> None:
        """Move the stairs on both sides and the price of a look, each by its part in the sum."""
        stair = self._stair(rows)
        right = min(bisect_left(self._rows, rows), len(self._rows) - 1)
        left = right if self._rows[right] <= rows else max(right - 1, 0)
        whole = self.step_seconds(rows, kv_tokens, each)
        part = stair / whole
        for index in {left, right}:
            self._seconds[index] *= 1 + learn * part
        if each < TILE:
            self._few *= 1 + learn * (1 - part)
        else:
            self._many *= 1 + learn * (1 - part)

    def _prompt_seconds(self, rows: int, context: int) -> float:
        return self.step_seconds(rows, rows * (context + rows), rows)

    def _stair(self, rows: int) -> float:
        if len(self._rows) < 2:
            return self._seconds[0] * rows / self._rows[0] if self._rows else 0.0
        right = min(max(bisect_left(self._rows, rows), 1), len(self._rows) - 1)
        left = right - 1
        share = (rows - self._rows[left]) / (self._rows[right] - self._rows[left])
        return max(self._seconds[left] + share * (self._seconds[right] - self._seconds[left]), 1e-9)
