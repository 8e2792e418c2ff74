"""GPT-2: Cerebras-GPT, DLite, Palmyra, Camel."""

from __future__ import annotations

import math
from collections.abc import Iterator

from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import Tensor, split, stack
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f"}
_NORMS = {"attn_norm": "ln_1", "ffn_norm": "ln_2"}
_MATRICES = {"attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "activation_function", default="gelu_new")
    if source.setting("add_cross_attention", default=False):
        raise source.refuse("it attends to an encoder")
    width = source.setting("n_embd", "hidden_size")
    return {
        "context_length": source.setting("n_positions", "n_ctx"),
        "embedding_length": width,
        "block_count": source.setting("n_layer", "num_hidden_layers"),
        "feed_forward_length": source.setting("n_inner", default=4 * width),
        "attention.head_count": source.setting("n_head", "num_attention_heads"),
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
    }


def linear(tensor: Tensor) -> Tensor:
    """A Conv1D keeps its weights (in, out)."""
    return tensor.transposed() if len(tensor.shape) == 2 else tensor


def _query_scale(source: Source, layer: int) -> float:
    """What queries are multiplied by so that the graph's own scale, 1/√width, comes out as the model's."""
    width = source.setting("n_embd", "hidden_size") // source.setting("n_head", "num_attention_heads")
    scale = 1.0 if source.setting("scale_attn_weights", default=True) else math.sqrt(width)
    return scale / (layer + 1) if source.setting("scale_attn_by_inverse_layer_idx", default=False) else scale


def _tensors(source: Source) -> Iterator[TensorPlan]:
    prefix = source.prefix("transformer.", "", of="wte.weight")
    source.ignore(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
    yield from source.copy_all("", prefix, _WHOLE)
    yield from source.head("lm_head", f"{prefix}wte", tied=True)
    width = source.setting("n_embd", "hidden_size")
    for layer in range(source.setting("n_layer", "num_hidden_layers")):
        old, new = f"{prefix}h.{layer}.", f"blk.{layer}."
        scale = _query_scale(source, layer)

        def fused(tensor: Tensor, scale: float = scale) -> Tensor:
            queries, others = split(linear(tensor), width, 2 * width)
            return stack([queries.scaled(scale), others])

        yield from source.copy_all(new, old, _NORMS)
        yield from source.copy(f"{new}attn_qkv", f"{old}attn.c_attn", linear if scale == 1 else fused)
        for name, matrix in _MATRICES.items():
            yield from source.copy(new + name, old + matrix, linear)


GPT2 = Converter("gpt2", _hparams, _tensors)
