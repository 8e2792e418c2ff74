"""A text as chunks of tokens, and a model reading them: how llama.cpp's own tools measure perplexity and importance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from localchat.errors import ConfigError
from localchat.llama.activations import Activations
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary

CHUNK = 512
"""Tokens of a chunk; only its second half is scored, so that each scored token has a context."""

Step = Callable[[int, int], None]
"""Told how many chunks of how many are done."""


def chunk_size(model: Model) -> int:
    """Tokens of a chunk for this model: less where it was trained for less, past which some graphs abort."""
    return min(CHUNK, model.trained_context)


@contextmanager
def reader(model: Model, threads: int, observer: Activations | None = None) -> Iterator[Context]:
    """A context for a chunk at a time."""
    size = chunk_size(model)
    params = ContextParams(
        n_ctx=size,
        batch_size=size,
        ubatch_size=size,
        threads=threads,
        outputs=size,
        observer=observer,
        # An encoder-decoder's biases rule out flash attention, and its graph the streams.
        kv_unified=model.is_encoder_decoder,
        flash_attn="off" if model.is_encoder_decoder else "auto",
    )
    context = Context(model, params)
    try:
        yield context
    finally:
        context.close()


def chunks_of(vocabulary: Vocabulary, text: str, size: int = CHUNK) -> list[list[int]]:
    """The whole chunks of a text, each beginning with BOS where the model wants one in place of its first token.

    Raises ConfigError for a text of less than two chunks.
    """
    tokens = vocabulary.tokenize(text, add_bos=True)
    whole = [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)]
    if len(whole) < 2:
        raise ConfigError(f"the text has {len(tokens)} tokens; at least {2 * size} are needed")
    if vocabulary.adds_bos and vocabulary.bos >= 0:
        whole = [[vocabulary.bos, *chunk[1:]] for chunk in whole]
    return whole


def read(
    context: Context, chunks: Sequence[Sequence[int]], step: Step | None = None, *, whole: bool = False
) -> Iterator[NDArray[np.float32]]:
    """For each chunk the logits of its second half, (size - size // 2, vocabulary), valid until the next.

    The row of a token tells of the one after it. The context must hold a chunk in one batch. With `whole` the last
    layer computes the first half as well, which llama.cpp leaves out where nobody asks for its logits.
    """
    read_one = _read_source if context.model.is_encoder_decoder else _read_text
    for index, chunk in enumerate(chunks):
        context.drop(0)
        context.batch.clear()
        yield read_one(context, chunk, len(chunk) // 2, whole)
        if step is not None:
            step(index + 1, len(chunks))


def _read_text(context: Context, chunk: Sequence[int], half: int, whole: bool) -> NDArray[np.float32]:
    context.batch.add(0, 0, chunk[:half], last=False, every=whole)
    context.batch.add(0, half, chunk[half:], last=True, every=True)
    context.decode()
    return context.logits(len(chunk))[half:] if whole else context.logits(len(chunk) - half)


def _read_source(context: Context, chunk: Sequence[int], half: int, _whole: bool) -> NDArray[np.float32]:
    """The first half is the source, the second what the decoder is to write."""
    context.encode(chunk[:half])
    context.batch.add(0, 0, [context.model.start_token], last=False)
    context.batch.add(0, 1, chunk[half:], last=True, every=True)
    context.decode()
    return context.logits(len(chunk) - half)
