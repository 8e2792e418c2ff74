"""Embeddings: the reply."""

from __future__ import annotations

import base64
import math
from array import array
from typing import Any

from localchat.errors import InvalidRequest
from localchat.worker.messages import Vectors


def embedding_reply(
    model: str, vectors: Vectors, width: int, dimensions: int | None, *, as_base64: bool
) -> dict[str, Any]:
    """The reply for vectors of length 1. Raises InvalidRequest for more dimensions than there are."""
    if dimensions is not None and dimensions > width:
        raise InvalidRequest(f"dimensions is {dimensions}, and this model's vectors have {width}", param="dimensions")
    values = memoryview(vectors.vectors).cast("f")
    rows = [values[start : start + width] for start in range(0, len(values), width)]
    data = [
        {"object": "embedding", "index": index, "embedding": _spelled(_cut(row, dimensions), as_base64=as_base64)}
        for index, row in enumerate(rows)
    ]
    tokens = sum(vectors.tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def _cut(row: memoryview[float], dimensions: int | None) -> array[float]:
    kept = array("f", row[:dimensions])
    if dimensions is None or dimensions == len(row):
        return kept
    length = math.sqrt(sum(value * value for value in kept))
    return array("f", [value / length for value in kept]) if length else kept


def _spelled(row: array[float], *, as_base64: bool) -> list[float] | str:
    return base64.b64encode(row.tobytes()).decode() if as_base64 else row.tolist()
