"""Quantization, by llama.cpp's library call."""

from __future__ import annotations

from pathlib import Path

import llama_cpp.llama_cpp as C

from localchat.errors import ConfigError, EngineError
from localchat.llama import library

_PREFIX = "LLAMA_FTYPE_MOSTLY_"
FORMATS: dict[str, int] = {
    "F32": C.LLAMA_FTYPE_ALL_F32,
    **{name.removeprefix(_PREFIX): value for name, value in vars(C).items() if name.startswith(_PREFIX)},
}
"""Format by llama.cpp's name → `enum llama_ftype`."""


def quantize(source: Path, target: Path, format: str, *, threads: int, requantize: bool) -> None:
    """Write `source` in another format to `target`. Raises ConfigError, EngineError.

    `requantize` allows a source that is quantized already, at the price of a second rounding.
    """
    library.start()
    if format not in FORMATS:
        raise ConfigError(f"{format} is not a format; these are: {', '.join(sorted(FORMATS))}")
    params = C.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = FORMATS[format], threads, requantize
    status = C.llama_model_quantize(str(source).encode(), str(target).encode(), C.ctypes.byref(params))
    if status:
        raise EngineError(f"llama.cpp could not turn {source.name} into {format} (status {status})")
