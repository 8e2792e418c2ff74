"""LLaMA."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert import rotary
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _heads(source: Source) -> tuple[int, int, int]:
    """How many of queries, how many of keys and values, and how wide."""
    heads = source.setting("num_attention_heads")
    width = source.setting("head_dim", default=source.setting("hidden_size") // heads)
    return heads, source.setting("num_key_value_heads", default=heads), width


def _hparams(source: Source) -> Metadata:
    heads, kv_heads, width = _heads(source)
    if source.setting("hidden_act", default="silu") != "silu":
        raise source.refuse(f"its activation is {source.setting('hidden_act')}, the graph's is silu")
    return {
        "context_length": source.setting("max_position_embeddings", "max_sequence_length", default=2048),
        "embedding_length": source.setting("hidden_size"),
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": width,
        "attention.value_length": width,
        "attention.layer_norm_rms_epsilon": float(source.setting("rms_norm_eps")),
        **rotary.keys(source, width),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
    heads, kv_heads, width = _heads(source)
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("lm_head", "model.embed_tokens", tied=False)
    factors = rotary.frequency_factors(source, width)
    if factors is not None:
        yield TensorPlan("rope_freqs.weight", factors)
    for layer in range(source.setting("num_hidden_layers")):
        old, new = f"model.layers.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        yield from source.copy(f"{new}attn_q", f"{old}self_attn.q_proj", rotary.halves_to_pairs(heads))
        yield from source.copy(f"{new}attn_k", f"{old}self_attn.k_proj", rotary.halves_to_pairs(kv_heads))


LLAMA = Converter("llama", _hparams, _tensors)
