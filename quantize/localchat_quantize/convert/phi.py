"""Phi, 1 to 2."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert import rotary
from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.final_layernorm"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "hidden_act", default="gelu_new")
    if source.setting("qk_layernorm", default=False):
        raise source.refuse("it norms queries and keys, the graph does not")
    width, heads = source.setting("hidden_size"), source.setting("num_attention_heads")
    part = rotary.rotated_part(source, "partial_rotary_factor", default=0.5)
    return {
        "context_length": source.setting("max_position_embeddings"),
        "embedding_length": width,
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": source.setting("num_key_value_heads", default=heads),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_eps", default=1e-5)),
        **rotary.keys(source, int(width // heads * part)),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
    yield from source.copy_all("", "", _WHOLE)
    yield from source.copy("output", "lm_head")
    for layer in range(source.setting("num_hidden_layers")):
        yield from source.copy_all(f"blk.{layer}.", f"model.layers.{layer}.", _BLOCK)


PHI = Converter("phi2", _hparams, _tensors)
