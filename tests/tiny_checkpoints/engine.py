"""What our own engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model

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


def _decode(context: Context, parts: Sequence[tuple[int, int, Sequence[int]]]) -> Logits:
    batch = context.batch
    batch.clear()
    for sequence, position, tokens in parts:
        batch.add(sequence, position, tokens, last=True, every=True)
    context.decode()
    return context.logits(batch.size).copy()
