"""Models with an encoder: one that also decodes, and one that only encodes."""

from __future__ import annotations

from .size import Hparams, Size
from .weights import Weights

_BUCKETS = 32


class T5:
    """An encoder reads, a decoder writes; positions are learned distances."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys."""
        return {
            **size.hparams(),
            "feed_forward_length": size.inner,
            "decoder_start_token_id": 0,
            "attention.head_count": size.heads,
            "attention.key_length": size.head_width,
            "attention.value_length": size.head_width,
            "attention.relative_buckets_count": _BUCKETS,
            "attention.layer_norm_epsilon": 1e-6,
            "attention.layer_norm_rms_epsilon": 1e-6,
        }

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights; the output is its own, as in Flan-T5."""
        weights.vocabulary("token_embd", tokens, size.width)
        for side in ("enc", "dec"):
            for layer in range(size.layers):
                block = f"{side}.blk.{layer}"
                self._attention(weights, size, block, "attn")
                if layer == 0:
                    weights.uniform(f"{block}.attn_rel_b.weight", (_BUCKETS, size.heads), -1.0, 1.0)
                if side == "dec":
                    self._attention(weights, size, block, "cross_attn")
                weights.norm(f"{block}.ffn_norm", size.width)
                weights.matrix(f"{block}.ffn_gate", size.width, size.inner)
                weights.matrix(f"{block}.ffn_up", size.width, size.inner)
                weights.matrix(f"{block}.ffn_down", size.inner, size.width)
            weights.last_norm(f"{side}.output_norm", size.width)
        weights.vocabulary("output", tokens, size.width)

    def _attention(self, weights: Weights, size: Size, block: str, kind: str) -> None:
        weights.norm(f"{block}.{kind}_norm", size.width)
        # T5 does not divide scores by the root of the head's width: its queries are that much smaller.
        weights.matrix(f"{block}.{kind}_q", size.width, size.width, gain=size.head_width**-0.5)
        for name in "kvo":
            weights.matrix(f"{block}.{kind}_{name}", size.width, size.width)


class Bert:
    """An encoder that makes embeddings; norms come after each layer's two parts."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys."""
        return {
            **size.hparams(),
            "feed_forward_length": size.inner,
            "attention.head_count": size.heads,
            "attention.layer_norm_epsilon": 1e-12,
            "attention.causal": False,
            "pooling_type": 1,
        }

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """All weights."""
        width = size.width
        weights.vocabulary("token_embd", tokens, width)
        weights.vocabulary("token_types", 2, width)
        weights.vocabulary("position_embd", size.context, width)
        weights.norm("token_embd_norm", width, bias=True)
        for layer in range(size.layers):
            block = f"blk.{layer}"
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                weights.matrix(f"{block}.{name}", width, width, bias=True)
            weights.norm(f"{block}.attn_output_norm", width, bias=True)
            weights.matrix(f"{block}.ffn_up", width, size.inner, bias=True)
            weights.matrix(f"{block}.ffn_down", size.inner, width, bias=True)
            weights.norm(f"{block}.layer_output_norm", width, bias=True)
