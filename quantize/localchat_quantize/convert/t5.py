"""T5: Flan-T5, mT0, CodeT5+, FastChat-T5."""

from __future__ import annotations

from collections.abc import Iterator

from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.source import Source
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan

_DISTANCE = 128
_SELF = {
    "attn_norm": "layer.0.layer_norm",
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
}
_CROSS = {
    "cross_attn_norm": "layer.1.layer_norm",
    "cross_attn_q": "layer.1.EncDecAttention.q",
    "cross_attn_k": "layer.1.EncDecAttention.k",
    "cross_attn_v": "layer.1.EncDecAttention.v",
    "cross_attn_o": "layer.1.EncDecAttention.o",
}
_PLAIN = {"ffn_up": "DenseReluDense.wi", "ffn_down": "DenseReluDense.wo", "ffn_norm": "layer_norm"}
_GATED = _PLAIN | {"ffn_gate": "DenseReluDense.wi_0", "ffn_up": "DenseReluDense.wi_1"}
_BIAS = "layer.0.SelfAttention.relative_attention_bias"


def _layers(source: Source) -> tuple[int, int]:
    """How many in the encoder, and in the decoder."""
    encoder = source.setting("num_layers")
    return encoder, source.setting("num_decoder_layers", default=encoder)


def _refuse(source: Source) -> None:
    if source.setting("feed_forward_proj", default="relu") not in ("relu", "gated-gelu"):
        raise source.refuse(
            f"its activation is {source.setting('feed_forward_proj')} (as UL2's), the graph's are relu and gated-gelu"
        )
    if source.setting("relative_attention_max_distance", default=_DISTANCE) != _DISTANCE:
        raise source.refuse(f"it tells positions apart to another distance than the graph's {_DISTANCE}")
    encoder, decoder = _layers(source)
    if decoder > encoder:
        raise source.refuse(f"its decoder has more layers ({decoder}) than its encoder ({encoder})")


def _hparams(source: Source) -> Metadata:
    _refuse(source)
    encoder, decoder = _layers(source)
    epsilon = float(source.setting("layer_norm_epsilon", default=1e-6))
    return {
        "context_length": source.setting("n_positions", default=512),
        "embedding_length": source.setting("d_model"),
        "feed_forward_length": source.setting("d_ff"),
        "block_count": encoder,
        "decoder_block_count": decoder,
        "attention.head_count": source.setting("num_heads"),
        "attention.key_length": source.setting("d_kv"),
        "attention.value_length": source.setting("d_kv"),
        "attention.layer_norm_epsilon": epsilon,
        "attention.layer_norm_rms_epsilon": epsilon,
        "attention.relative_buckets_count": source.setting("relative_attention_num_buckets", default=32),
        "decoder_start_token_id": source.setting("decoder_start_token_id", "pad_token_id", default=0),
    }


def _is_tied(source: Source) -> bool:
    """Whether the head is the embedding. transformers 5 says so of all T5, and tells them apart by another key; no mT5
    has ever had one."""
    if source.setting("architectures")[0].startswith("MT5"):
        return False
    return bool(source.setting("scale_decoder_outputs", "tie_word_embeddings", default=True))


def _tensors(source: Source) -> Iterator[TensorPlan]:
    source.ignore(r"(encoder|decoder)\.embed_tokens\.weight")
    source.ignore(r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight")
    yield from source.copy("token_embd", "shared")
    yield from source.copy("enc.output_norm", "encoder.final_layer_norm")
    tied = _is_tied(source)
    # With a tied head the model scales what it multiplies by it; the graph does not.
    scale = source.setting("d_model") ** -0.5 if tied else 1.0
    if tied or not source.has("lm_head.weight"):
        source.ignore(r"lm_head\.weight")
    else:
        yield from source.copy("output", "lm_head")
    yield from source.copy("dec.output_norm", "decoder.final_layer_norm", lambda tensor: tensor.scaled(scale))
    encoder, decoder = _layers(source)
    for layer in range(encoder):
        yield from _block(source, "enc", "encoder", layer, 1)
    for layer in range(decoder):
        yield from source.copy_all(f"dec.blk.{layer}.", f"decoder.block.{layer}.", _CROSS)
        yield from _block(source, "dec", "decoder", layer, 2)


def _block(source: Source, new: str, old: str, layer: int, feed_forward: int) -> Iterator[TensorPlan]:
    """One layer; `feed_forward` is the place of its feed-forward part."""
    new, old = f"{new}.blk.{layer}.", f"{old}.block.{layer}."
    is_gated = source.has(f"{old}layer.{feed_forward}.DenseReluDense.wi_0.weight")
    yield from source.copy_all(new, old, _SELF)
    yield from source.copy_all(new, f"{old}layer.{feed_forward}.", _GATED if is_gated else _PLAIN)
    if source.has(f"{old}{_BIAS}.weight"):
        yield from source.copy(f"{new}attn_rel_b", old + _BIAS)


T5 = Converter("t5", _hparams, _tensors)
