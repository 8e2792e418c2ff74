"""How good formats are, how large, which are fast where, and what llama.cpp packs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from localchat.hardware import TensorInfo
from localchat.hardware.cpu import Cpu
from localchat.hardware.formats import FORMATS, format_of, is_fast, packed_bytes, rank
from localchat.hardware.ggml_types import FILE_TYPES, TENSOR_TYPES_BY_NAME

AVX2 = Cpu("x86", frozenset({"avx2"}))
AVX512 = Cpu("x86", frozenset({"avx2", "avx512f", "avx512_bf16"}))
AMX = Cpu("x86", frozenset({"avx2", "avx512f", "avx512_bf16", "amx_int8"}))
ARM = Cpu("arm", frozenset({"asimddp"}))


def test_every_format_is_known_to_llama_cpp() -> None:
    for format in FORMATS.values():
        assert format.tensor in TENSOR_TYPES_BY_NAME
        assert format.name in FILE_TYPES.values()


@pytest.mark.parametrize("names", [("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "NEW")])
def test_formats_are_ranked_by_quality(names: tuple[str, ...]) -> None:
    assert all(rank(better) < rank(worse) for better, worse in pairwise(names))


def test_names_are_taken_in_any_case_and_short() -> None:
    assert format_of("q4_k_m") is format_of("Q4_K") is FORMATS["Q4_K_M"]
    assert format_of("NEW") is None


@pytest.mark.parametrize(
    ("cpu", "slow"),
    [
        (AVX2, {"Q4_1", "Q5_1", "BF16"}),
        (AVX512, {"Q4_1", "Q5_1"}),
        (AMX, {"Q5_1"}),
        (ARM, {"BF16", "Q4_1", "Q5_1", "Q5_0", "Q3_K_M", "IQ4_XS"}),
        (Cpu("unknown"), set()),
    ],
    ids=["avx2", "avx512", "amx", "arm", "unknown"],
)
def test_slow_is_what_has_no_matrix_kernel(cpu: Cpu, slow: set[str]) -> None:
    some = (
        "BF16",
        "F16",
        "Q8_0",
        "Q6_K",
        "Q5_K_M",
        "Q5_1",
        "Q5_0",
        "Q4_K_M",
        "IQ4_NL",
        "IQ4_XS",
        "Q4_1",
        "Q4_0",
        "Q3_K_M",
    )
    assert {name for name in some if not is_fast(name, cpu)} == slow
    assert is_fast("NEW", cpu)


def matrix(kind: str, *shape: int) -> TensorInfo:
    elements = 1
    for length in shape:
        elements *= length
    return TensorInfo("blk.0.ffn_up.weight", shape, kind, TENSOR_TYPES_BY_NAME[kind].bytes_of(elements))


@pytest.mark.parametrize(
    ("kind", "shape", "cpu", "growth"),
    [
        ("Q4_0", (256, 64), AVX2, 0),
        ("Q4_0", (256, 63), AVX2, None),
        ("Q8_0", (256, 64), AVX2, None),
        ("Q8_0", (256, 64), ARM, 0),
        ("Q8_0", (256, 64), AMX, 4 * 8 * 64),  # what llama.cpp allocates: 38 bytes for each block of 34
        ("Q8_0", (256, 40), AMX, None),
        ("Q4_K", (256, 64), AMX, 4 * 64),
        ("Q4_K", (256, 40), AMX, 0),
        ("Q4_K", (256, 64, 4), AMX, 0),
        ("Q2_K", (256, 64), AVX2, None),
        ("Q2_K", (256, 64), AVX512, 0),
        ("Q4_0", (256, 64), Cpu(), None),
    ],
)
def test_some_matrices_are_packed(kind: str, shape: tuple[int, ...], cpu: Cpu, growth: int | None) -> None:
    tensor = matrix(kind, *shape)
    assert packed_bytes(tensor, cpu) == (None if growth is None else tensor.nbytes + growth)
