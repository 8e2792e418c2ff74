"""How well a quantized model says what the original says: perplexity, KL divergence and agreement on a fixed text.

The definitions are those of llama.cpp's llama-perplexity, so that the numbers can be compared: chunks of 512 tokens,
the second half of each scored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localchat.llama.context import Context
from localchat_quantize.chunks import Step, read

LogProbs = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """Figures over the scored tokens; those that compare are absent for the original itself."""

    tokens: int
    perplexity: float
    kl_mean: float | None = None
    kl_p99: float | None = None
    top1: float | None = None


@contextmanager
def reference(
    context: Context, chunks: Sequence[Sequence[int]], folder: Path, step: Step | None = None
) -> Iterator[LogProbs]:
    """The original's log-probabilities, (chunks, positions, vocabulary) in a file that is gone with the block."""
    positions = _scored(chunks[0])
    with tempfile.TemporaryFile(dir=folder, prefix=".reference-") as file:
        shape = (len(chunks), positions, context.vocabulary.size)
        values = np.memmap(file, np.float32, "w+", shape=shape)
        for index, logits in enumerate(read(context, chunks, step)):
            values[index] = log_softmax(logits[:positions])
        yield values


def measure(
    context: Context, chunks: Sequence[Sequence[int]], original: LogProbs | None = None, step: Step | None = None
) -> Quality:
    """Score a model on the chunks, against the original's log-probabilities if they are given."""
    nll: list[float] = []
    divergences: list[NDArray[np.float64]] = []
    agreed = 0
    for index, logits in enumerate(read(context, chunks, step)):
        chunk, positions = chunks[index], _scored(chunks[index])
        own = log_softmax(logits[:positions])
        following = np.asarray(chunk[len(chunk) // 2 + 1 :])
        nll.extend(-own[np.arange(positions), following].astype(np.float64))
        if original is not None:
            base = original[index]
            divergences.append(kl_divergence(base, own))
            agreed += int(np.sum(base.argmax(axis=1) == own.argmax(axis=1)))
    perplexity = float(np.exp(np.mean(nll)))
    if original is None:
        return Quality(len(nll), perplexity)
    kl = np.concatenate(divergences)
    return Quality(len(nll), perplexity, float(kl.mean()), float(np.quantile(kl, 0.99)), agreed / len(nll))


def log_softmax(logits: NDArray[np.float32]) -> LogProbs:
    """Log-probabilities, row by row."""
    shifted: LogProbs = logits - logits.max(axis=1, keepdims=True)
    totals = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    result: LogProbs = np.subtract(shifted, np.log(totals), dtype=np.float32)
    return result


def kl_divergence(base: LogProbs, other: LogProbs) -> NDArray[np.float64]:
    """KL(base || other) of each row, in nats."""
    divergences: NDArray[np.float64] = np.einsum("ij,ij->i", np.exp(base), base - other, dtype=np.float64)
    return divergences


def _scored(chunk: Sequence[int]) -> int:
    """Positions of the second half that have a token after them in the chunk."""
    return len(chunk) - len(chunk) // 2 - 1
