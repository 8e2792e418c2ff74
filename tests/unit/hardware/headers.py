"""Headers of well-known shapes, without any file, and a home machine to plan them for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from localchat.hardware import GgufHeader, LoadPlan, Machine, TensorInfo, plan_load
from localchat.hardware.cpu import Cpu
from localchat.hardware.header import Value
from localchat.hardware.shape import ContextShape
from localchat.settings import load_settings

MIB, GIB = 1 << 20, 1 << 30

HOME = Machine(cores=4, ram_total=16 * GIB, ram_available=12 * GIB, cpu=Cpu("CPU", frozenset({"avx2"})))


def model(
    arch: str = "llama",
    *,
    layers: int = 32,
    layer_bytes: int = 100 * MIB,
    tensors: tuple[TensorInfo, ...] | None = None,
    **keys: Value,
) -> GgufHeader:
    """Llama 2 7B's shape by default; `keys` are the architecture's own, with `__` for a point."""
    own: dict[str, Value] = {
        "context_length": 4096,
        "block_count": layers,
        "embedding_length": 4096,
        "feed_forward_length": 11008,
        "attention.head_count": 32,
        "vocab_size": 32000,
    }
    own |= {name.replace("__", "."): value for name, value in keys.items()}
    if tensors is None:
        tensors = (
            TensorInfo("token_embd.weight", (4096, 32000), "Q4_0", 70 * MIB),
            TensorInfo("output.weight", (4096, 32000), "Q6_K", 100 * MIB),
            *(TensorInfo(f"blk.{n}.ffn_gate.weight", (4096, 11008), "Q4_0", layer_bytes) for n in range(layers)),
        )
    metadata: dict[str, Value] = {"general.architecture": arch}
    metadata |= {f"{arch}.{name}": value for name, value in own.items()}
    return GgufHeader(Path("tiny.gguf"), 0, 3, metadata, tensors)


def plan(header: GgufHeader, machine: Machine = HOME, **flags: Any) -> LoadPlan:
    return plan_load(header, machine, load_settings(**flags))


def shape(**changes: Any) -> ContextShape:
    usual = ContextShape(
        n_ctx=8192,
        parallel=1,
        batch=512,
        ubatch=512,
        outputs=16,
        kv_type="f16",
        kv_unified=False,
        flash_attn=True,
    )
    return replace(usual, **changes)


SMOLLM2 = model(
    layers=30,
    context_length=8192,
    embedding_length=576,
    feed_forward_length=1536,
    attention__head_count=9,
    attention__head_count_kv=3,
    vocab_size=49152,
)
