"""Decoders whose past is a state of fixed size."""

from __future__ import annotations

import numpy as np

from .size import Hparams, Size
from .weights import LOUD, SHARP, Weights

_STATE, _KERNEL = 16, 4
_LOW_RANK = 8
_WKV_HEAD = 64  # as in every RWKV; llama.cpp's vector code reads past the end of a narrower head


class Mamba:
    """A selective state space in every layer."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys; heads and feed-forward network are 0, and must be there."""
        return {
            **size.hparams(),
            "feed_forward_length": 0,
            "attention.head_count": 0,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "ssm.conv_kernel": _KERNEL,
            "ssm.inner_size": 2 * size.width,
            "ssm.state_size": _STATE,
            "ssm.time_step_rank": _LOW_RANK,
            "ssm.dt_b_c_rms": False,
        }

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        width = size.width
        weights.vocabulary("token_embd", tokens, width)
        for layer in range(size.layers):
            self.layer(weights, f"blk.{layer}", width)
        weights.last_norm("output_norm", width)

    def layer(self, weights: Weights, block: str, width: int) -> None:
        """The weights of one."""
        inner = 2 * width
        weights.norm(f"{block}.attn_norm", width)
        weights.matrix(f"{block}.ssm_in", width, 2 * inner)
        weights.matrix(f"{block}.ssm_conv1d", _KERNEL, inner, bias=True)
        weights.matrix(f"{block}.ssm_x", inner, _LOW_RANK + 2 * _STATE)
        weights.matrix(f"{block}.ssm_dt", _LOW_RANK, inner)
        weights.uniform(f"{block}.ssm_dt.bias", (inner,), -4.0, -1.0)  # steps of 0.02 to 0.3, after softplus
        decay = -np.arange(1, _STATE + 1, dtype=np.float32)
        weights.tensors[f"{block}.ssm_a"] = np.tile(decay, (inner, 1))
        weights.uniform(f"{block}.ssm_d", (inner,), 0.8, 1.2)
        weights.matrix(f"{block}.ssm_out", inner, width, gain=LOUD)


class Jamba(Mamba):
    """Every other layer is a state space, the ones between look back; a feed-forward network follows on each."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys; a layer without heads of keys is a state space."""
        return {
            **super().hparams(size),
            "feed_forward_length": size.inner,
            "attention.head_count": size.heads,
            "attention.head_count_kv": [2 * (layer % 2) for layer in range(size.layers)],
        }

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        weights.vocabulary("token_embd", tokens, size.width)
        for layer in range(size.layers):
            block = f"blk.{layer}"
            if layer % 2:
                self._attention(weights, block, size)
            else:
                self.layer(weights, block, size.width)
                for name, width in (("dt", _LOW_RANK), ("b", _STATE), ("c", _STATE)):
                    weights.norm(f"{block}.ssm_{name}_norm", width)
            weights.norm(f"{block}.ffn_norm", size.width)
            weights.matrix(f"{block}.ffn_gate", size.width, size.inner)
            weights.matrix(f"{block}.ffn_up", size.width, size.inner)
            weights.matrix(f"{block}.ffn_down", size.inner, size.width, gain=LOUD)
        weights.last_norm("output_norm", size.width)

    def _attention(self, weights: Weights, block: str, size: Size) -> None:
        weights.norm(f"{block}.attn_norm", size.width)
        for name, outputs in (("q", size.width), ("k", 2 * size.head_width), ("v", 2 * size.head_width)):
            weights.matrix(f"{block}.attn_{name}", size.width, outputs, gain=SHARP)
        weights.matrix(f"{block}.attn_output", size.width, size.width, gain=LOUD)


class Rwkv7:
    """A matrix of state for each head, changed by a generalised delta rule."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys; heads of attention are 0, and must be there."""
        ranks = ("decay_lora_rank", "iclr_lora_rank", "value_residual_mix_lora_rank", "gate_lora_rank")
        return {
            **size.hparams(),
            "feed_forward_length": size.inner,
            "attention.head_count": 0,
            "attention.layer_norm_epsilon": 1e-5,
            "wkv.head_size": _WKV_HEAD,
            **{f"attention.{rank}": _LOW_RANK for rank in ranks},
        }

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        width = size.width
        weights.vocabulary("token_embd", tokens, width)
        weights.norm("token_embd_norm", width, bias=True)
        for layer in range(size.layers):
            self._time_mix(weights, f"blk.{layer}", width)
            self._channel_mix(weights, f"blk.{layer}", width, size.inner)
        weights.last_norm("output_norm", width, bias=True)
        weights.vocabulary("output", tokens, width)

    def _time_mix(self, weights: Weights, block: str, width: int) -> None:
        weights.norm(f"{block}.attn_norm", width, bias=True)
        weights.uniform(f"{block}.time_mix_lerp_fused.weight", (6, 1, 1, width), 0.0, 1.0)
        for gate in "wav":  # decay, learning rate, mix with the first layer's values
            weights.uniform(f"{block}.time_mix_{gate}0.weight", (width,), -1.0, 1.0)
        for gate in "wavg":
            weights.matrix(f"{block}.time_mix_{gate}1", width, _LOW_RANK)
            weights.matrix(f"{block}.time_mix_{gate}2", _LOW_RANK, width)
        for scale in ("k_k", "k_a", "r_k"):
            weights.uniform(f"{block}.time_mix_{scale}.weight", (width,), 0.5, 1.0)
        for name in ("key", "value", "receptance", "output"):
            weights.matrix(f"{block}.time_mix_{name}", width, width)
        weights.norm(f"{block}.time_mix_ln", width, bias=True)

    def _channel_mix(self, weights: Weights, block: str, width: int, inner: int) -> None:
        weights.norm(f"{block}.attn_norm_2", width, bias=True)
        weights.uniform(f"{block}.channel_mix_lerp_k.weight", (1, 1, width), 0.0, 1.0)
        weights.matrix(f"{block}.channel_mix_key", width, inner)
        weights.matrix(f"{block}.channel_mix_value", inner, width, gain=LOUD)
