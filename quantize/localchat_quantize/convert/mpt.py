"""MPT, and Replit's model of the time before it."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_BLOCK = {
    "attn_norm": "norm_1",
    "attn_qkv": "attn.Wqkv",
    "attn_output": "attn.out_proj",
    "ffn_norm": "norm_2",
    "ffn_up": "ffn.up_proj",
    "ffn_down": "ffn.down_proj",
}
_REPLIT_BLOCK = _BLOCK | {"attn_norm": "ln_1", "ffn_norm": "ln_2", "ffn_up": "mlp.mlp_up", "ffn_down": "mlp.mlp_down"}


def _attention(source: Source, name: str, default: object) -> object:
    """A setting of attention, in a section of its own or, as Replit has it, among the others."""
    section = source.setting("attn_config", default={})
    value = section.get(name)
    return source.setting(f"attn_{name}", name, default=default) if value is None else value


def _refuse(source: Source) -> None:
    if not _attention(source, "alibi", False):
        raise source.refuse("it has no ALiBi, and how it knows positions instead is not known")
    if _attention(source, "attn_type", "multihead_attention") != "multihead_attention":
        raise source.refuse(f"its attention is {_attention(source, 'attn_type', '')}")
    for name in ("qk_ln", "prefix_lm", "softmax_scale", "attn_uses_sequence_id"):
        if _attention(source, name, False):
            raise source.refuse(f"its attention has {name}")
    if source.setting("logit_scale", default=False):
        raise source.refuse("its logits are scaled")
    if source.setting("norm_type", default="layernorm") not in ("layernorm", "low_precision_layernorm"):
        raise source.refuse(f"its norm is {source.setting('norm_type')}")


def _hparams(source: Source) -> Metadata:
    _refuse(source)
    width = source.setting("d_model")
    keys: Metadata = {
        "context_length": source.setting("max_seq_len", default=2048),
        "embedding_length": width,
        "block_count": source.setting("n_layers"),
        "feed_forward_length": int(width * source.setting("expansion_ratio", "mlp_ratio", default=4)),
        "attention.head_count": source.setting("n_heads"),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
        "attention.max_alibi_bias": float(str(_attention(source, "alibi_bias_max", 8))),
    }
    clip = _attention(source, "clip_qkv", 0.0)
    if clip:
        keys["attention.clamp_kqv"] = float(str(clip))
    return keys


def _tensors(source: Source) -> Iterator[TensorPlan]:
    is_replit = source.has("transformer.blocks.0.ln_1.weight")
    yield from source.copy("token_embd", "transformer.wte")
    yield from source.copy("output_norm", "transformer.ln_f" if is_replit else "transformer.norm_f")
    yield from source.head("lm_head", "transformer.wte", tied=True)
    for layer in range(source.setting("n_layers")):
        names = _REPLIT_BLOCK if is_replit else _BLOCK
        yield from source.copy_all(f"blk.{layer}.", f"transformer.blocks.{layer}.", names)


MPT = Converter("mpt", _hparams, _tensors)
