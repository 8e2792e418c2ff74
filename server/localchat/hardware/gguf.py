"""Reads the header of a GGUF file, trusting nothing in it: some of what is refused makes llama.cpp abort."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from localchat.errors import NotGguf, WeightsError
from localchat.hardware.cursor import Cursor
from localchat.hardware.ggml_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from localchat.hardware.header import GgufArray, GgufHeader, TensorInfo, Value
from localchat.hardware.limits import check_limits

# Both far above any model known (some 60 keys, some 2,000 tensors), and low enough to bound the time and memory.
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16

# The specification's limit for keys; ggml's for tensor names (GGML_MAX_NAME with its closing zero).
_MAX_KEY = 65535
_MAX_NAME = 63
_MAX_DIMS = 4
_MAX_ALIGNMENT = 1 << 20
_MAX_ELEMENTS = (1 << 63) - 1
# Shorter arrays of numbers (heads of each layer, rope sections) are read at once; longer ones stay in the file.
_SHORT_ARRAY = 4096

_SMALLEST_PAIR = 8 + 4 + 1
_SMALLEST_TENSOR = 8 + 4 + 4 + 8

# What people have instead of a GGUF, by its first four bytes.
_OTHER_FILES = {
    b"vers": "a Git LFS pointer; fetch the file itself",
    b"<!do": "a web page",
    b"<htm": "a web page",
    b"pk\x03\x04": "a zip archive or PyTorch checkpoint",
    b"lmgg": "of llama.cpp's format before GGUF; convert it again",
    b"fmgg": "of llama.cpp's format before GGUF; convert it again",
    b"tjgg": "of llama.cpp's format before GGUF; convert it again",
}


class _Placed(NamedTuple):
    info: TensorInfo
    offset: int


def read_header(path: Path) -> GgufHeader:
    """Read and check the header. Raises NotGguf on the first thing that is wrong, WeightsError if there is no file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise NotGguf(f"{path.name}: not a regular file")
        with path.open("rb") as file:
            return _read(Cursor(file, path.name), path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from None


def _read(cursor: Cursor, path: Path) -> GgufHeader:
    version = _version(cursor)
    tensor_count = _count(cursor, "tensors", MAX_TENSORS, _SMALLEST_TENSOR)
    key_count = _count(cursor, "keys", MAX_KEYS, _SMALLEST_PAIR)
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = _key(cursor)
        if key in metadata:
            raise cursor.error(f"the key {key!r} is there twice")
        metadata[key] = _value(cursor, key, path)
    _refuse_split(cursor, metadata)
    alignment = _alignment(cursor, metadata)
    placed = [_tensor(cursor) for _ in range(tensor_count)]
    _check_layout(cursor, placed, alignment)
    infos = tuple(tensor.info for tensor in placed)
    header = GgufHeader(path, cursor.size, version, metadata, infos, _padded(cursor.at, alignment))
    check_limits(header)
    return header


def _version(cursor: Cursor) -> int:
    magic = cursor.take(4, "the magic number")
    if magic != b"GGUF":
        hint = _OTHER_FILES.get(magic.lower())
        raise cursor.error(f"not a GGUF file but {hint}" if hint else f"not a GGUF file: it begins with {magic!r}")
    version = cursor.number("I", "the version")
    if version & 0xFFFF == 0 and version:
        raise cursor.error(f"a big-endian GGUF file (version reads 0x{version:08x}); get the little-endian one")
    if version not in (2, 3):
        raise cursor.error(f"GGUF version {version}, and only 2 and 3 can be read")
    return version


def _count(cursor: Cursor, what: str, limit: int, smallest: int) -> int:
    count = cursor.number("Q", f"the number of {what}")
    if count > limit:
        raise cursor.error(f"{count} {what}, more than {limit}")
    cursor.require(count * smallest, f"the list of {count} {what}")
    return count


def _key(cursor: Cursor) -> str:
    raw = cursor.string("a key", _MAX_KEY)
    try:
        key = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise cursor.error(f"the key {raw[:64]!r} is not UTF-8") from None
    if not key:
        raise cursor.error("a key is empty")
    return key


def _value(cursor: Cursor, key: str, path: Path) -> Value:
    what = f"the value of {key[:64]!r}"
    kind = cursor.number("I", what)
    if kind == STRING:
        return cursor.string(what).decode("utf-8", "replace")
    if kind == ARRAY:
        return _array(cursor, what, path)
    if kind not in SCALARS:
        raise cursor.error(f"{what} is of type {kind}, which GGUF does not have")
    return cursor.numbers(SCALARS[kind], 1, what)[0]


def _array(cursor: Cursor, what: str, path: Path) -> Value:
    kind = cursor.number("I", what)
    length = cursor.number("Q", what)
    if kind == ARRAY:
        raise cursor.error(f"{what} is an array of arrays, which llama.cpp does not read")
    if kind == STRING:
        return GgufArray("str", length, path, cursor.skip_strings(length, what))
    if kind not in SCALARS:
        raise cursor.error(f"{what} is an array of type {kind}, which GGUF does not have")
    scalar = SCALARS[kind]
    if length <= _SHORT_ARRAY:
        return cursor.numbers(scalar, length, what)
    start = cursor.at
    cursor.skip(length * scalar.size, what)
    return GgufArray(scalar.name, length, path, (start,))


def _refuse_split(cursor: Cursor, metadata: dict[str, Value]) -> None:
    parts = metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise cursor.error(f"one of {parts} parts of a split model; join them with llama-gguf-split --merge")


def _alignment(cursor: Cursor, metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", 32)
    if isinstance(value, int) and 1 <= value <= _MAX_ALIGNMENT and value & (value - 1) == 0:
        return int(value)
    raise cursor.error(f"general.alignment is {value!r}, not a power of two up to {_MAX_ALIGNMENT}")


def _tensor(cursor: Cursor) -> _Placed:
    name = cursor.string("a tensor's name", _MAX_NAME).decode("utf-8", "replace")
    what = f"tensor {name!r}"
    dims = cursor.number("I", what)
    if dims > _MAX_DIMS:
        raise cursor.error(f"{what} has {dims} dimensions, more than {_MAX_DIMS}")
    shape = tuple(cursor.number("Q", what) for _ in range(dims))
    elements = 1
    for length in shape:
        if length > _MAX_ELEMENTS:
            raise cursor.error(f"{what} has a dimension of {length}")
        elements *= length or 1  # a zero must not hide an overflow of the others
    if elements > _MAX_ELEMENTS:
        raise cursor.error(f"{what} has the shape {shape}, too many elements")
    kind = TENSOR_TYPES.get(number := cursor.number("I", what))
    if kind is None:
        raise cursor.error(f"{what} is of type {number}, which this llama.cpp does not have")
    row = shape[0] if shape else 1
    if row % kind.block:
        raise cursor.error(f"{what} has rows of {row}, not a multiple of the {kind.block} that {kind.name} needs")
    size = 0 if 0 in shape else kind.bytes_of(elements)
    return _Placed(TensorInfo(name, shape, kind.name, size), cursor.number("Q", what))


def _check_layout(cursor: Cursor, placed: list[_Placed], alignment: int) -> None:
    # llama.cpp wants the tensors one after the other, so that no two overlap and no offset is free to point elsewhere.
    names: set[str] = set()
    start = _padded(cursor.at, alignment)
    expected = end = 0
    for info, offset in placed:
        if info.name in names:
            raise cursor.error(f"the tensor {info.name!r} is there twice")
        names.add(info.name)
        if offset % alignment:
            raise cursor.error(f"tensor {info.name!r} has the offset {offset}, not a multiple of {alignment}")
        if offset != expected:
            raise cursor.error(f"tensor {info.name!r} has the offset {offset}, and {expected} is where it should be")
        end = offset + info.nbytes
        expected = _padded(end, alignment)
    missing = start + end - cursor.size
    if placed and missing > 0:
        raise cursor.error(f"{missing} bytes are missing at its end: a download or copy that was cut off")


def _padded(place: int, alignment: int) -> int:
    return (place + alignment - 1) // alignment * alignment
