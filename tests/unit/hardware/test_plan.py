"""How a model is loaded on machines of many sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from localchat.errors import ConfigError, DoesNotFit, LocalchatError
from localchat.hardware import GgufHeader, Gpu, Machine, MemoryNeed, TensorInfo, plan_load
from localchat.hardware.header import Value
from localchat.hardware.plan import ram_budget
from localchat.settings import Settings

from .headers import GIB, HOME, MIB, SMOLLM2, model, plan


def test_model_that_fits_gets_the_context_it_was_trained_for() -> None:
    got = plan(SMOLLM2)
    assert (got.n_ctx, got.parallel, got.gpu_layers) == (8192, 4, 0)
    assert (got.threads, got.batch, got.ubatch, got.kv_type, got.flash_attn) == (4, 512, 512, "f16", "auto")
    assert not got.kv_unified
    assert got.vram == MemoryNeed()


def test_given_sizes_are_kept() -> None:
    got = plan(
        SMOLLM2,
        ctx_size=1000,
        parallel=2,
        threads=7,
        batch_size=256,
        ubatch_size=512,
        kv_type="q8_0",
        kv_unified=True,
        flash_attn="on",
    )
    assert (got.n_ctx, got.parallel, got.threads, got.batch, got.ubatch) == (1000, 2, 7, 256, 256)
    assert (got.kv_type, got.kv_unified, got.flash_attn) == ("q8_0", True, "on")


def test_prefix_cache_is_a_part_of_what_is_left_and_bounded() -> None:
    budget = ram_budget(HOME)
    small = plan(SMOLLM2)
    assert small.prefix_cache == min(GIB // 2, (budget - small.memory.total) // 16)
    large = plan(model(), ctx_size=4096, parallel=1)
    assert large.prefix_cache == max(0, (budget - large.memory.total) // 16)
    assert plan(model(), Machine(4, 999 * GIB, 900 * GIB)).prefix_cache >= GIB // 2
    assert plan(SMOLLM2, prefix_cache=7).prefix_cache == 7
    assert plan(model(), Machine(4, GIB, GIB), force=True).prefix_cache == 0


def test_batch_is_no_larger_than_the_context() -> None:
    got = plan(SMOLLM2, ctx_size=64, parallel=2)
    assert (got.batch, got.ubatch, got.outputs) == (128, 128, 64)


@pytest.mark.parametrize("free", [7, 8, 9, 10])
def test_context_is_cut_to_the_memory(free: int) -> None:
    machine = Machine(4, 16 * GIB, free * GIB)
    got = plan(model(), machine)
    budget = free * GIB - 16 * GIB // 10
    one_more = plan(model(), HOME, ctx_size=got.n_ctx + 256, force=True)
    assert got.n_ctx % 256 == 0
    assert 512 <= got.n_ctx < 4096
    assert got.memory.total <= budget < one_more.memory.total


def test_a_gigabyte_at_least_is_kept_back() -> None:
    need = plan(model(), ctx_size=512, parallel=1).memory.total
    assert plan(model(), Machine(4, 5 * GIB, need + GIB), ctx_size=512, parallel=1)
    with pytest.raises(DoesNotFit):
        plan(model(), Machine(4, 5 * GIB, need + GIB - 1), ctx_size=512, parallel=1)


@pytest.mark.parametrize("flags", [{}, {"ctx_size": 512}])
def test_model_that_does_not_fit_is_refused_with_the_sum(flags: dict[str, Any]) -> None:
    with pytest.raises(DoesNotFit) as caught:
        plan(model(), Machine(4, 4 * GIB, 3 * GIB), **flags)
    assert str(caught.value) == (
        "tiny.gguf does not fit: weights 3.3 GiB + KV cache 1.0 GiB + compute 183 MiB = 4.5 GiB of RAM, and 2.0 GiB"
        " can be had (3.0 GiB free, 1.0 GiB of it kept back). Use a smaller --ctx-size (it is 512), --parallel"
        " (it is 4), a smaller quantization, or --force."
    )


def test_force_loads_what_does_not_fit() -> None:
    small = Machine(4, 4 * GIB, 3 * GIB)
    assert plan(model(), small, force=True).n_ctx == 512
    assert plan(model(), small, force=True, ctx_size=4096).n_ctx == 4096


def test_memory_setting_caps_what_is_free() -> None:
    assert ram_budget(HOME, 4 * GIB) == 4 * GIB
    assert ram_budget(HOME, 64 * GIB) == ram_budget(HOME) == HOME.ram_available - 16 * GIB // 10
    assert plan(model(), memory=6 * GIB).memory.total <= 6 * GIB
    with pytest.raises(DoesNotFit, match=r"= 4\.5 GiB of RAM, and 4\.0 GiB can be had \(--memory is 4\.0 GiB\)"):
        plan(model(), memory=4 * GIB)


def test_more_context_than_was_trained_is_refused_whatever_is_forced() -> None:
    with pytest.raises(ConfigError, match=r"--ctx-size 8193 is more than the 8192 tokens that tiny\.gguf"):
        plan(SMOLLM2, ctx_size=8193, force=True)


def test_model_trained_for_less_than_512_gets_all_of_it() -> None:
    assert plan(model(context_length=300)).n_ctx == 300


def test_quantized_cache_needs_flash_attention() -> None:
    with pytest.raises(ConfigError, match="--kv-type q8_0 needs flash attention"):
        plan(SMOLLM2, kv_type="q8_0", flash_attn="off")


def test_quantized_cache_needs_heads_of_whole_blocks() -> None:
    with pytest.raises(ConfigError, match=r"heads of a multiple of 32, .* are 80 wide"):
        plan(model(attention__key_length=80), kv_type="q4_0")


def with_gpu(free: int, *, more: int = 0) -> Machine:
    gpus = tuple(Gpu("GPU", size, 24 * GIB) for size in (free, more) if size)
    return replace(HOME, gpus=gpus)


def test_whole_model_goes_to_a_large_gpu() -> None:
    got = plan(model(), with_gpu(20 * GIB))
    assert (got.gpu_layers, got.n_ctx) == (33, 4096)
    assert got.vram.weights == 3300 * MIB
    assert got.vram.kv_cache == 8 * GIB
    assert got.memory.weights == 70 * MIB
    assert got.memory.kv_cache == 0


def test_context_is_cut_to_keep_a_model_on_the_gpu() -> None:
    got = plan(model(context_length=32768), with_gpu(16 * GIB))
    assert got.gpu_layers == 33
    assert 4096 <= got.n_ctx < 32768
    assert got.vram.total <= 15 * GIB


def test_layers_that_do_not_fit_stay_in_ram() -> None:
    got = plan(model(), with_gpu(4 * GIB), ctx_size=2048)
    assert 1 < got.gpu_layers < 33
    assert got.vram.total <= 3 * GIB
    assert got.vram.weights == 100 * MIB + (got.gpu_layers - 1) * 100 * MIB
    assert got.memory.weights == 70 * MIB + (33 - got.gpu_layers) * 100 * MIB
    assert got.memory.kv_cache + got.vram.kv_cache == 4 * GIB


def test_small_context_is_no_price_for_the_gpu() -> None:
    got = plan(model(), with_gpu(6 * GIB))
    assert got.n_ctx == 4096
    assert got.gpu_layers < 33


def test_gpu_without_room_gets_nothing() -> None:
    got = plan(model(), with_gpu(GIB))
    assert got.gpu_layers == 0
    assert got.vram == MemoryNeed()


def test_gpus_add_up() -> None:
    assert plan(model(), with_gpu(7 * GIB, more=7 * GIB)).gpu_layers == 33


def test_gpu_gets_a_copy_of_shared_embeddings() -> None:
    header = model(tensors=(TensorInfo("token_embd.weight", (4096, 32000), "Q4_0", 70 * MIB),))
    got = plan(header, with_gpu(20 * GIB))
    assert (got.vram.weights, got.memory.weights) == (70 * MIB, 70 * MIB)


def test_layers_that_were_asked_for_are_kept() -> None:
    assert plan(model(), with_gpu(20 * GIB), gpu_layers=10).gpu_layers == 10
    assert plan(model(), with_gpu(20 * GIB), gpu_layers=999).gpu_layers == 33
    assert plan(model(), with_gpu(20 * GIB), gpu_layers=0).vram == MemoryNeed()


def test_layers_asked_for_without_a_known_gpu_count_as_ram() -> None:
    got = plan(model(), gpu_layers=33, ctx_size=2048)
    assert got.gpu_layers == 33
    assert got.memory.weights == 3370 * MIB


def test_more_layers_than_the_gpu_holds_are_refused() -> None:
    with pytest.raises(DoesNotFit, match=r"of VRAM, and 3\.0 GiB can be had .* --gpu-layers"):
        plan(model(), with_gpu(4 * GIB), gpu_layers=33, ctx_size=4096)
    assert plan(model(), with_gpu(4 * GIB), gpu_layers=33, ctx_size=4096, force=True).gpu_layers == 33


def test_encoder_sees_its_text_at_once() -> None:
    got = plan(model("bert", context_length=2048))
    assert (got.n_ctx, got.batch, got.ubatch, got.outputs) == (2048, 2048, 2048, 2048)
    assert got.memory.kv_cache == 0


def test_encoder_decoder_shares_one_buffer() -> None:
    assert plan(model("t5", context_length=512)).kv_unified


def test_model_that_says_nothing_is_planned_with_care() -> None:
    header = GgufHeader(Path("tiny.gguf"), 0, 3, {}, ())
    got = plan(header)
    assert got.n_ctx == 2048
    assert got.memory.compute > 256 * MIB


NUMBERS = st.sampled_from([0, 1, 2, 7, 64, 512, 4096, 1 << 20, 1 << 32, (1 << 64) - 1])
VALUES: st.SearchStrategy[Value] = st.one_of(
    NUMBERS, st.just(-1), st.just(1.5), st.just(True), st.just("x"), st.just(()), st.just((1, 2)), st.just((0.5, -1))
)
KEYS = [
    *("context_length", "embedding_length", "feed_forward_length", "vocab_size", "expert_used_count"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("nextn_predict_layers", "attention.shared_kv_layers", "ssm.inner_size", "ssm.conv_kernel", "wkv.head_size"),
]


@hypothesis_settings(max_examples=200)
@given(
    arch=st.sampled_from(["llama", "mamba", "bert", "t5", ""]),
    keys=st.dictionaries(st.sampled_from(KEYS), VALUES),
    layers=st.integers(0, 3),
    free=st.sampled_from([0, GIB, 20 * GIB, 1 << 60]),
    gpu=st.sampled_from([0, 2 * GIB, 1 << 60]),
    force=st.booleans(),
)
def test_any_header_is_planned_or_refused(
    arch: str, keys: dict[str, Value], layers: int, free: int, gpu: int, force: bool
) -> None:
    metadata: dict[str, Value] = {"general.architecture": arch, f"{arch}.block_count": layers}
    metadata |= {f"{arch}.{name}": value for name, value in keys.items()}
    header = GgufHeader(Path("odd.gguf"), 0, 3, metadata, (TensorInfo("blk.1.x", (3,), "F32", 12),))
    machine = Machine(2, max(free, GIB), free, (Gpu("GPU", gpu, gpu),) if gpu else ())
    try:
        got = plan_load(header, machine, Settings(force=force))
    except LocalchatError:
        return
    assert got.n_ctx >= 1
    assert 0 <= got.gpu_layers <= layers + 1
    assert min(got.memory.weights, got.memory.kv_cache, got.memory.compute) >= 0
