"""The table of architectures: how each is made, and the vocabulary that its family has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from .encoders import T5, Bert
from .recurrent import Jamba, Mamba, Rwkv7
from .size import Hparams, Size
from .transformer import Transformer
from .vocabulary import Vocabulary, byte_pair, rwkv_world, sentence_piece, unigram, word_piece
from .weights import Weights


class Graph(Protocol):
    """What is computed, told by keys and tensors."""

    def hparams(self, size: Size) -> Hparams:
        """The architecture's own keys."""

    def tensors(self, weights: Weights, size: Size, tokens: int) -> None:
        """Make all weights."""


@dataclass(frozen=True)
class Architecture:
    """A graph with its vocabulary, which takes further special tokens."""

    graph: Graph
    vocabulary: Callable[[Sequence[str]], Vocabulary]


_ALIBI = {"attention.max_alibi_bias": 8.0}
_NEOX = ("<|endoftext|>", "<|padding|>")
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_FILL_IN = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>")

DECODERS: Mapping[str, Architecture] = {
    "llama": Architecture(
        Transformer(norm="rms", feed_forward="gated", kv_heads=2),
        sentence_piece,
    ),
    "mpt": Architecture(
        Transformer(norm="layer without bias", positions="none", fused=True, tied=True, more=_ALIBI),
        partial(byte_pair, pre="mpt", control=_NEOX),
    ),
    "gptneox": Architecture(
        Transformer(rotary=0.25, fused=True, qkv_bias=True, bias=True, more={"use_parallel_residual": True}),
        partial(byte_pair, pre="olmo", control=_NEOX),
    ),
    "gpt2": Architecture(
        Transformer(positions="learned", fused=True, qkv_bias=True, bias=True, tied=True),
        partial(byte_pair, pre="gpt-2"),
    ),
    "bloom": Architecture(
        Transformer(positions="none", fused=True, qkv_bias=True, bias=True, embedding_norm=True, tied=True),
        partial(byte_pair, pre="bloom", control=("<unk>", "<s>", "</s>", "<pad>"), bos="<s>", eos="</s>"),
    ),
    "falcon": Architecture(
        Transformer(kv_heads=1, fused=True, feed_forward_norm=False),
        partial(byte_pair, pre="falcon"),
    ),
    "starcoder": Architecture(
        Transformer(positions="learned", kv_heads=1, fused=True, qkv_bias=True, bias=True, tied=True),
        partial(byte_pair, pre="starcoder", control=_FILL_IN),
    ),
    "stablelm": Architecture(
        Transformer(rotary=0.25, feed_forward="gated", more={"use_parallel_residual": False}),
        partial(byte_pair, pre="olmo", control=_NEOX),
    ),
    "qwen2": Architecture(
        Transformer(norm="rms", kv_heads=2, qkv_bias=True, feed_forward="gated", tied=True),
        partial(byte_pair, pre="qwen2", control=_CHATML, eos="<|im_end|>", add_bos=False),
    ),
    "qwen3": Architecture(
        Transformer(norm="rms", kv_heads=2, head_norms=True, feed_forward="gated", names_head_width=True, tied=True),
        partial(byte_pair, pre="qwen2", control=_CHATML, eos="<|im_end|>", add_bos=False),
    ),
    "phi2": Architecture(
        Transformer(rotary=0.5, qkv_bias=True, bias=True, feed_forward_norm=False, output_bias=True),
        partial(byte_pair, pre="phi-2", add_bos=False),
    ),
    "gemma": Architecture(
        Transformer(norm="rms", kv_heads=1, feed_forward="gated", names_head_width=True, tied=True),
        partial(
            sentence_piece,
            control=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
            bos="<bos>",
            eos="<eos>",
            eot="<end_of_turn>",
            space_prefix=False,
        ),
    ),
    "jais": Architecture(
        Transformer(positions="none", fused=True, qkv_bias=True, bias=True, feed_forward="gated", more=_ALIBI),
        partial(byte_pair, pre="jais"),
    ),
    "chatglm": Architecture(
        Transformer(norm="rms", rotary=0.5, kv_heads=2, fused=True, qkv_bias=True, feed_forward="gated in one matrix"),
        partial(sentence_piece, add_bos=False),
    ),
    "cohere2": Architecture(
        Transformer(
            norm="layer without bias",
            kv_heads=2,
            feed_forward="gated",
            feed_forward_norm=False,
            tied=True,
            more={"attention.sliding_window": 32, "logit_scale": 1.0},
        ),
        partial(byte_pair, pre="olmo", control=_NEOX),
    ),
    "mamba": Architecture(Mamba(), partial(byte_pair, pre="mpt", control=_NEOX)),
    "jamba": Architecture(Jamba(), partial(byte_pair, pre="olmo", control=_NEOX)),
    "rwkv7": Architecture(Rwkv7(), rwkv_world),
}
"""Those that continue a text."""

RECURRENT = frozenset({"mamba", "rwkv7"})
"""Decoders whose past is a state."""

FORGETFUL = RECURRENT | {"cohere2", "jamba"}
"""Decoders whose sequences cannot be cut back: also those that look through a sliding window, or have both."""

ARCHITECTURES: Mapping[str, Architecture] = {
    **DECODERS,
    "t5": Architecture(T5(), unigram),
    "bert": Architecture(Bert(), word_piece),
}
"""All of them, by llama.cpp's names."""
