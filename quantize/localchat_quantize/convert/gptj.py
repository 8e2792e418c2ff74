"""GPT-J and CodeGen, on the graph of Phi-2: the same computation, once rotated rows are in its order."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.activation import require_gelu
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.rotary import pairs_to_halves
from localchat_quantize.convert.source import Source
from localchat_quantize.tensor import Tensor, constant, stack
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_WHOLE = {"token_embd": "transformer.wte", "output_norm": "transformer.ln_f", "output": "lm_head"}
_BLOCK = {"attn_norm": "ln_1", "attn_output": "attn.out_proj", "ffn_up": "mlp.fc_in", "ffn_down": "mlp.fc_out"}


def _hparams(source: Source) -> Metadata:
    require_gelu(source, "activation_function", default="gelu_new")
    width, heads = source.setting("n_embd"), source.setting("n_head")
    return {
        "context_length": source.setting("n_positions"),
        "embedding_length": width,
        "block_count": source.setting("n_layer"),
        "feed_forward_length": source.setting("n_inner", default=4 * width),
        "attention.head_count": heads,
        "attention.head_count_kv": heads,
        "attention.layer_norm_epsilon": float(source.setting("layer_norm_epsilon", default=1e-5)),
        "rope.dimension_count": source.setting("rotary_dim"),
        "rope.freq_base": 10000.0,
    }


def _separate(source: Source, attention: str) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of GPT-J."""
    query, key, value = (source.take(f"{attention}.{name}_proj.weight") for name in "qkv")
    return query, key, value


def _fused(source: Source, attention: str) -> tuple[Tensor, Tensor, Tensor]:
    """Those of CodeGen, in one matrix that was cut for several machines, in the order query, value, key."""
    width = source.setting("n_embd")
    # Only CodeGen2-1B and -3.7B, which were made on eight machines, say how wide a head is.
    machines = 8 if source.setting("head_dim", default=0) in (128, 256) else 4
    fused = source.take(f"{attention}.qkv_proj.weight")

    def part(index: int) -> Tensor:
        return fused.map(
            lambda values: values.reshape(machines, 3, width // machines, width)[:, index].reshape(width, width),
            (width, width),
        )

    return part(0), part(2), part(1)


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"transformer\.h\.\d+\.attn\.(bias|masked_bias|causal_mask|embed_positions)")
    yield from source.copy_all("", "", _WHOLE)
    reorder = pairs_to_halves(source.setting("n_head"), source.setting("rotary_dim"))
    for layer in range(source.setting("n_layer")):
        old, new = f"transformer.h.{layer}.", f"blk.{layer}."
        yield from source.copy_all(new, old, _BLOCK)
        yield TensorPlan(f"{new}attn_output.bias", constant(0, (source.setting("n_embd"),)))
        is_fused = source.has(f"{old}attn.qkv_proj.weight")
        query, key, value = (_fused if is_fused else _separate)(source, f"{old}attn")
        yield TensorPlan(f"{new}attn_qkv.weight", stack([reorder(query), reorder(key), value]))


GPTJ = Converter("phi2", _hparams, _tensors)
