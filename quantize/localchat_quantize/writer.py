"""Metadata and tensors into a GGUF file, a part at a time."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from localchat.errors import ConfigError, WeightsError
from localchat.hub.progress import Progress, phase
from localchat.hub.store import check_room
from localchat_quantize.tensor import Tensor
from localchat_quantize.vocabulary.vocabulary import Value
from localchat_quantize.weights import Array

TYPES: Mapping[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "BF16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
"""What a file's matrices may be stored in."""

_ALWAYS_F32 = ("_norm.weight", "position_embd.weight", "token_types.weight", "attn_rel_b.weight", ".scales")
"""Ends of names of matrices too small to gain by fewer bits, and which llama.cpp's sums want in full."""

_MARGIN = 1 << 20
_TOO_LARGE_FOR_F16 = 65520


@dataclass(frozen=True)
class TensorPlan:
    """A tensor of the file: its name there and where its values come from."""

    name: str
    tensor: Tensor

    def type(self, wanted: str) -> str:
        """What it is stored in, in a file of this type."""
        return "F32" if len(self.tensor.shape) == 1 or self.name.endswith(_ALWAYS_F32) else wanted

    def nbytes(self, wanted: str) -> int:
        """Its size in a file of this type."""
        return math.prod(self.tensor.shape) * (4 if self.type(wanted) == "F32" else 2)


def write_gguf(
    target: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    plans: Sequence[TensorPlan],
    type: str,
    progress: Progress,
) -> None:
    """Write `target`, which has its name only when all of it is there. Raises ConfigError, WeightsError."""
    if type not in TYPES:
        raise ConfigError(f"{type} is no type to convert to; these are: {', '.join(TYPES)}")
    sizes = [plan.nbytes(type) for plan in plans]
    check_room(target.name, target.parent, sum(sizes) + _MARGIN)
    part = target.with_name(f"{target.name}.part")
    logging.getLogger("gguf").setLevel(logging.WARNING)
    writer = GGUFWriter(part, architecture)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_header(writer, metadata, plans, type)
        with phase(progress, f"writing {target.name}", sum(sizes)):
            _write_tensors(writer, plans, type, progress)
        writer.close()
        os.replace(part, target)
    except OSError as error:
        raise WeightsError(f"{target} could not be written: {error}") from error
    finally:
        writer.close()
        with suppress(OSError):
            part.unlink()


def _write_header(writer: GGUFWriter, metadata: Mapping[str, Value], plans: Sequence[TensorPlan], type: str) -> None:
    for key, value in metadata.items():
        _add(writer, key, value)
    writer.add_file_type(TYPES[type][1])
    for plan in plans:
        kind = TYPES[plan.type(type)][0]
        writer.add_tensor_info(plan.name, plan.tensor.shape, np.dtype(np.uint16), plan.nbytes(type), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _add(writer: GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _write_tensors(writer: GGUFWriter, plans: Sequence[TensorPlan], type: str, progress: Progress) -> None:
    # The writer's own call takes a whole tensor at once, which may be larger than this machine's memory.
    file: BinaryIO = writer.fout[0]
    done = 0
    writer.write_padding(file, file.tell())
    for plan in plans:
        written = 0
        for block in plan.tensor.blocks():
            stored = _cast(block, plan.type(type), plan.name)
            stored.tofile(file)
            written += stored.nbytes
            progress.update(done + written)
        assert written == plan.nbytes(type), f"{plan.name} has {written} bytes, planned {plan.nbytes(type)}"
        writer.write_padding(file, written)
        done += written


def _cast(values: Array, type: str, name: str) -> NDArray[np.generic]:
    if type == "F32":
        return np.ascontiguousarray(values, np.float32)
    if type == "BF16":
        return _to_bf16(np.ascontiguousarray(values, np.float32))
    if _TOO_LARGE_FOR_F16 <= max(values.max(initial=0), -values.min(initial=0)) < np.inf:
        raise ConfigError(f"{name} has values that F16 cannot hold; convert to BF16 or F32")
    return np.ascontiguousarray(values, np.float16)


def _to_bf16(values: Array) -> NDArray[np.uint16]:
    """The upper half of each float, rounded to the nearest, ties to even; a NaN stays one."""
    bits = values.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), (bits >> 16).astype(np.uint16) | np.uint16(0x40), rounded)
