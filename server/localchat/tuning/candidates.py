"""What is tried: one change after the other, each against the best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from localchat.tuning.messages import Setup

PROMPT, SINGLE, SEVERAL = "prompt", "one stream", "several streams"
KINDS = (PROMPT, SINGLE, SEVERAL)

WORTH = 1.05
"""A change that makes less faster than this is no change for the better, but noise."""
WORTH_A_THREAD = 1.15
"""One more thread for single rows has to gain so much: less than that, they lose again over HTTP."""
_UBATCHES = (128, 256, 1024, 2048)


@dataclass(frozen=True)
class Candidate:
    """A change of settings and the kinds of work that it can make faster."""

    changes: dict[str, Any]
    kinds: tuple[str, ...]
    worth: float = WORTH
    is_free: bool = True
    """Whether it leaves the answers as good as they are; a person decides about what does not."""


@dataclass(frozen=True)
class Processors:
    """What computes: physical cores, and threads that they can run at once."""

    cores: int
    logical: int


def threads(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """Fewer than the cores, for other programs share them; or more, where a core runs two."""
    cores = processors.cores
    for count in sorted({cores - 1, cores // 2, cores, processors.logical} - {0, best.threads}, reverse=True):
        single = min(best.single_row_threads, count)
        yield Candidate({"threads": count, "single_row_threads": single}, (PROMPT, SEVERAL))


def single_row_threads(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """Of a step with a single row, which is bound by memory."""
    most, now = best.threads, best.single_row_threads
    for count in sorted({most, most - 1, most // 2} - {0, now}):
        worth = WORTH_A_THREAD if count > now else 1 / WORTH_A_THREAD
        yield Candidate({"single_row_threads": count}, (SINGLE,), worth)


def ubatches(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """Smaller ones stay in the cache, larger ones keep a GPU busy."""
    for size in _UBATCHES:
        if size == best.ubatch_size or size > best.n_ctx:
            continue
        larger = {"batch_size": size} if size > best.batch_size else {}
        yield Candidate({"ubatch_size": size, **larger}, (PROMPT,))


def layouts(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """One buffer for all sequences, or one for each."""
    if best.parallel > 1:
        yield Candidate({"kv_unified": not best.kv_unified}, (SINGLE, SEVERAL))


def flash_attention(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """`auto` takes it wherever it can be had, faster or not."""
    yield Candidate({"flash_attn": "on" if best.flash_attn == "off" else "off"}, KINDS)


def kv_types(best: Setup, processors: Processors) -> Iterator[Candidate]:
    """Half the bytes for each token of the context."""
    if best.kv_type in ("f16", "bf16", "f32"):
        yield Candidate({"kv_type": "q8_0"}, (SINGLE, SEVERAL), is_free=False)


Axis = Callable[[Setup, Processors], Iterator[Candidate]]
AXES: tuple[Axis, ...] = (threads, single_row_threads, ubatches, layouts, flash_attention, kv_types)
