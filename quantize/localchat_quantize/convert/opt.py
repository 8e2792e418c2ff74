"""OPT and Galactica, on the graph of MPT."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import Tensor, constant, stack
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_BLOCK = {"attn_output": "self_attn.out_proj", "ffn_down": "fc2"}
_NORMS = {"attn_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm"}

_STEEPNESS = 4096.0
"""GELU of a value so many times as large, divided by as much, is ReLU: off by a twentieth of a thousandth at most."""

_OFFSET = 2
"""The first rows of learned positions, which stand for padding."""


def _is_relu(source: Source) -> bool:
    return bool(source.setting("activation_function", default="relu") == "relu")


def _hparams(source: Source) -> Metadata:
    width = source.setting("hidden_size")
    if not source.setting("do_layer_norm_before", default=True):
        raise source.refuse("it norms after each part (as OPT-350m), the graph before")
    if source.setting("word_embed_proj_dim", default=width) != width:
        raise source.refuse("it projects its embeddings (as OPT-350m), the graph does not")
    if source.setting("_remove_final_layer_norm", default=False):
        raise source.refuse("it has no last norm")
    if not _is_relu(source):
        require_gelu(source, "activation_function")
    return {
        "context_length": source.setting("max_position_embeddings"),
        "embedding_length": width,
        "block_count": source.setting("num_hidden_layers"),
        "feed_forward_length": source.setting("ffn_dim"),
        "attention.head_count": source.setting("num_attention_heads"),
        "attention.layer_norm_epsilon": 1e-5,
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    prefix = source.prefix("model.decoder.", "decoder.", of="embed_tokens.weight")
    yield from source.copy("token_embd", f"{prefix}embed_tokens")
    yield from source.head("lm_head", f"{prefix}embed_tokens", tied=True)
    yield from source.copy("position_embd", f"{prefix}embed_positions", _without_padding)
    yield from _norm(source, "output_norm", f"{prefix}final_layer_norm")
    steepness = _STEEPNESS if _is_relu(source) else 1.0
    for layer in range(source.setting("num_hidden_layers")):
        old, new = f"{prefix}layers.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        for name, norm in _NORMS.items():
            yield from _norm(source, new + name, old + norm)
        yield from _fused(source, f"{new}attn_qkv", f"{old}self_attn")
        yield from source.copy(f"{new}ffn_up", f"{old}fc1", lambda tensor: tensor.scaled(steepness))
        if steepness != 1.0:
            yield TensorPlan(f"{new}ffn.act.scales", constant(steepness, (source.setting("ffn_dim"),)))


def _without_padding(positions: Tensor) -> Tensor:
    rows, width = positions.shape
    return positions.map(lambda values: values[_OFFSET:], (rows - _OFFSET, width))


def _norm(source: Source, new: str, old: str) -> Iterator[TensorPlan]:
    """A norm; one that has no weight multiplies by nothing."""
    if source.has(f"{old}.weight"):
        yield from source.copy(new, old)
    else:
        yield TensorPlan(f"{new}.weight", constant(1, (source.setting("hidden_size"),)))


def _fused(source: Source, new: str, old: str) -> Iterator[TensorPlan]:
    for kind in ("weight", "bias"):
        names = [f"{old}.{part}_proj.{kind}" for part in "qkv"]
        if kind == "weight" or source.has(names[0]):
            yield TensorPlan(f"{new}.{kind}", stack([source.take(name) for name in names]))


OPT = Converter("mpt", _hparams, _tensors)
