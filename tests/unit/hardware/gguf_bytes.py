"""Builds small GGUF files, right or wrong in one place, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

F32, F16, Q4_0 = 0, 1, 2


def string(text: str | bytes) -> bytes:
    """A length and the bytes, as keys and names are written."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def u8(value: int) -> bytes:
    return struct.pack("<IB", 0, value)


def u16(value: int) -> bytes:
    return struct.pack("<IH", 2, value)


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def i32(value: int) -> bytes:
    return struct.pack("<Ii", 5, value)


def f32(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def boolean(value: bool) -> bytes:
    return struct.pack("<IB", 7, value)


def text(value: str | bytes) -> bytes:
    return struct.pack("<I", 8) + string(value)


def u64(value: int) -> bytes:
    return struct.pack("<IQ", 10, value)


def array(kind: int, length: int, payload: bytes) -> bytes:
    """An array with whatever length and bytes it is given."""
    return struct.pack("<IIQ", 9, kind, length) + payload


def texts(values: Iterable[str | bytes]) -> bytes:
    items = [string(value) for value in values]
    return array(8, len(items), b"".join(items))


def u32s(values: Iterable[int]) -> bytes:
    items = list(values)
    return array(4, len(items), struct.pack(f"<{len(items)}I", *items))


def f32s(values: Iterable[float]) -> bytes:
    items = list(values)
    return array(6, len(items), struct.pack(f"<{len(items)}f", *items))


class Tensor(NamedTuple):
    """A tensor's entry; `nbytes` is what it takes in the file."""

    name: str | bytes
    shape: tuple[int, ...]
    kind: int
    nbytes: int
    offset: int | None = None
    dims: int | None = None

    def entry(self, offset: int) -> bytes:
        """The bytes of its entry, at `offset` unless it insists on another one."""
        dims = len(self.shape) if self.dims is None else self.dims
        place = offset if self.offset is None else self.offset
        shape = struct.pack(f"<{len(self.shape)}Q", *self.shape)
        return string(self.name) + struct.pack("<I", dims) + shape + struct.pack("<IQ", self.kind, place)


def f16_tensor(name: str, *shape: int) -> Tensor:
    """A tensor of half floats."""
    count = 1
    for length in shape:
        count *= length
    return Tensor(name, shape, F16, 2 * count)


def gguf(
    pairs: Mapping[str, bytes] | Iterable[tuple[str | bytes, bytes]] = (),
    tensors: Iterable[Tensor] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    alignment: int = 32,
    with_data: bool = True,
) -> bytes:
    """A whole file; the counts are right unless they are given."""
    items = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    entries = list(tensors)
    out = magic + struct.pack("<I", version)
    out += struct.pack("<Q", len(entries) if tensor_count is None else tensor_count)
    out += struct.pack("<Q", len(items) if key_count is None else key_count)
    out += b"".join(string(key) + value for key, value in items)
    place = 0
    for tensor in entries:
        out += tensor.entry(place)
        place += -(-tensor.nbytes // alignment) * alignment
    if entries:
        out += bytes(-len(out) % alignment)
    return out + bytes(place) if with_data else out


def llama_pairs() -> dict[str, bytes]:
    """The keys of a small llama: 2 layers of 4 heads with 2 for keys and values, 64 wide, 8 tokens."""
    return {
        "general.architecture": text("llama"),
        "general.name": text("Tiny"),
        "general.file_type": u32(1),
        "llama.context_length": u32(2048),
        "llama.block_count": u32(2),
        "llama.embedding_length": u32(64),
        "llama.feed_forward_length": u32(128),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.tokens": texts(["<s>", "</s>", "<|end|>", "a", "b", "ab", "é", b"\xff"]),
        "tokenizer.ggml.bos_token_id": u32(0),
        "tokenizer.ggml.eos_token_id": u32(1),
        "tokenizer.ggml.eot_token_id": u32(2),
        "tokenizer.ggml.add_bos_token": boolean(True),
        "tokenizer.chat_template": text("{{ messages }}"),
    }


def llama_tensors() -> list[Tensor]:
    """The weights to go with `llama_pairs`, not all of them."""
    return [
        f16_tensor("token_embd.weight", 64, 8),
        f16_tensor("blk.0.attn_q.weight", 64, 64),
        f16_tensor("blk.0.ffn_up.weight", 64, 128),
        f16_tensor("blk.1.attn_q.weight", 64, 64),
        f16_tensor("output_norm.weight", 64),
    ]


def llama() -> bytes:
    """A whole, small, right file."""
    return gguf(llama_pairs(), llama_tensors())
