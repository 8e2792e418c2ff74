"""How much memory a model is told to need, against what llama.cpp logged and the system counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localchat.hardware import GgufHeader, TensorInfo
from localchat.hardware.graph import graph_bytes, state_bytes
from localchat.hardware.need import MemoryModel, kv_bytes
from localchat.hardware.shape import ContextShape

from .headers import HOME, MIB, SMOLLM2, model, plan, shape


@pytest.mark.parametrize(
    ("kv_type", "mebibytes"),
    # 2 sequences of 2048 tokens, 30 layers, 3 heads of 64 numbers: what llama.cpp logged for SmolLM2-135M.
    [("f32", 180.0), ("f16", 90.0), ("bf16", 90.0), ("q8_0", 47.8125), ("q4_0", 25.3125)],
)
def test_cache_is_as_large_as_llama_cpp_says(kv_type: str, mebibytes: float) -> None:
    got = plan(SMOLLM2, ctx_size=2048, parallel=2, kv_type=kv_type)
    assert got.memory.kv_cache == mebibytes * MIB


def test_cache_is_padded_for_each_sequence() -> None:
    one = plan(SMOLLM2, ctx_size=256, parallel=1).memory.kv_cache
    assert plan(SMOLLM2, ctx_size=257, parallel=3).memory.kv_cache == 6 * one


def test_cache_differs_by_layer() -> None:
    header = model(layers=4, attention__head_count_kv=(8, 0, 8, 8))
    assert kv_bytes(header, "f16") == (4096, 0, 4096, 4096)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (model(layers=3, nextn_predict_layers=1), (16384, 16384, 0)),
        (model(layers=3, attention__shared_kv_layers=2), (16384, 0, 0)),
        (model(layers=1, attention__sliding_window=512), (16384,)),
        (
            model(
                "deepseek2",
                layers=1,
                attention__head_count_kv=1,
                attention__key_length=576,
                attention__value_length=512,
                attention__key_length_mla=192,
            ),
            (1152,),
        ),
        (model("mamba", layers=2, attention__head_count=0), (0, 0)),
        (model("bert", layers=2), (0, 0)),
        (model(layers=2, attention__head_count="many"), (16384, 16384)),
    ],
    ids=["draft head", "shared layers", "sliding window", "latent", "recurrent", "encoder", "unknown heads"],
)
def test_not_every_layer_keeps_keys_and_values(header: GgufHeader, expected: tuple[int, ...]) -> None:
    assert kv_bytes(header, "f16") == expected


LLAMA_7B = model()
MPT_7B = model(
    "mpt",
    feed_forward_length=16384,
    vocab_size=50432,
    tensors=(TensorInfo("blk.0.ffn_up.weight", (4096, 16384), "F16", 0),),
)
MIXTRAL = model(feed_forward_length=14336, attention__head_count_kv=8, expert_count=8, expert_used_count=2)
QWEN3_30B = model(
    "qwen3moe",
    embedding_length=2048,
    feed_forward_length=6144,
    attention__head_count_kv=4,
    attention__key_length=128,
    attention__value_length=128,
    expert_count=128,
    expert_used_count=8,
    expert_feed_forward_length=768,
    vocab_size=151936,
)
MAMBA_3B = model(
    "mamba",
    layers=4,
    embedding_length=2560,
    feed_forward_length=0,
    attention__head_count=0,
    ssm__conv_kernel=4,
    ssm__inner_size=5120,
    ssm__state_size=16,
    vocab_size=50280,
)


@pytest.mark.parametrize(
    ("header", "sizes", "mebibytes"),
    # What llama.cpp logged as the compute buffer, and what the CPU converts rows into beside it.
    [
        (LLAMA_7B, shape(), 104.5 + 10.75),
        (LLAMA_7B, shape(n_ctx=4096, parallel=4, kv_unified=True, outputs=64), 112.5 + 10.75),
        (LLAMA_7B, shape(flash_attn=False), 584.0 + 256),
        (LLAMA_7B, shape(n_ctx=4096, ubatch=128), 25.1 + 2.7),
        (MPT_7B, shape(), 72.0 + 16),
        (MPT_7B, shape(outputs=512), 122.5),
        (MIXTRAL, shape(), 208.0 + 28),
        (QWEN3_30B, shape(), 96.0 + 6),
        (QWEN3_30B, shape(outputs=512), 304.8),
        (SMOLLM2, shape(), 21.5 + 1.5),
        (SMOLLM2, shape(n_ctx=2048, flash_attn=False), 46.4 + 18),
        (MAMBA_3B, shape(n_ctx=4096, parallel=4, outputs=64), 66.7 + 5),
    ],
)
def test_graph_is_as_large_as_llama_cpp_says(header: GgufHeader, sizes: ContextShape, mebibytes: float) -> None:
    assert graph_bytes(header, sizes) / MIB == pytest.approx(mebibytes, rel=0.04)


def test_recurrent_state_is_as_large_as_llama_cpp_says() -> None:
    got = plan(MAMBA_3B, ctx_size=4096, parallel=16)
    assert got.memory.kv_cache == 23.75 * MIB
    assert state_bytes(model("rwkv7", embedding_length=2560, wkv__head_size=64)) == 4 * 2560 * (2 + 64)


def test_embedded_model_needs_what_was_measured() -> None:
    header = replace(SMOLLM2, tensors=(TensorInfo("token_embd.weight", (576, 49152), "Q8_0", 96576768),))
    got = plan(header, ctx_size=2048, parallel=2)
    # The resident set after both were full; rows of logits that nobody asks for are counted, but stay untouched.
    assert got.memory.total / MIB == pytest.approx(260.1, rel=0.1)


@pytest.mark.parametrize(("kind", "copies"), [("Q4_0", 2), ("F16", 1)])
def test_shared_embeddings_that_are_repacked_count_twice(kind: str, copies: int) -> None:
    header = model(tensors=(TensorInfo("token_embd.weight", (4096, 32000), kind, 70 * MIB),))
    assert plan(header).memory.weights == copies * 70 * MIB


@pytest.mark.parametrize("layers", range(34))
def test_layers_that_fit_are_as_many_as_the_split_allows(layers: int) -> None:
    memory = MemoryModel(model(), HOME.cpu)
    exact = memory.split(shape(), layers)[1].total
    assert memory.layers_that_fit(shape(), exact) == layers
    assert memory.layers_that_fit(shape(), exact - 1) == max(0, layers - 1)
