"""What is read from the header of a GGUF file, and what is refused."""

from __future__ import annotations

import os
import struct
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.errors import NotGguf, WeightsError
from localchat.hardware import GgufArray, GgufHeader, read_header
from localchat.hardware.cursor import MAX_HEADER, MAX_STRING
from localchat.hardware.ggml_types import TENSOR_TYPES

from .gguf_bytes import (
    F16,
    F32,
    Q4_0,
    Tensor,
    array,
    boolean,
    f16_tensor,
    f32,
    f32s,
    gguf,
    i32,
    llama,
    llama_pairs,
    llama_tensors,
    string,
    text,
    texts,
    u8,
    u16,
    u32,
    u32s,
    u64,
)


def read(folder: Path, content: bytes) -> GgufHeader:
    file = folder / "tiny.gguf"
    file.write_bytes(content)
    return read_header(file)


def with_keys(**changes: bytes) -> bytes:
    """The right file with some keys changed; `__` stands for a point."""
    return gguf(llama_pairs() | {name.replace("__", "."): value for name, value in changes.items()}, llama_tensors())


def test_model_is_described(tmp_path: Path) -> None:
    header = read(tmp_path, llama())
    assert header.version == 3
    assert header.file_size == len(llama())
    assert (header.architecture, header.name, header.quant) == ("llama", "Tiny", "F16")
    assert (header.context_length, header.block_count, header.embedding_length) == (2048, 2, 64)
    assert (header.head_count, header.head_count_kv) == ((4, 4), (2, 2))
    assert (header.key_length, header.value_length) == (16, 16)
    assert header.chat_template == "{{ messages }}"
    assert header.sliding_window == 0
    assert not header.is_recurrent
    assert not header.is_encoder_decoder
    assert not header.is_encoder_only


def test_version_2_is_read_too(tmp_path: Path) -> None:
    assert read(tmp_path, gguf(llama_pairs(), llama_tensors(), version=2)).version == 2


def test_tensors_are_listed_with_their_bytes(tmp_path: Path) -> None:
    header = read(tmp_path, llama())
    assert header.tensors[0].name == "token_embd.weight"
    assert header.tensors[0].shape == (64, 8)
    assert (header.tensors[0].type, header.tensors[0].nbytes) == ("F16", 1024)
    assert header.weight_bytes == 1024 + 8192 + 16384 + 8192 + 128
    assert header.layer_bytes == (8192 + 16384, 8192)


def test_special_tokens_have_ids_and_texts(tmp_path: Path) -> None:
    header = read(tmp_path, llama())
    assert (header.vocab_size, header.add_bos) == (8, True)
    assert (header.bos_id, header.eos_id, header.eot_id) == (0, 1, 2)
    assert [header.token_text(token) for token in (0, 1, 2, 6, 7)] == ["<s>", "</s>", "<|end|>", "é", "\ufffd"]


@pytest.mark.parametrize("token", [-1, 8])
def test_token_outside_the_vocabulary_is_refused(tmp_path: Path, token: int) -> None:
    with pytest.raises(NotGguf, match=f"token {token} is not in its vocabulary of 8"):
        read(tmp_path, llama()).token_text(token)


def test_any_token_of_a_long_vocabulary_is_found(tmp_path: Path) -> None:
    words = [f"w{number}" * (number % 5) for number in range(3000)]
    header = read(tmp_path, with_keys(tokenizer__ggml__tokens=texts(words)))
    assert [header.token_text(token) for token in (0, 1023, 1024, 2048, 2999)] == [
        words[token] for token in (0, 1023, 1024, 2048, 2999)
    ]
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GgufArray)
    assert tokens.read() == words


def test_short_arrays_are_tuples_and_long_ones_stay_in_the_file(tmp_path: Path) -> None:
    header = read(tmp_path, gguf({"short": u32s([3, 1, 2]), "long": f32s([0.5] * 4999 + [0.25]), "none": texts([])}))
    assert header.metadata["short"] == (3, 1, 2)
    long, none = header.metadata["long"], header.metadata["none"]
    assert isinstance(long, GgufArray)
    assert isinstance(none, GgufArray)
    assert (long.type, len(long), long.read(4998)) == ("f32", 5000, [0.5, 0.25])
    assert none.read() == []
    with pytest.raises(NotGguf, match="no items 4999 to 5000"):
        long.read(4999, 2)


def test_array_in_a_file_that_has_gone_is_an_error_of_the_weights(tmp_path: Path) -> None:
    header = read(tmp_path, llama())
    header.path.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        header.token_text(0)


def test_every_type_of_value_is_read(tmp_path: Path) -> None:
    pairs = {"a": u8(200), "b": u16(60000), "c": i32(-5), "d": f32(1.5), "e": boolean(True), "f": u64(1 << 60)}
    assert read(tmp_path, gguf(pairs)).metadata == {
        "a": 200,
        "b": 60000,
        "c": -5,
        "d": 1.5,
        "e": True,
        "f": 1 << 60,
    }


