"""The buffers that llama.cpp computes in.

The formulas were fitted to the "compute buffer size" that llama.cpp logs for eight shapes of model (LLaMA 7B, Llama 3
8B, MPT-7B, Qwen2 0.5B, Gemma 2B, GPT-2, Mixtral, Qwen3-30B-A3B) at several contexts, micro-batches and numbers of
sequences: all are within 8 %. Mamba 2.8B is within 10 %, BERT-large is told 40 % too much, and RWKV was not measured.
Everything grows with the tokens of a micro-batch, and the largest of three moments decides: attention, the
feed-forward network, or the logits.
"""

from __future__ import annotations

from localchat.hardware.header import GgufHeader
from localchat.hardware.shape import ContextShape

# Stands in for a graph whose widths the header does not give; the largest measured, with flash attention and few
# rows of logits, is 216 MiB.
_UNKNOWN = 256 << 20

_F32 = 4
_F16 = 2


def graph_bytes(header: GgufHeader, shape: ContextShape) -> int:
    """What passes through the graph need: the compute buffer, and the CPU's buffer for converted rows."""
    return _contexts(header, shape) * _pass_bytes(header, shape)


def _pass_bytes(header: GgufHeader, shape: ContextShape) -> int:
    if not header.embedding_length:
        return _UNKNOWN
    heads = max(header.head_count, default=0)
    cells = _cells(header, shape) if heads else 0
    mask = cells * (_F16 if shape.flash_attn else _F32)
    scores = 0 if shape.flash_attn else heads * cells
    layer = max(_attention(header, heads) + _F32 * scores, _feed_forward(header)) + mask
    # Matrix products read activations in a smaller type, f16 at most, and convert them beforehand.
    converted = _F16 * max(header.embedding_length, _inner_width(header), scores)
    output = _rows_bytes(header, shape) + 3 * _F32 * header.embedding_length * shape.ubatch
    return max((layer + converted) * shape.ubatch, output)


def logits_bytes(header: GgufHeader, shape: ContextShape) -> int:
    """The rows of logits of one step."""
    return _contexts(header, shape) * _rows_bytes(header, shape)


def _rows_bytes(header: GgufHeader, shape: ContextShape) -> int:
    return 0 if header.is_encoder_only else shape.outputs * header.vocab_size * _F32


def state_bytes(header: GgufHeader) -> int:
    """One sequence's state in one recurrent layer; 0 for a model without such layers."""
    embd, hparam = header.embedding_length, header.hparam
    if head_size := hparam("wkv.head_size"):
        return _F32 * embd * ((hparam("token_shift_count") or 2) + head_size)
    inner, state = hparam("ssm.inner_size"), hparam("ssm.state_size")
    kernel = max(0, hparam("ssm.conv_kernel") - 1)
    return _F32 * (kernel * (inner + 2 * hparam("ssm.group_count") * state) + state * inner)


def _contexts(header: GgufHeader, shape: ContextShape) -> int:
    # Every source that an encoder reads gets a context of its own.
    return shape.parallel if header.is_encoder_decoder else 1


def _cells(header: GgufHeader, shape: ContextShape) -> int:
    if header.is_encoder_decoder:
        return shape.cells_per_sequence
    # Without a cache a token attends to its own micro-batch.
    return shape.ubatch if header.is_encoder_only else shape.cells_in_view


def _attention(header: GgufHeader, heads: int) -> int:
    kv_heads = max(header.head_count_kv, default=0)
    rows = (heads + kv_heads) * header.key_length + kv_heads * header.value_length
    return _F32 * (4 * header.embedding_length + rows)


def _feed_forward(header: GgufHeader) -> int:
    embd, width, inner = header.embedding_length, header.hparam("feed_forward_length"), _inner_width(header)
    if recurrent := header.hparam("ssm.inner_size"):
        return _F32 * max(4 * recurrent + 5 * embd, 3 * inner + 4 * embd)
    if experts := header.hparam("expert_used_count"):
        return _F32 * max(3 * inner + 4 * embd, 2 * (experts * embd + inner))
    if _is_gated(header, width):
        return _F32 * (3 * inner + 4 * embd)
    return _F32 * max(2 * inner, inner + 4 * embd)


def _inner_width(header: GgufHeader) -> int:
    """Numbers of one token inside the widest layer: of all its experts, or of the recurrent part."""
    width = header.hparam("feed_forward_length")
    expert = header.hparam("expert_feed_forward_length") or width
    return max(width, header.hparam("expert_used_count") * expert, header.hparam("ssm.inner_size"))


def _is_gated(header: GgufHeader, width: int) -> bool:
    """Whether two matrices lead into the feed-forward network, or one of twice its width; true when in doubt."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors if tensor.name.startswith("blk.0.ffn_")}
    return "blk.0.ffn_gate.weight" in shapes or shapes.get("blk.0.ffn_up.weight", ())[1:] != (width,)
