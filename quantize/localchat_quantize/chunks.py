"""A text as chunks of tokens, and a model reading them: how llama.cpp's own tools measure perplexity and importance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from localchat.errors import ConfigError
from localchat.llama.context import Context
from localchat.llama.vocabulary import Vocabulary

CHUNK = 512
"""Tokens of a chunk; only its second half is scored, so that each scored token has a context."""

Step = Callable[[int, int], None]
"""Told how many chunks of how many are done."""


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


def read(context: Context, chunks: Sequence[Sequence[int]], step: Step | None = None) -> Iterator[NDArray[np.float32]]:
    """For each chunk the logits of its second half, (size - size // 2, vocabulary), valid until the next.

    The row of a token tells of the one after it. The context must hold a chunk in one batch.
    """
    for index, chunk in enumerate(chunks):
        half = len(chunk) // 2
        context.drop(0)
        context.batch.clear()
        context.batch.add(0, 0, chunk[:half], last=False)
        context.batch.add(0, half, chunk[half:], last=True, every=True)
        context.decode()
        yield context.logits(len(chunk) - half)
        if step is not None:
            step(index + 1, len(chunks))
