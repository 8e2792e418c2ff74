"""A machine that takes as long as a script says."""

from __future__ import annotations

from collections.abc import Callable

from localchat.tuning.messages import Prompt, Setup, Times, Work


def setup(**changes: object) -> Setup:
    """Some setup, but for what is given."""
    usual = {
        "n_ctx": 512,
        "parallel": 4,
        "threads": 2,
        "batch_size": 512,
        "ubatch_size": 512,
        "kv_type": "f16",
        "kv_unified": False,
        "flash_attn": "auto",
    }
    return Setup(**{**usual, **changes})  # type: ignore[arg-type]


class ScriptedMachine:
    """Answers as the process that measures does; `pace` is the seconds of a token."""

    def __init__(self, pace: Callable[[Setup, Work], float], single_row_threads: int = 1) -> None:
        self.now = 0.0
        self.asked: list[tuple[Setup, Work]] = []
        self._pace = pace
        self._single = single_row_threads

    def clock(self) -> float:
        return self.now

    def measure(self, setup: Setup, works: tuple[Work, ...]) -> Times:
        seconds = []
        for work in works:
            self.asked.append((setup, work))
            tokens = work.tokens if isinstance(work, Prompt) else work.sequences * work.steps
            seconds.append(tokens * self._pace(setup, work))
            self.now += seconds[-1]
        return Times(tuple(seconds), setup.single_row_threads or self._single)
