"""Decoders with attention: one frame, and what each architecture does in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .size import Hparams, Size
from .weights import LOUD, SHARP, Weights


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A row of the table of architectures."""

    norm: Literal["layer", "layer without bias", "rms"] = "layer"
    positions: Literal["rope", "learned", "none"] = "rope"
    rotary: float = 1.0
    """The part of a head that is rotated."""
    kv_heads: int | None = None
    """Heads of keys and values, where there are fewer than of queries."""
    fused: bool = False
    """Whether queries, keys and values come from one matrix."""
    qkv_bias: bool = False
    bias: bool = False
    """Whether all other linear layers of a block have one."""
    feed_forward: Literal["plain", "gated", "gated in one matrix"] = "plain"
    feed_forward_norm: bool = True
    """Without it, attention and feed-forward network read the same normed input."""
    head_norms: bool = False
    embedding_norm: bool = False
    names_head_width: bool = False
    """Whether the file gives it, instead of leaving it to be width / heads."""
    tied: bool = False
    """Whether the embedding is the output too."""
    output_bias: bool = False
    more: Mapping[str, int | float | bool | str] = field(default_factory=dict)
    """Keys that only this architecture has."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys."""
        epsilon = "layer_norm_rms_epsilon" if self.norm == "rms" else "layer_norm_epsilon"
        keys: Hparams = {
            **size.hparams(),
            "feed_forward_length": size.inner,
            "attention.head_count": size.heads,
            f"attention.{epsilon}": 1e-5,
        }
        if self.kv_heads is not None:
            keys["attention.head_count_kv"] = self.kv_heads
        if self.names_head_width:
            keys |= {"attention.key_length": size.head_width, "attention.value_length": size.head_width}
        if self.positions == "rope":
            keys["rope.dimension_count"] = int(self.rotary * size.head_width)
        return keys | dict(self.more)

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        weights.vocabulary("token_embd", tokens, size.width)
        if self.embedding_norm:
            self._norm(weights, "token_embd_norm", size.width)
        if self.positions == "learned":
            weights.vocabulary("position_embd", size.context, size.width)
        for layer in range(size.layers):
            self._attention(weights, size, f"blk.{layer}")
            self._feed_forward(weights, size, f"blk.{layer}")
        weights.last_norm("output_norm", size.width, bias=self.norm == "layer")
        if not self.tied:
            weights.vocabulary("output", tokens, size.width, bias=self.output_bias)

    def _norm(self, weights: Weights, name: str, width: int) -> None:
        weights.norm(name, width, bias=self.norm == "layer")

    def _attention(self, weights: Weights, size: Size, block: str) -> None:
        width, shared = size.width, (self.kv_heads or size.heads) * size.head_width
        self._norm(weights, f"{block}.attn_norm", width)
        if self.fused:
            weights.matrix(f"{block}.attn_qkv", width, width + 2 * shared, bias=self.qkv_bias, gain=SHARP)
        else:
            for name, outputs in (("q", width), ("k", shared), ("v", shared)):
                weights.matrix(f"{block}.attn_{name}", width, outputs, bias=self.qkv_bias, gain=SHARP)
        if self.head_norms:
            weights.norm(f"{block}.attn_q_norm", size.head_width)
            weights.norm(f"{block}.attn_k_norm", size.head_width)
        weights.matrix(f"{block}.attn_output", width, width, bias=self.bias, gain=LOUD)

    def _feed_forward(self, weights: Weights, size: Size, block: str) -> None:
        width, inner = size.width, size.inner
        if self.feed_forward_norm:
            self._norm(weights, f"{block}.ffn_norm", width)
        if self.feed_forward == "gated":
            weights.matrix(f"{block}.ffn_gate", width, inner, bias=self.bias)
        doubled = 2 if self.feed_forward == "gated in one matrix" else 1
        weights.matrix(f"{block}.ffn_up", width, doubled * inner, bias=self.bias)
        weights.matrix(f"{block}.ffn_down", inner, width, bias=self.bias, gain=LOUD)
