"""What our own engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
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


def _decode(context: Context, parts: Sequence[tuple[int, int, Sequence[int]]]) -> Logits:
    batch = context.batch
    batch.clear()
    for sequence, position, tokens in parts:
        batch.add(sequence, position, tokens, last=True, every=True)
    context.decode()
    return context.logits(batch.size).copy()
