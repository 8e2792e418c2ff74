"""GPT-BigCode: StarCoder, SantaCoder, StarChat."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.attention import ungroup
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f"}
_BLOCK = {
    "attn_norm": "ln_1",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}


def _heads(source: Source) -> tuple[int, int]:
    """How many of queries, and how many of keys and values."""
    heads = source.setting("n_head", "num_attention_heads")
    return heads, 1 if source.setting("multi_query", default=True) else heads


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "activation_function", default="gelu_pytorch_tanh")
    if not source.setting("scale_attn_weights", default=True):
        raise source.refuse("its scores are not scaled, the graph's are")
    width = source.setting("n_embd", "hidden_size")
    heads, kv_heads = _heads(source)
    return {
        "context_length": source.setting("n_positions"),
        "embedding_length": width,
        "block_count": source.setting("n_layer", "num_hidden_layers"),
        "feed_forward_length": source.setting("n_inner", default=4 * width),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("lm_head", "transformer.wte", tied=True)
    heads, kv_heads = _heads(source)
    for layer in range(source.setting("n_layer", "num_hidden_layers")):
        old, new = f"transformer.h.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        yield from source.copy(f"{new}attn_qkv", f"{old}attn.c_attn", ungroup(kv_heads, heads // kv_heads))


STARCODER = Converter("starcoder", _hparams, _tensors)
