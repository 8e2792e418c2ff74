"""What our own engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from localchat.hub.progress import SilentProgress
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.vocabulary import read_vocabulary
from localchat_quantize.writer import write_gguf

from .case import Logits

_PARAMS = ContextParams(n_ctx=128, parallel=3, kv_type="f32", flash_attn="off")


def logits_three_ways(path: Path, tokens: Sequence[int], shared: int) -> dict[str, tuple[int, Logits]]:
    """Logits of a text alone, twice in one batch, and after its first `shared` tokens were copied from another
    sequence; with each, the position of the first."""
    with closing(Model(path)) as model, closing(Context(model, _PARAMS)) as context:
        found = {"alone": (0, _decode(context, [(0, 0, tokens)]))}
        both = _decode(context, [(1, 0, tokens), (2, 0, tokens)])
        found["first of two"], found["second of two"] = (0, both[: len(tokens)]), (0, both[len(tokens) :])
        context.drop(1)
        context.copy(0, 1)
        assert context.keep(1, shared)
        found["from a copied prefix"] = (shared, _decode(context, [(1, shared, tokens[shared:])]))
        return found


def logits_after_source(path: Path, source: Sequence[int], tokens: Sequence[int]) -> dict[str, Logits]:
    """Logits of a text that an encoder-decoder writes from a source: alone, and twice in one batch."""
    params = replace(_PARAMS, kv_unified=True)
    with closing(Model(path)) as model, closing(Context(model, params)) as context:
        context.encode(source, (0, 1, 2))
        found = {"alone": _decode(context, [(0, 0, tokens)])}
        both = _decode(context, [(1, 0, tokens), (2, 0, tokens)])
        return {**found, "first of two": both[: len(tokens)], "second of two": both[len(tokens) :]}


def model_of_vocabulary(folder: Path, rows: int) -> Model:
    """The vocabulary of tokenizer files, in a file that holds nothing else."""
    (folder / "config.json").write_text("{}")
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    vocabulary = read_vocabulary(Checkpoint(folder)).fitted(rows)
    write_gguf(folder / "vocabulary.gguf", "llama", vocabulary.metadata(), [], "F32", SilentProgress())
    return Model(folder / "vocabulary.gguf", vocab_only=True)


def _decode(context: Context, parts: Sequence[tuple[int, int, Sequence[int]]]) -> Logits:
    batch = context.batch
    batch.clear()
    for sequence, position, tokens in parts:
        batch.add(sequence, position, tokens, last=True, every=True)
    context.decode()
    return context.logits(batch.size).copy()
