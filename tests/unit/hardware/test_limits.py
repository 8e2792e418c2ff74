"""Numbers that llama.cpp would not survive are refused before it sees the file."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.errors import NotGguf
from localchat.hardware import read_header
from localchat.hardware.limits import check_vocabulary
from tiny_models import DECODERS, build

from .gguf_bytes import gguf, llama_pairs, llama_tensors, texts, u32

MIB = 1 << 20


def edited(path: Path, key: str, value: int | float) -> Path:
    """Put another number of four bytes in the place of a key's."""
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key) + 4
    content[place : place + 4] = struct.pack("<f" if isinstance(value, float) else "<I", value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("architecture", DECODERS)
def test_real_architectures_pass(architecture: str, tmp_path: Path) -> None:
    header = read_header(build(tmp_path / "tiny.gguf", architecture))
    check_vocabulary(header)
    assert header.architecture == architecture


@pytest.mark.parametrize(
    ("architecture", "key", "value", "reason"),
    [
        ("llama", "block_count", 0, "block_count is 0: a model without layers"),
        ("llama", "block_count", 1 << 31, "block_count is 2147483648, more than 512"),
        ("gpt2", "attention.layer_norm_epsilon", -1.0, "attention.layer_norm_epsilon is -1.0"),
        ("llama", "attention.layer_norm_rms_epsilon", float("nan"), "attention.layer_norm_rms_epsilon is nan"),
        ("chatglm", "rope.dimension_count", 64, "rope.dimension_count is 64, and a key has 16 numbers"),
        ("gptneox", "rope.dimension_count", 3, "rope.dimension_count is 3"),
        ("stablelm", "rope.dimension_count", 0, "rope.dimension_count is 0"),
        ("qwen2", "rope.dimension_count", 2, "rope.dimension_count is 2, and a key has 16 numbers"),
        ("rwkv7", "wkv.head_size", 0, "wkv.head_size is 0, which does not divide 64"),
        ("rwkv7", "wkv.head_size", 48, "wkv.head_size is 48, which does not divide 64"),
        ("jamba", "ssm.inner_size", 64, "ssm.inner_size is 64, which is not twice 64"),
    ],
)
def test_number_that_ends_the_process_is_refused(
    tmp_path: Path, architecture: str, key: str, value: int | float, reason: str
) -> None:
    path = edited(build(tmp_path / "tiny.gguf", architecture), f"{architecture}.{key}", value)
    with pytest.raises(NotGguf) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"tiny.gguf: {architecture}.{reason}")


def test_token_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    tokens = {"tokenizer.ggml.tokens": texts(["<s>", "", "", "a", b"\xff", b"\xfe", "a"])}
    path.write_bytes(gguf(llama_pairs() | tokens, llama_tensors()))
    with pytest.raises(NotGguf, match=r"the token 'a' is twice in its vocabulary"):
        check_vocabulary(read_header(path))


def test_empty_tokens_and_broken_texts_are_told_apart_by_llama(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    tokens = {"tokenizer.ggml.tokens": texts(["", "", b"\xff", b"\xfe"])}
    path.write_bytes(gguf(llama_pairs() | tokens, llama_tensors()))
    check_vocabulary(read_header(path))


def test_number_of_another_type_is_left_to_llama(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf(llama_pairs() | {"llama.attention.layer_norm_rms_epsilon": u32(0)}, llama_tensors()))
    assert read_header(path).architecture == "llama"


@settings(deadline=timedelta(seconds=5), max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_real_file_is_read_or_refused_in_little_memory(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "tiny.gguf"
    architecture = data.draw(st.sampled_from(sorted(DECODERS)))
    content = bytearray(build(path, architecture).read_bytes())
    length = read_header(path).length
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, length - 8))
        damage = data.draw(st.sampled_from([b"\0", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\0\0\0\x80", b"\x40\0\0\0\1"]))
        content[place : place + len(damage)] = damage
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with suppress(NotGguf):
            check_vocabulary(read_header(path))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * MIB
