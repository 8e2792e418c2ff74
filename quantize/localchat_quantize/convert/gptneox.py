"""GPT-NeoX: Pythia, Dolly, RedPajama-INCITE, StableLM-Alpha and the chat models made of them."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert import rotary
from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.attention import ungroup
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import constant
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "hidden_act")
    width, heads = source.setting("hidden_size"), source.setting("num_attention_heads")
    rotated = int(width // heads * rotary.rotated_part(source, "rotary_pct", "partial_rotary_factor", default=0.25))
    return {
        "context_length": source.setting("max_position_embeddings", default=2048),
        "embedding_length": width,
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("intermediate_size"),
        "attention.head_count": heads,
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_eps", default=1e-5)),
        "use_parallel_residual": bool(source.setting("use_parallel_residual", default=True)),
        **rotary.keys(source, rotated, "rotary_emb_base"),
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)")
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("embed_out", "gpt_neox.embed_in", tied=False, needed=True)
    width = source.setting("hidden_size")
    for layer in range(source.setting("num_hidden_layers")):
        old, new = f"gpt_neox.layers.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        fused = ungroup(source.setting("num_attention_heads"), 1)
        yield from source.copy(f"{new}attn_qkv", f"{old}attention.query_key_value", fused)
        yield from source.copy(f"{new}attn_output", f"{old}attention.dense")
        if not source.setting("attention_bias", default=True):  # the graph adds one all the same
            yield TensorPlan(f"{new}attn_qkv.bias", constant(0, (3 * width,)))
            yield TensorPlan(f"{new}attn_output.bias", constant(0, (width,)))


GPT_NEOX = Converter("gptneox", _hparams, _tensors)
