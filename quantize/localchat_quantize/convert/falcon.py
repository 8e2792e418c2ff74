"""Falcon 7B and 40B."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert import rotary
from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.attention import ungroup
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "transformer.word_embeddings", "output_norm": "transformer.ln_f"}
_BLOCK = {
    "attn_output": "self_attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
_ONE_NORM = {"attn_norm": "input_layernorm"}
_TWO_NORMS = {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"}


def _is_grouped(source: Source) -> bool:
    """Whether it is made as the 40B is; the first files do not say so."""
    has_two = source.has("transformer.h.0.ln_attn.weight")
    return has_two or bool(source.setting("new_decoder_architecture", default=False))


def _heads(source: Source) -> tuple[int, int]:
    """How many of queries, and how many of keys and values."""
    heads = source.setting("num_attention_heads", "n_head")
    # Newer files of models with one such head give the number of all heads here.
    return heads, source.setting("num_kv_heads", "n_head_kv", default=heads) if _is_grouped(source) else 1


def _hparams(source: Source) -> Metadata:
    if source.setting("alibi", default=False):
        raise source.refuse("its ALiBi is scaled with the scores (falcon-rw), the graph's positions are rotary")
    if source.setting("bias", default=False) or not source.setting("parallel_attn", default=True):
        raise source.refuse("it has biases, or its blocks are sequential, and the graph's are not")
    if not _is_grouped(source) and not source.setting("multi_query", default=True):
        raise source.refuse("it has keys and values for every head")
    require_gelu(source, "activation")
    width = source.setting("hidden_size")
    heads, kv_heads = _heads(source)
    return {
        "context_length": source.setting("max_position_embeddings", default=2048),
        "embedding_length": width,
        "block_count": source.setting("num_hidden_layers", "n_layer"),
        "feed_forward_length": source.setting("ffn_hidden_size", default=4 * width),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
        **rotary.keys(source, width // heads),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("lm_head", "transformer.word_embeddings", tied=True)
    heads, kv_heads = _heads(source)
    norms = _TWO_NORMS if source.has("transformer.h.0.ln_attn.weight") else _ONE_NORM
    for layer in range(source.setting("num_hidden_layers", "n_layer")):
        old, new = f"transformer.h.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK | norms)
        fused = ungroup(kv_heads, heads // kv_heads)
        yield from source.copy(f"{new}attn_qkv", f"{old}self_attention.query_key_value", fused)


FALCON = Converter("falcon", _hparams, _tensors)
