"""BTLM, on the graph of JAIS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.gpt2 import linear
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import Tensor
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_BLOCK_OF_QUANTS = 256
_NORMS = {"attn_norm": "ln_1", "ffn_norm": "ln_2"}
_MATRICES = {"attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj"}


def _padded_length(source: Source) -> int:
    """The feed-forward length, up to where rows of it quantize; what is added stays zero."""
    length = source.setting("n_inner", default=4 * source.setting("n_embd"))
    return int(-(-length // _BLOCK_OF_QUANTS) * _BLOCK_OF_QUANTS)


def _hparams(source: Source) -> Metadata:
    if source.setting("activation_function", default="swiglu") != "swiglu":
        raise source.refuse(f"its activation is {source.setting('activation_function')}, the graph's is swiglu")
    if source.setting("position_embedding_type", default="alibi") != "alibi":
        raise source.refuse(f"its positions are {source.setting('position_embedding_type')}, the graph's ALiBi")
    if not source.setting("mup_scale_qk_dot_by_d", "scale_qk_dot_by_d", default=True):
        raise source.refuse("its scores are scaled by 1/√width, the graph's by 1/width")
    return {
        "context_length": source.setting("n_positions"),
        "embedding_length": source.setting("n_embd"),
        "block_count": source.setting("n_layer"),
        "feed_forward_length": _padded_length(source),
        "attention.head_count": source.setting("n_head"),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
        "attention.max_alibi_bias": 8.0,
    }


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)|transformer\.relative_pe\.slopes")
    # The model scales what it looks up and what it says; here the matrices are scaled.
    embedding, into = source.take("transformer.wte.weight"), source.setting("mup_embeddings_scale", default=1.0)
    out = source.setting("mup_output_alpha", default=1.0) * source.setting("mup_width_scale", default=1.0)
    yield TensorPlan("token_embd.weight", embedding.scaled(into))
    for plan in source.head("lm_head", "transformer.wte", tied=True, needed=True):
        yield TensorPlan(plan.name, plan.tensor.scaled(out))
    yield from source.copy("output_norm", "transformer.ln_f")
    length, width = _padded_length(source), source.setting("n_embd")
    widened: Callable[[Tensor], Tensor] = lambda tensor: linear(tensor).padded(length)  # noqa: E731
    for layer in range(source.setting("n_layer")):
        old, new = f"transformer.h.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _NORMS)
        for name, matrix in _MATRICES.items():
            yield from source.copy(new + name, old + matrix, linear)
        yield from source.copy(f"{new}ffn_up", f"{old}mlp.c_fc", widened)
        yield from source.copy(f"{new}ffn_gate", f"{old}mlp.c_fc2", widened)
        yield from source.copy(f"{new}ffn_down", f"{old}mlp.c_proj", lambda tensor: _deepened(tensor, width, length))


def _deepened(tensor: Tensor, width: int, length: int) -> Tensor:
    """The matrix that comes back from the feed-forward length; its bias is as long as before."""
    return linear(tensor).padded(width, length) if len(tensor.shape) == 2 else tensor


BTLM = Converter("jais", _hparams, _tensors)
