"""How much memory a model takes in llama.cpp, told from its header."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localchat.hardware.cpu import Cpu
from localchat.hardware.formats import packed_bytes
from localchat.hardware.ggml_types import TENSOR_TYPES_BY_NAME
from localchat.hardware.graph import graph_bytes, logits_bytes, state_bytes
from localchat.hardware.header import GgufHeader, TensorInfo
from localchat.hardware.shape import ContextShape

MIB = 1 << 20

# Measured: an interpreter with the worker's modules is 48 MiB, what it does at its work 8 MiB, a context's own tables
# 2 MiB, and a vocabulary of 49,152 tokens and 48,900 merges 17 MiB.
_PROCESS = 56 * MIB
_PER_TOKEN_OF_VOCABULARY = 368


_EMBEDDING = "token_embd.weight"
# Rows are taken from these, and nothing is multiplied by them.
_TABLES = frozenset({_EMBEDDING, "position_embd.weight", "token_types.weight"})


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes in one kind of memory."""

    weights: int = 0
    kv_cache: int = 0
    compute: int = 0

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.kv_cache + self.compute

    def __add__(self, other: MemoryNeed) -> MemoryNeed:
        return MemoryNeed(self.weights + other.weights, self.kv_cache + other.kv_cache, self.compute + other.compute)

    def __str__(self) -> str:
        parts = (self.weights, self.kv_cache, self.compute, self.total)
        return "weights {} + KV cache {} + compute {} = {}".format(*map(readable, parts))


def readable(count: int) -> str:
    """Bytes as people write them."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / MIB:.0f} MiB"


class MemoryModel:
    """The memory of one model, split between RAM and VRAM by the number of layers on the GPU.

    Mapped weights count fully, and weights that are packed for the CPU once: their mapped originals are not read again,
    and the worker gives them back.
    """

    def __init__(self, header: GgufHeader, cpu: Cpu) -> None:
        self._header = header
        self._blocks = header.layer_bytes
        tensors = {tensor.name: tensor for tensor in header.tensors}
        embedding = tensors.get(_EMBEDDING)
        output = tensors.get("output.weight", embedding)
        self._output = output.nbytes if output else 0
        # llama.cpp looks tokens up on the CPU always, in the matrix as it is. Where the same matrix makes the logits,
        # the GPU gets a copy of it, and so does the CPU if it packs that type.
        self._tied = output is embedding
        self._copy = (packed_bytes(output, cpu) or 0) if output and self._tied else 0
        packed = replace(header, tensors=tuple(_packed(tensor, cpu) for tensor in header.tensors))
        self._packed_blocks = packed.layer_bytes
        self._packed_rest = packed.weight_bytes - sum(packed.layer_bytes)
        self._packed_output = _packed(output, cpu).nbytes if output and not self._tied else 0

    @property
    def layers(self) -> int:
        """What `gpu_layers` counts: the layers, and the output as one more."""
        return len(self._blocks) + 1

    def split(self, shape: ContextShape, gpu_layers: int) -> tuple[MemoryNeed, MemoryNeed]:
        """The need in RAM and in VRAM."""
        # llama.cpp moves the output first, then the layers from the last to the first.
        first = len(self._blocks) - min(max(0, gpu_layers - 1), len(self._blocks))
        kv = self._kv(shape)
        blocks, output = sum(self._blocks[first:]), self._output if gpu_layers else 0
        graph = graph_bytes(self._header, shape)
        host = _PROCESS + _PER_TOKEN_OF_VOCABULARY * self._header.vocab_size + logits_bytes(self._header, shape)
        rest = self._packed_rest + (-self._packed_output if gpu_layers else self._copy)
        ram = MemoryNeed(sum(self._packed_blocks[:first]) + rest, sum(kv[:first]), graph + host)
        vram = MemoryNeed(blocks + output, sum(kv[first:]), graph if gpu_layers else 0)
        return ram, vram

    def layers_that_fit(self, shape: ContextShape, vram: int) -> int:
        """The largest `gpu_layers` for this much VRAM."""
        kv = self._kv(shape)
        left = vram - graph_bytes(self._header, shape) - self._output
        fitting = 0
        for block in reversed(range(len(self._blocks))):
            if left < 0:
                return fitting
            fitting += 1
            left -= self._blocks[block] + kv[block]
        return fitting + (left >= 0)

    def _kv(self, shape: ContextShape) -> list[int]:
        state = state_bytes(self._header) * shape.parallel
        return [each * shape.cells + state for each in kv_bytes(self._header, shape.kv_type)]


def _packed(tensor: TensorInfo, cpu: Cpu) -> TensorInfo:
    """A tensor as llama.cpp keeps it in RAM."""
    is_table = tensor.name in _TABLES or len(tensor.shape) < 2
    size = None if is_table else packed_bytes(tensor, cpu)
    return tensor if size is None else replace(tensor, nbytes=size)


def kv_bytes(header: GgufHeader, kv_type: str) -> tuple[int, ...]:
    """Bytes of one token's keys and values in each layer.

    Layers with a sliding window count fully, which is what llama.cpp gives them unless `swa_full` is switched off.
    """
    if header.is_encoder_only or header.is_recurrent:
        return (0,) * header.block_count
    if not header.head_count_kv:  # no key says how many: as wide as can be
        return (2 * _row_bytes(header.embedding_length, kv_type),) * header.block_count
    # A built-in draft head keeps nothing in this context, nor do the last layers of Gemma 3n and 4.
    keeping = header.block_count - header.hparam("nextn_predict_layers") - header.hparam("attention.shared_kv_layers")
    # DeepSeek's latent attention keeps one compressed row for keys and values together.
    key_length, value_length = header.key_length, header.value_length
    if header.hparam("attention.key_length_mla"):
        value_length = 0
    rows = [
        _row_bytes(heads * key_length, kv_type) + _row_bytes(heads * value_length, kv_type)
        for heads in header.head_count_kv
    ]
    return tuple(row if layer < keeping else 0 for layer, row in enumerate(rows))


def _row_bytes(width: int, kv_type: str) -> int:
    kind = TENSOR_TYPES_BY_NAME[kv_type.upper()]
    return kind.bytes_of(-(-width // kind.block) * kind.block)
