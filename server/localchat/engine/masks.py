"""Computes what grammars allow next on another thread, while the model computes how likely it is."""

from __future__ import annotations

from collections.abc import Sequence as Items
from concurrent.futures import Future, ThreadPoolExecutor

from localchat.engine.scheduler import Chunk
from localchat.engine.seam import Matcher


class Masks:
    """Prepares matchers between `begin` and `wait`; nobody else may touch them meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._work: Future[None] | None = None

    def begin(self, chunks: Items[Chunk]) -> None:
        """Prepare the matchers of the sequences whose next token is chosen after this step."""
        candidates = [chunk.sequence.matcher for chunk in chunks if chunk.catches_up]
        matchers = [matcher for matcher in candidates if matcher is not None and matcher.is_awake]
        if matchers:
            self._work = self._thread.submit(_prepare, matchers)

    def wait(self) -> None:
        """Wait until all are prepared."""
        if self._work is not None:
            work, self._work = self._work, None
            work.result()


def _prepare(matchers: Items[Matcher]) -> None:
    for matcher in matchers:
        matcher.prepare()
