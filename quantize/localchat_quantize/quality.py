"""How well a quantized model says what the original says: perplexity, KL divergence and agreement on a fixed text.

The definitions are those of llama.cpp's llama-perplexity, so that the numbers can be compared: chunks of 512 tokens,
the second half of each scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localchat.errors import EngineError
from localchat.hub.store import check_room
from localchat.llama.context import Context
from localchat_quantize.chunks import Step, read

LogProbs = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """Figures over the scored tokens; those that compare are absent for the original itself.

    Of a model that makes vectors there is the mean cosine with the original's, over `tokens` texts.
    """

    tokens: int
    perplexity: float | None = None
    kl_mean: float | None = None
    kl_p99: float | None = None
    top1: float | None = None
    cosine: float | None = None


def write_reference(context: Context, chunks: Sequence[Sequence[int]], path: Path, step: Step | None = None) -> Quality:
    """Score the original; its log-probabilities, (chunks, positions, vocabulary), go into a .npy file."""
    positions = _scored(chunks[0])
    shape = (len(chunks), positions, context.vocabulary.size)
    # Beyond the end of a full disk, a write into mapped memory ends the process.
    check_room(path.name, path.parent, 4 * math.prod(shape))
    values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    nll: list[float] = []
    for index, logits in enumerate(read(context, chunks, step)):
        values[index] = log_softmax(logits[:positions])
        nll.extend(_losses(values[index], chunks[index]))
    return Quality(len(nll), float(np.exp(np.mean(nll))))


def open_reference(path: Path) -> LogProbs:
    """What `write_reference` wrote, left on disk."""
    values: LogProbs = np.load(path, mmap_mode="r")
    return values


def measure(context: Context, chunks: Sequence[Sequence[int]], original: LogProbs, step: Step | None = None) -> Quality:
    """Score a model on the chunks, and compare it with the original's log-probabilities. Raises EngineError for NaN."""
    nll: list[float] = []
    divergences: list[NDArray[np.float64]] = []
    agreed = 0
    for index, logits in enumerate(read(context, chunks, step)):
        base, own = original[index], log_softmax(logits[: _scored(chunks[index])])
        nll.extend(_losses(own, chunks[index]))
        divergences.append(kl_divergence(base, own))
        agreed += int(np.sum(base.argmax(axis=1) == own.argmax(axis=1)))
    kl = np.concatenate(divergences)
    if bad := int(np.sum(~np.isfinite(kl))):
        raise EngineError(f"for {bad} of {len(kl)} tokens it gives no numbers, or the original does not")
    perplexity = float(np.exp(np.mean(nll)))
    return Quality(
        len(nll), perplexity, max(0.0, float(kl.mean())), max(0.0, float(np.quantile(kl, 0.99))), agreed / len(nll)
    )


def compare_vectors(vectors: NDArray[np.float32], original: NDArray[np.float32] | None) -> Quality:
    """Vectors of texts, (texts, width), against those of the original."""
    if original is None:
        return Quality(len(vectors))
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(original, axis=1)
    cosines = np.einsum("ij,ij->i", vectors, original) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return Quality(len(vectors), cosine=float(cosines.mean()))


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


def _losses(own: LogProbs, chunk: Sequence[int]) -> Iterator[float]:
    """The negative log-probability of each scored position's next token."""
    following = np.asarray(chunk[len(chunk) // 2 + 1 :])
    yield from -own[np.arange(len(own)), following].astype(np.float64)


def _scored(chunk: Sequence[int]) -> int:
    """Positions of the second half that have a token after them in the chunk."""
    return len(chunk) - len(chunk) // 2 - 1
