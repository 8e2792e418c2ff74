"""Headers of files that nobody has looked into: near enough to tell whether a model would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from localchat.hardware.formats import format_of
from localchat.hardware.header import GgufHeader, TensorInfo, Value

# Models of one generation are alike: 12 matrices as wide as the model in each layer, one layer for 128 of its width,
# heads of 128. 6.7 billion parameters give 32 layers of 4,096, as in LLaMA 7B and MPT-7B.
_WIDTH_PER_LAYER = 128
_VOCABULARY = 50_000


def sketch(name: str, architecture: str, parameters: int, context_length: int, format: str, size: int) -> GgufHeader:
    """A transformer of so many parameters, in a file of `size` bytes."""
    width = round((_WIDTH_PER_LAYER * parameters / 12) ** (1 / 3) / _WIDTH_PER_LAYER) * _WIDTH_PER_LAYER
    width = max(width, _WIDTH_PER_LAYER)
    layers = max(1, width // _WIDTH_PER_LAYER)
    own: dict[str, Value] = {
        "context_length": context_length,
        "block_count": layers,
        "embedding_length": width,
        "feed_forward_length": 4 * width,
        "attention.head_count": max(1, width // 128),
        "vocab_size": _VOCABULARY,
    }
    metadata: dict[str, Value] = {"general.architecture": architecture}
    metadata |= {f"{architecture}.{key}": value for key, value in own.items()}
    table = min(size // 4, size * width * _VOCABULARY // parameters)
    kind = _tensor_type(format)
    tensors = (
        TensorInfo("token_embd.weight", (width, _VOCABULARY), kind, table),
        TensorInfo("output.weight", (width, _VOCABULARY), kind, table),
        *(
            TensorInfo(f"blk.{layer}.ffn_up.weight", (width, 4 * width), kind, (size - 2 * table) // layers)
            for layer in range(layers)
        ),
    )
    return GgufHeader(Path(name), size, 3, metadata, tensors)


def rescaled(header: GgufHeader, name: str, format: str, size: int) -> GgufHeader:
    """The same model in another format, in a file of `size` bytes."""
    ratio = size / header.file_size
    kind = _tensor_type(format)
    tensors = tuple(
        replace(tensor, nbytes=int(tensor.nbytes * ratio), type=kind if len(tensor.shape) > 1 else tensor.type)
        for tensor in header.tensors
    )
    return replace(header, path=Path(name), file_size=size, tensors=tensors)


def size_of(parameters: int, format: str) -> int | None:
    """Bytes of a file of so many parameters; None for a format that is not known."""
    known = format_of(format)
    return int(parameters * known.bits / 8) if known else None


def _tensor_type(format: str) -> str:
    known = format_of(format)
    return known.tensor if known else "F16"
