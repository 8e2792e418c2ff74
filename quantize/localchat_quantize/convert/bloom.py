"""BLOOM, BLOOMZ and BELLE."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.attention import ungroup
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "word_embeddings", "token_embd_norm": "word_embeddings_layernorm", "output_norm": "ln_f"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_output": "self_attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}


def _hparams(source: Source) -> Metadata:
    if source.setting("apply_residual_connection_post_layernorm", default=False):
        raise source.refuse("it adds what comes after a norm, the graph what comes before")
    width = source.setting("hidden_size", "n_embed")
    return {
        "context_length": source.setting("seq_length", default=2048),
        "embedding_length": width,
        "block_count": source.setting("n_layer", "num_hidden_layers"),
        "feed_forward_length": source.setting("n_inner", default=4 * width),
        "attention.head_count": source.setting("n_head", "num_attention_heads"),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    prefix = source.prefix("transformer.", "", of="word_embeddings.weight")
    yield from source.copy_all("", prefix, _WHOLE)
    yield from source.head("lm_head", f"{prefix}word_embeddings", tied=True)
    fused = ungroup(source.setting("n_head", "num_attention_heads"), 1)
    for layer in range(source.setting("n_layer", "num_hidden_layers")):
        old, new = f"{prefix}h.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        yield from source.copy(f"{new}attn_qkv", f"{old}self_attention.query_key_value", fused)


BLOOM = Converter("bloom", _hparams, _tensors)
