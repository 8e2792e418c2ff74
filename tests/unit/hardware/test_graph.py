"""The buffers of contexts that an encoder-decoder makes for its sources."""

from __future__ import annotations

from localchat.hardware.graph import graph_bytes, logits_bytes

from .headers import MIB, model, shape

FLAN_T5_BASE = model(
    "t5",
    layers=12,
    context_length=512,
    embedding_length=768,
    feed_forward_length=2048,
    attention__head_count=12,
    attention__key_length=64,
    attention__value_length=64,
    vocab_size=32128,
)


def test_each_source_of_an_encoder_decoder_has_buffers_of_its_own() -> None:
    one = shape(n_ctx=512, outputs=512, kv_unified=True, flash_attn=False)
    four = shape(n_ctx=512, outputs=512, kv_unified=True, flash_attn=False, parallel=4)
    assert graph_bytes(FLAN_T5_BASE, four) == 4 * graph_bytes(FLAN_T5_BASE, one)
    assert logits_bytes(FLAN_T5_BASE, four) == 4 * logits_bytes(FLAN_T5_BASE, one)


def test_sources_of_flan_t5_base_take_what_was_measured() -> None:
    # One of 500 tokens took 418 MiB and four took 812 MiB, so each further one 131, of which 18 are keys and values.
    each = shape(n_ctx=512, outputs=512, kv_unified=True, flash_attn=False)
    assert 113 * MIB <= graph_bytes(FLAN_T5_BASE, each) + logits_bytes(FLAN_T5_BASE, each) <= 150 * MIB
