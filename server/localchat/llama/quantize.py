"""Quantization, by llama.cpp's library call."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np
from numpy.typing import NDArray

from localchat.errors import ConfigError, EngineError
from localchat.llama import library

_PREFIX = "LLAMA_FTYPE_MOSTLY_"
_FAILED = "llama_model_quantize: failed to quantize: "
_KNOWN = {name.removeprefix(_PREFIX): value for name, value in vars(C).items() if name.startswith(_PREFIX)}

NOT_MADE = frozenset({"NVFP4"})
"""Formats that llama.cpp reads, and has no call to make."""

FORMATS: Mapping[str, int] = {
    "F32": C.LLAMA_FTYPE_ALL_F32,
    **{name: value for name, value in _KNOWN.items() if name not in NOT_MADE},
}
"""Format by llama.cpp's name → `enum llama_ftype`."""

NEED_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"})
"""Formats that llama.cpp makes only when told how much each column matters."""

Importance = Mapping[str, NDArray[np.float32]]
"""Matrix → how much each of its columns matters, (columns,) or (matrices x columns,)."""


def quantize(
    source: Path,
    target: Path,
    format: str,
    *,
    threads: int,
    requantize: bool,
    importance: Importance | None = None,
    metadata: Mapping[str, str | int] | None = None,
) -> None:
    """Write `source` in another format to `target`. Raises ConfigError, EngineError.

    `requantize` allows a source that is quantized already, at the price of a second rounding. `metadata` is added to
    the file's own; texts may have 127 bytes. Weights that llama.cpp cannot round end the process: files of others
    belong into one of their own.
    """
    check_format(format)
    if format in NEED_IMPORTANCE and not importance:
        raise ConfigError(f"{format} takes an importance matrix, which says how much each column matters")
    params = C.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = FORMATS[format], threads, requantize
    rows = _native(importance) if importance else None
    if rows is not None:
        params.imatrix = ctypes.cast(rows, ctypes.POINTER(C.llama_model_imatrix_data))
    notes = _overrides(metadata or {})
    params.kv_overrides = ctypes.cast(notes, ctypes.POINTER(C.llama_model_kv_override))
    with library.complaints() as lines:
        status = C.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status:
        why = lines[-1].removeprefix(_FAILED) if lines else f"status {status}"
        raise EngineError(f"llama.cpp could not turn {source.name} into {format}: {why}")


def check_format(format: str) -> None:
    """Raise ConfigError for a format that llama.cpp does not make."""
    if format in NOT_MADE:
        raise ConfigError(f"{format} is a format that llama.cpp reads and does not make; take Q4_K_M, or MXFP4_MOE")
    if format not in FORMATS:
        raise ConfigError(f"{format} is not a format; these are: {', '.join(sorted(FORMATS))}")


def _native(importance: Importance) -> Any:
    """The matrices as llama.cpp takes them, closed by an empty one; they point into the arrays.

    Raises ConfigError for what is no mean square: numbers below zero end llama.cpp's process.
    """
    rows = (C.llama_model_imatrix_data * (len(importance) + 1))()
    for row, (name, values) in zip(rows, importance.items(), strict=False):
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        if not np.all((values >= 0) & np.isfinite(values)):
            raise ConfigError(f"the importance matrix has numbers for {name} that are no mean squares; gather it anew")
        row.name, row.size = name.encode(), values.size
        row.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return rows


def _overrides(metadata: Mapping[str, str | int]) -> Any:
    """Metadata as llama.cpp takes it, closed by an empty row."""
    rows = (C.llama_model_kv_override * (len(metadata) + 1))()
    for row, (key, value) in zip(rows, metadata.items(), strict=False):
        row.key = key.encode()
        if isinstance(value, int):
            row.tag, row.value.val_i64 = C.LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            row.tag, row.value.val_str = C.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()[:127]
    return rows
