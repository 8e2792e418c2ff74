"""StableLM from 3B-4E1T on."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert import rotary
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import Tensor, stack
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _heads(source: Source) -> tuple[int, int]:
    heads = source.setting("num_attention_heads")
    return heads, source.setting("num_key_value_heads", default=heads)


def _hparams(source: Source) -> Metadata:
    if source.setting("hidden_act", default="silu") != "silu":
        raise source.refuse(f"its activation is {source.setting('hidden_act')}, the graph's is silu")
    width = source.setting("hidden_size")
    heads, kv_heads = _heads(source)
    part = rotary.rotated_part(source, "partial_rotary_factor", "rope_pct", default=0.25)
    return {
        "context_length": source.setting("max_position_embeddings"),
        "embedding_length": width,
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_eps", "norm_eps", default=1e-5)),
        "use_parallel_residual": bool(source.setting("use_parallel_residual", default=False)),
        **rotary.keys(source, int(width // heads * part)),
    }


def _head_norms(source: Source, prefix: str, heads: int) -> Tensor:
    """One norm for each head, in a matrix."""
    rows = [source.take(f"{prefix}.norms.{head}.weight") for head in range(heads)]
    return stack([row.map(lambda values: values[None], (1, *row.shape)) for row in rows])


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
    yield from source.copy_all("", "", _WHOLE)
    yield from source.head("lm_head", "model.embed_tokens", tied=False, needed=True)
    heads, kv_heads = _heads(source)
    for layer in range(source.setting("num_hidden_layers")):
        old, new = f"model.layers.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        if not source.setting("use_parallel_residual", default=False):
            yield from source.copy(f"{new}ffn_norm", f"{old}post_attention_layernorm")
        if source.setting("qk_layernorm", default=False):
            yield TensorPlan(f"{new}attn_q_norm.weight", _head_norms(source, f"{old}self_attn.q_layernorm", heads))
            yield TensorPlan(f"{new}attn_k_norm.weight", _head_norms(source, f"{old}self_attn.k_layernorm", kv_heads))


STABLELM = Converter("stablelm", _hparams, _tensors)
