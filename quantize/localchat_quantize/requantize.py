"""One GGUF into another: to get a format for which this machine has fast kernels."""

from __future__ import annotations

import os
from pathlib import Path

from localchat.errors import ConfigError
from localchat.hardware import probe, read_header
from localchat.llama.quantize import quantize


def requantize(source: Path, format: str, target: Path | None = None) -> Path:
    """Write `source` in `format` beside it, or to `target`; the path written. Nothing half-written is left.

    Raises NotGguf, ConfigError, EngineError.
    """
    read_header(source)
    target = target or source.with_name(f"{source.stem}.{format}.gguf")
    if target.exists():
        raise ConfigError(f"{target} exists already; remove it, or name another --output")
    part = target.with_name(f"{target.name}.part")
    try:
        quantize(source, part, format, threads=probe().cores, requantize=True)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target
