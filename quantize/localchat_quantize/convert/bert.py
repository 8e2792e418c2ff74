"""BERT, for embeddings."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {
    "token_embd": "embeddings.word_embeddings",
    "token_types": "embeddings.token_type_embeddings",
    "position_embd": "embeddings.position_embeddings",
    "token_embd_norm": "embeddings.LayerNorm",
}
_BLOCK = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
_POOLING = {"pooling_mode_mean_tokens": 1, "pooling_mode_cls_token": 2, "pooling_mode_lasttoken": 3}
"""Keys of sentence-transformers and llama.cpp's numbers."""


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "hidden_act")
    if source.setting("position_embedding_type", default="absolute") != "absolute":
        raise source.refuse(f"its positions are {source.setting('position_embedding_type')}")
    keys: Metadata = {
        "context_length": source.setting("max_position_embeddings"),
        "embedding_length": source.setting("hidden_size"),
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("intermediate_size"),
        "attention.head_count": source.setting("num_attention_heads"),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_eps", default=1e-12)),
        "attention.causal": False,
    }
    return keys | _pooling(source)


def _pooling(source: Source) -> Metadata:
    """How one vector is made of the tokens', where sentence-transformers' files say so."""
    modules = source.json("modules.json") or ()
    path = next((module["path"] for module in modules if module["type"].endswith(".Pooling")), None)
    told = source.json(f"{path}/config.json") if path else None
    if not told:
        return {}
    modes = [mode for mode, is_on in told.items() if mode.startswith("pooling_mode_") and is_on]
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise source.refuse(f"it makes one vector by {', '.join(modes) or 'nothing'}, which llama.cpp does not")
    return {"pooling_type": _POOLING[modes[0]]}


def _tensors(source: Source) -> Iterator[TensorPlan]:
    prefix = source.prefix("bert.", "", of="embeddings.word_embeddings.weight")
    source.ignore(r"(bert\.)?(embeddings\.position_ids|pooler\..*)|cls\..*")
    yield from source.copy_all("", prefix, _WHOLE)
    for layer in range(source.setting("num_hidden_layers")):
        yield from source.copy_all(f"blk.{layer}.", f"{prefix}encoder.layer.{layer}.", _BLOCK)


BERT = Converter("bert", _hparams, _tensors)
