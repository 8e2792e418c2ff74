"""One weights file: tensors by name, of which a part at a time is in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from localchat.errors import ConfigError, WeightsError

Array = NDArray[np.float32]

ALL = slice(None)

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "BOOL": 8}
_REMAP_AFTER = 1 << 29


class WeightsFile(Protocol):
    """What a format has to offer. Opening it raises WeightsError where it is missing or broken."""

    def names(self) -> list[str]:
        """All tensors in the file."""

    def shape(self, name: str) -> tuple[int, ...]:
        """How long the tensor is in each dimension."""

    def dtype(self, name: str) -> str:
        """Its type, as safetensors calls it: F32, F16, BF16."""

    def read(self, name: str, rows: slice = ALL) -> Array:
        """The tensor, or some of its rows, in float32. Raises WeightsError for what is no float."""


def open_weights(path: Path) -> WeightsFile:
    """The reader for a file, by its ending."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing; fetch the checkpoint again")
    return Safetensors(path) if path.suffix == ".safetensors" else TorchFile(path)


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: str
    begin: int
    end: int


class Safetensors:
    """A .safetensors file. Each read maps its tensor alone: a map of the whole file would count as memory in use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._entries = _read_entries(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{path} is no safetensors file, or broken ({error}); fetch it again") from error

    def names(self) -> list[str]:
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        return self._entries[name].dtype

    def read(self, name: str, rows: slice = ALL) -> Array:
        entry = self._entries[name]
        kind = _FLOATS.get(entry.dtype)
        if kind is None:
            raise _no_float(name, entry.dtype, self._path)
        if 0 in entry.shape:
            return np.zeros(entry.shape, np.float32)
        stored = np.memmap(self._path, kind, "r", entry.begin, entry.shape or (1,))[rows]
        values = (stored.astype(np.uint32) << 16).view(np.float32) if entry.dtype == "BF16" else stored
        return np.array(values, np.float32).reshape(entry.shape if entry.shape == () else values.shape)


class TorchFile:
    """A .bin file, read by torch with `weights_only`: no code in it is ever run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._torch = _torch(path)
        self._described = self._load(map_location="meta")
        self._tensors: Mapping[str, Any] = {}
        self._left = 0

    def names(self) -> list[str]:
        return list(self._described)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._described[name].shape)

    def dtype(self, name: str) -> str:
        kind = str(self._described[name].dtype).removeprefix("torch.")
        return {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}.get(kind, kind)

    def read(self, name: str, rows: slice = ALL) -> Array:
        if self.dtype(name) not in _FLOATS:
            raise _no_float(name, self.dtype(name), self._path)
        if self._left <= 0:  # the pages that were read stay in memory until the file is mapped anew
            self._tensors, self._left = {}, _REMAP_AFTER
            self._tensors = self._load()
        part = self._tensors[name].detach()[rows] if self.shape(name) else self._tensors[name].detach()
        self._left -= part.numel() * part.element_size()
        values: Array = part.to(self._torch.float32, copy=True).numpy()
        return values

    def _load(self, **options: Any) -> Mapping[str, Any]:
        try:
            try:
                found = self._torch.load(self._path, weights_only=True, mmap=True, **options)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                # Files from before torch 1.6 cannot be mapped.
                found = self._torch.load(self._path, weights_only=True, **options)
        except Exception as error:  # torch raises whatever its unpickler meets in a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(
                f"{self._path} is broken or holds more than tensors; it is not read ({reason})"
            ) from error
        if not isinstance(found, Mapping):
            raise WeightsError(f"{self._path} holds a {type(found).__name__} and no tensors by name; it is not read")
        return {name: value for name, value in found.items() if hasattr(value, "shape")}


def _torch(path: Path) -> ModuleType:
    try:
        import torch  # noqa: PLC0415 - large, and needed for .bin files alone
    except ImportError as error:
        raise ConfigError(f"{path.name} is a .bin file, which takes torch: pip install torch") from error
    return torch


def _no_float(name: str, dtype: str, path: Path) -> WeightsError:
    return WeightsError(f"{name} in {path.name} is {dtype}; only F32, F16, BF16 and F64 weights can be converted")


def _read_entries(path: Path) -> dict[str, _Entry]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError(f"its header would be {length} bytes long")
        header = json.loads(file.read(length))
    entries = {}
    for name, told in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in told["data_offsets"])
        entry = _Entry(tuple(told["shape"]), told["dtype"], begin, end)
        if not 8 + length <= entry.begin <= entry.end <= size:
            raise ValueError(f"it ends at byte {size}, and {name} at {entry.end}")
        bits = _BITS.get(entry.dtype)
        if bits and math.prod(entry.shape) * bits // 8 != entry.end - entry.begin:
            raise ValueError(f"{name} of shape {entry.shape} has {entry.end - entry.begin} bytes")
        entries[name] = entry
    return entries
