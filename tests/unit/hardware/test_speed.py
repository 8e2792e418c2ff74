"""What a token makes the machine read, and the speed that follows."""

from __future__ import annotations

import pytest

from localchat.hardware import TensorInfo
from localchat.hardware.speed import bytes_per_token, tokens_per_second

from .headers import MIB, model

EMBEDDING = TensorInfo("token_embd.weight", (4096, 32000), "Q4_0", 70 * MIB)
UP = TensorInfo("blk.0.ffn_up.weight", (4096, 11008), "Q4_0", 100 * MIB)


def test_embeddings_are_read_only_where_they_make_the_logits() -> None:
    output = TensorInfo("output.weight", (4096, 32000), "Q6_K", 80 * MIB)
    assert bytes_per_token(model(tensors=(EMBEDDING, UP))) == 170 * MIB
    assert bytes_per_token(model(tensors=(EMBEDDING, output, UP))) == 180 * MIB


def test_only_the_chosen_experts_are_read() -> None:
    experts = TensorInfo("blk.0.ffn_up_exps.weight", (4096, 1408, 64), "Q4_0", 640 * MIB)
    header = model(tensors=(UP, experts), expert_count=64, expert_used_count=6)
    assert bytes_per_token(header) == 160 * MIB


def test_seven_billion_parameters_on_fifty_gigabytes_a_second() -> None:
    # Measured on two cores: 12.2 tokens/s of MPT-7B's shape, whose Q4_0 has 3.74 GB.
    header = model(tensors=(TensorInfo("blk.0.w.weight", (1, 1), "Q4_0", 3_742_000_000),))
    assert tokens_per_second(header, 50e9) == pytest.approx(12.2, rel=0.15)


def test_a_small_model_spends_half_its_time_between_matrices() -> None:
    # Measured on the same: 248 tokens/s of SmolLM2-135M in Q4_0.
    header = model(layers=30, tensors=(TensorInfo("blk.0.w.weight", (1, 1), "Q4_0", 92_000_000),))
    assert tokens_per_second(header, 50e9) == pytest.approx(248, rel=0.15)