def test_layers_may_differ_in_heads(tmp_path: Path) -> None:
    header = read(tmp_path, with_keys(llama__attention__head_count_kv=u32s([1, 0])))
    assert header.head_count_kv == (1, 0)


def test_heads_without_a_key_for_values_are_as_many_as_heads(tmp_path: Path) -> None:
    pairs = llama_pairs()
    del pairs["llama.attention.head_count_kv"]
    assert read(tmp_path, gguf(pairs, llama_tensors())).head_count_kv == (4, 4)


def test_lengths_of_keys_and_values_may_be_given(tmp_path: Path) -> None:
    content = with_keys(llama__attention__key_length=u32(32), llama__attention__value_length=u32(24))
    assert (read(tmp_path, content).key_length, read(tmp_path, content).value_length) == (32, 24)


def test_file_without_any_key_says_nothing(tmp_path: Path) -> None:
    header = read(tmp_path, gguf())
    assert (header.architecture, header.name, header.quant, header.chat_template) == ("", "", "", None)
    assert (header.context_length, header.key_length, header.vocab_size, header.head_count_kv) == (0, 0, 0, ())
    assert (header.bos_id, header.add_bos, header.layer_bytes, header.weight_bytes) == (None, None, (), 0)


@pytest.mark.parametrize("value", [text("many"), f32(2.0), boolean(True), i32(-1), texts(["2"])])
def test_number_of_another_type_counts_as_absent(tmp_path: Path, value: bytes) -> None:
    header = read(tmp_path, with_keys(llama__context_length=value, tokenizer__ggml__bos_token_id=value))
    assert header.context_length == 0
    assert header.bos_id is None


def test_own_alignment_is_kept(tmp_path: Path) -> None:
    pairs = llama_pairs() | {"general.alignment": u32(256)}
    assert len(read(tmp_path, gguf(pairs, llama_tensors(), alignment=256)).tensors) == 5


def test_padding_after_the_last_tensor_may_be_missing(tmp_path: Path) -> None:
    content = gguf({}, [f16_tensor("a", 17)])
    assert read(tmp_path, content[:-30]).weight_bytes == 34


@pytest.mark.parametrize("kind", TENSOR_TYPES)
def test_every_tensor_type_has_its_size(tmp_path: Path, kind: int) -> None:
    tensor_type = TENSOR_TYPES[kind]
    size = tensor_type.size * 3
    content = gguf({}, [Tensor("a", (tensor_type.block, 3), kind, size)])
    assert read(tmp_path, content).tensors[0].nbytes == size


