"""The formats of weights: how good, how large, how llama.cpp holds them, and which it computes fast on which CPU.

Sizes and order are llama.cpp's own figures: bits a weight of Llama 3.1 8B, and how much the perplexity of Llama 3 8B
grows (Q8_0 0.003, Q6_K 0.02, Q5_K_M 0.06, Q4_K_M 0.18, Q4_0 0.47, Q3_K_M 0.66, Q2_K 3.5).

Fast is what has a matrix-matrix kernel, by the source of llama.cpp (`repack.cpp`, `sgemm.cpp`, `tiled.cpp`, `amx.cpp`):
a prompt is then read several tokens for each pass over the weights. Measured with one thread of an AVX-512 CPU on three
layers of MPT-7B's shape, prompt and decode in tokens/s: Q4_0 130/15, Q8_0 106/10, Q5_0 88/8, Q6_K 141/11, Q5_K 150/7,
Q4_K 165/14, Q3_K 191/16, Q2_K 164/15, IQ3_S 234/8, F16 96/7, BF16 94/6; and without such a kernel Q4_1 45/11 and
Q5_1 39/9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from localchat.hardware.cpu import Cpu
from localchat.hardware.ggml_types import TENSOR_TYPES_BY_NAME
from localchat.hardware.header import TensorInfo


@dataclass(frozen=True)
class Format:
    """A quantization by the name that people give it; most of its weights are of one tensor type."""

    name: str
    tensor: str
    bits: float


_BEST_FIRST = (
    Format("F32", "F32", 32.0),
    Format("BF16", "BF16", 16.0),
    Format("F16", "F16", 16.0),
    Format("Q8_0", "Q8_0", 8.5),
    Format("Q6_K", "Q6_K", 6.56),
    Format("Q5_K_M", "Q5_K", 5.7),
    Format("Q5_K_S", "Q5_K", 5.57),
    Format("Q5_1", "Q5_1", 6.04),
    Format("Q5_0", "Q5_0", 5.57),
    Format("Q4_K_M", "Q4_K", 4.89),
    Format("Q4_K_S", "Q4_K", 4.67),
    Format("IQ4_NL", "IQ4_NL", 4.68),
    Format("IQ4_XS", "IQ4_XS", 4.46),
    Format("MXFP4_MOE", "MXFP4", 4.5),
    Format("Q4_1", "Q4_1", 5.11),
    Format("Q4_0", "Q4_0", 4.64),
    Format("Q3_K_L", "Q3_K", 4.3),
    Format("Q3_K_M", "Q3_K", 4.0),
    Format("IQ3_M", "IQ3_S", 3.76),
    Format("IQ3_S", "IQ3_S", 3.66),
    Format("Q3_K_S", "Q3_K", 3.64),
    Format("IQ3_XS", "IQ3_S", 3.5),
    Format("IQ3_XXS", "IQ3_XXS", 3.25),
    Format("Q2_K", "Q2_K", 3.16),
    Format("Q2_K_S", "Q2_K", 2.97),
    Format("IQ2_M", "IQ2_S", 2.93),
    Format("IQ2_S", "IQ2_XS", 2.74),
    Format("IQ2_XS", "IQ2_XS", 2.59),
    Format("IQ2_XXS", "IQ2_XXS", 2.38),
    Format("IQ1_M", "IQ1_M", 2.15),
    Format("IQ1_S", "IQ1_S", 2.0),
)
_ALIASES = MappingProxyType({"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"})

FORMATS: Mapping[str, Format] = MappingProxyType({format.name: format for format in _BEST_FIRST})
"""By name, the best first."""

_RANK = MappingProxyType({name: rank for rank, name in enumerate(FORMATS)})
_K_AND_I = frozenset(
    {
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "IQ4_XS",
        "IQ3_S",
        "IQ3_XXS",
        "IQ2_S",
        "IQ2_XS",
        "IQ2_XXS",
        "IQ1_S",
        "IQ1_M",
    }
)


@dataclass(frozen=True)
class _Kernels:
    """What llama.cpp has for CPUs with one feature; `packed` types are kept in another order, larger by some bytes a
    block, where a matrix has a multiple of `rows`."""

    feature: str
    fast: frozenset[str]
    packed: Mapping[str, int]
    rows: int
    experts: bool = True
    """Whether it packs the three-dimensional matrices of experts, too."""


# The last that takes a matrix has it.
_KERNELS = (
    _Kernels(
        "avx2",
        fast=_K_AND_I | {"Q4_0", "IQ4_NL", "MXFP4", "Q5_0", "Q8_0", "F16", "F32"},
        packed=dict.fromkeys(("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"), 0),
        rows=8,
    ),
    _Kernels("avx512f", fast=frozenset(), packed={"Q2_K": 0}, rows=8),
    _Kernels("avx512_bf16", fast=frozenset({"BF16"}), packed={}, rows=8),
    _Kernels(
        "amx_int8",
        fast=frozenset({"Q4_1"}),
        packed={"Q4_0": 0, "Q4_1": 0, "Q8_0": 4, "Q4_K": 4, "Q5_K": 4, "Q6_K": 0, "IQ4_XS": 2, "F16": 0},
        rows=32,
        experts=False,
    ),
    _Kernels(
        "asimddp",
        fast=frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0", "F16", "F32"}),
        packed=dict.fromkeys(("Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"), 0),
        rows=8,
    ),
)


def format_of(name: str) -> Format | None:
    """A format by its name in any case; None if it is not known."""
    name = name.upper()
    return FORMATS.get(_ALIASES.get(name, name))


def rank(name: str) -> int:
    """The place among all formats by quality: 0 is the best, and a format that is not known the worst."""
    format = format_of(name)
    return _RANK[format.name] if format else len(_RANK)


def is_fast(name: str, cpu: Cpu) -> bool:
    """Whether this CPU reads prompts fast in this format; true of what nothing is known of."""
    format = format_of(name)
    kernels = _of(cpu)
    return format is None or not kernels or any(format.tensor in each.fast for each in kernels)


def packed_bytes(tensor: TensorInfo, cpu: Cpu) -> int | None:
    """Bytes of a matrix as llama.cpp keeps it for its kernels; None where it uses it as it is in the file."""
    for kernels in reversed(_of(cpu)):
        if tensor.type in kernels.packed and _takes(kernels, tensor):
            return tensor.nbytes + kernels.packed[tensor.type] * _blocks(tensor)
    return None


def _of(cpu: Cpu) -> tuple[_Kernels, ...]:
    return tuple(kernels for kernels in _KERNELS if kernels.feature in cpu.features)


def _takes(kernels: _Kernels, tensor: TensorInfo) -> bool:
    return tensor.shape[1] % kernels.rows == 0 and (kernels.experts or len(tensor.shape) == 2)


def _blocks(tensor: TensorInfo) -> int:
    return tensor.nbytes // TENSOR_TYPES_BY_NAME[tensor.type].size
