"""ChatGLM2 and its kin: ChatGLM3, CodeGeeX2."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {
    "token_embd": "transformer.embedding.word_embeddings",
    "output_norm": "transformer.encoder.final_layernorm",
}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
_EXPECTED = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False,
    "add_bias_linear": False,
}


def _refuse(source: Source) -> None:
    if source.setting("position_encoding_2d", default=False) or source.setting("inner_hidden_size", default=0):
        raise source.refuse("it is a ChatGLM of the first version, whose graph llama.cpp does not have")
    for name, wanted in _EXPECTED.items():
        if source.setting(name, default=wanted) != wanted:
            raise source.refuse(f"it has {name} = {str(not wanted).lower()}")


def _hparams(source: Source) -> Metadata:
    _refuse(source)
    width, heads = source.setting("hidden_size"), source.setting("num_attention_heads")
    head_width = source.setting("kv_channels", default=width // heads)
    is_grouped = source.setting("multi_query_attention", default=False)
    return {
        "context_length": source.setting("seq_length", default=8192),
        "embedding_length": width,
        "block_count": source.setting("num_layers"),
        "feed_forward_length": source.setting("ffn_hidden_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": source.setting("multi_query_group_num") if is_grouped else heads,
        "attention.key_length": head_width,
        "attention.value_length": head_width,
        "attention.layer_norm_rms_epsilon": float(source.setting("layernorm_epsilon", default=1e-5)),
        "rope.dimension_count": head_width // 2,
        "rope.freq_base": 10000.0 * source.setting("rope_ratio", default=1),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"transformer\.rotary_pos_emb\.inv_freq")
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("transformer.output_layer", "transformer.embedding.word_embeddings", tied=False)
    for layer in range(source.setting("num_layers")):
        yield from source.copy_all(f"blk.{layer}.", f"transformer.encoder.layers.{layer}.", _BLOCK)


CHATGLM = Converter("chatglm", _hparams, _tensors)