HOSTILE = {
    "empty": (b"", "at least 4 bytes are missing"),
    "text": (b"hello there", "not a GGUF file: it begins with b'hell'"),
    "web page": (b"<!DOCTYPE html>", "a web page"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    "before GGUF": (b"tjgg" + bytes(100), "before GGUF"),
    "version 1": (gguf(version=1), "GGUF version 1, and only 2 and 3"),
    "version 0": (gguf(version=0), "GGUF version 0"),
    "version 4": (gguf(version=4), "GGUF version 4"),
    "big-endian": (gguf(version=0x03000000), "big-endian"),
    "too many keys": (gguf(key_count=1 << 62), "4611686018427387904 keys, more than"),
    "too many tensors": (gguf(tensor_count=(1 << 64) - 1), "18446744073709551615 tensors, more than"),
    "more keys than bytes": (gguf(key_count=60000), "list of 60000 keys"),
    "more tensors than bytes": (gguf(tensor_count=60000), "list of 60000 tensors"),
    "one key too few": (gguf({"a": u32(1)}, key_count=2), "bytes are missing"),
    "key without end": (
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 63) + bytes(99),
        "a key is 9223372036854775808 bytes long",
    ),
    "key beyond the file": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 60000) + bytes(99), "ends inside a key"),
    "empty key": (gguf({"": u32(1)}), "a key is empty"),
    "key not UTF-8": (gguf([(b"\xff", u32(1))]), "not UTF-8"),
    "key twice": (gguf([("a", u32(1)), ("a", u32(2))]), "the key 'a' is there twice"),
    "unknown type of value": (gguf({"a": struct.pack("<II", 13, 1)}), "the value of 'a' is of type 13"),
    "text without end": (gguf({"a": struct.pack("<IQ", 8, 1 << 40)}), f"more than {MAX_STRING}"),
    "text beyond the file": (gguf({"a": struct.pack("<IQ", 8, 5000)}), "ends inside the value of 'a'"),
    "array of arrays": (gguf({"a": array(9, 1, array(4, 0, b""))}), "an array of arrays"),
    "array of unknown type": (gguf({"a": array(77, 1, b"1234")}), "an array of type 77"),
    "array without end": (gguf({"a": array(0, 1 << 60, b"1234")}), "ends inside the value of 'a'"),
    "array of too many texts": (gguf({"a": array(8, 1 << 61, b"1234")}), "ends inside the value of 'a'"),
    "array with a text beyond the file": (
        gguf({"a": array(8, 2, string("x") + struct.pack("<Q", (1 << 64) - 1))}),
        "ends inside the value of 'a'",
    ),
    "alignment no power of two": (with_keys(general__alignment=u32(48)), "general.alignment is 48"),
    "alignment 0": (with_keys(general__alignment=u32(0)), "general.alignment is 0"),
    "alignment huge": (with_keys(general__alignment=u32(1 << 31)), "general.alignment is 2147483648"),
    "alignment a text": (with_keys(general__alignment=text("32")), "general.alignment is '32'"),
    "split": (with_keys(split__count=u16(3)), "one of 3 parts"),
    "tensor name too long": (gguf({}, [f16_tensor("n" * 64, 8)]), "a tensor's name is 64 bytes long"),
    "tensor twice": (gguf({}, [f16_tensor("a", 8), f16_tensor("a", 8)]), "the tensor 'a' is there twice"),
    "five dimensions": (gguf({}, [f16_tensor("a", 1, 1, 1, 1, 1)]), "has 5 dimensions"),
    "dimensions without end": (gguf({}, [Tensor("a", (8,), F16, 16, dims=1 << 31)]), "has 2147483648 dimensions"),
    "negative dimension": (gguf({}, [Tensor("a", (1 << 63,), F16, 0)]), "has a dimension of 9223372036854775808"),
    "elements overflow": (gguf({}, [Tensor("a", (1 << 32, 1 << 32), F16, 0)]), "too many elements"),
    "overflow behind a zero": (gguf({}, [Tensor("a", (0, 1 << 40, 1 << 40), F16, 0)]), "too many elements"),
    "unknown type of tensor": (gguf({}, [Tensor("a", (32,), 99, 32)]), "of type 99"),
    "removed type of tensor": (gguf({}, [Tensor("a", (32,), 4, 32)]), "of type 4"),
    "row not of whole blocks": (gguf({}, [Tensor("a", (33,), Q4_0, 32)]), "not a multiple of the 32 that Q4_0 needs"),
    "offset not aligned": (gguf({}, [Tensor("a", (8,), F32, 32, offset=7)]), "the offset 7, not a multiple of 32"),
    "offset beyond the file": (gguf({}, [Tensor("a", (8,), F32, 32, offset=1 << 40)]), "0 is where it should be"),
    "tensors overlap": (
        gguf({}, [f16_tensor("a", 64), Tensor("b", (64,), F16, 128, offset=0)]),
        "tensor 'b' has the offset 0, and 128",
    ),
    "tensor larger than the file": (gguf({}, [Tensor("a", (1 << 40,), F16, 0)]), "bytes are missing at its end"),
    "more layers than llama.cpp has": (with_keys(llama__block_count=u32(513)), "block_count is 513, more than 512"),
    "heads for another number of layers": (
        with_keys(llama__attention__head_count=u32s([4, 4, 4])),
        "llama.attention.head_count has 3 items for 2 layers",
    ),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_broken_file_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(NotGguf) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith("tiny.gguf: ")
    assert reason in message
    assert "\n" not in message


def test_long_text_of_the_file_is_not_quoted_whole(tmp_path: Path) -> None:
    with pytest.raises(NotGguf) as caught:
        read(tmp_path, with_keys(general__alignment=text("\n" * 100_000)))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_cut_file_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    with pytest.raises(NotGguf, match="1000 bytes are missing at its end"):
        read(tmp_path, gguf({}, [f16_tensor("a", 1024)])[:-1000])


def test_header_without_end_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf({"a": array(0, MAX_HEADER, b"")}))
    os.truncate(file, 2 * MAX_HEADER)  # a hole, nothing on the disk
    with pytest.raises(NotGguf, match="header is longer than 128 MiB"):
        read_header(file)


def test_missing_file_is_an_error_of_the_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_header(tmp_path / "none.gguf")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotGguf, match="not a regular file"):
        read_header(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotGguf, match="not a regular file"):
        read_header(tmp_path / "pipe")


def test_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = llama()  # its last tensor has 128 bytes, so that there is no padding to lose
    header = len(gguf(llama_pairs(), llama_tensors(), with_data=False))
    for length in (*range(0, header, 3), *range(header, len(content), 4096), len(content) - 1):
        with pytest.raises(NotGguf):
            read(tmp_path, content[:length])


@settings(deadline=timedelta(seconds=2), max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(gguf(llama_pairs(), llama_tensors(), with_data=False))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    # The weights themselves are not looked at, so zeros will do.
    content += bytes(data.draw(st.sampled_from([0, 100, 1 << 16])))
    try:
        header = read(tmp_path, bytes(content))
    except NotGguf:
        return
    look_at_everything(header)


def look_at_everything(header: GgufHeader) -> None:
    """No property may fail on what a header can hold."""
    for name in dir(GgufHeader):
        if isinstance(getattr(GgufHeader, name), property):
            getattr(header, name)
    if header.bos_id is not None and header.bos_id < header.vocab_size:
        try:
            header.token_text(header.bos_id)
        except NotGguf:
            assert not isinstance(header.metadata.get("tokenizer.ggml.tokens"), GgufArray)
