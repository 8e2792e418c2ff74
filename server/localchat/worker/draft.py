"""Loads what guesses ahead."""

from __future__ import annotations

from pathlib import Path

from localchat.engine.cost_model import CostModel
from localchat.engine.draft_model import FEW, DraftModel
from localchat.engine.speculation import Speculation
from localchat.errors import ModelLoadFailed
from localchat.llama.calibration import calibrate
from localchat.llama.context import Context, ContextParams
from localchat.llama.model import Model
from localchat.worker import messages as m


def load_draft(request: m.Load, context: Context) -> Context | None:
    """The context of the draft model, if there is one. Raises ModelLoadFailed."""
    draft = request.draft
    if draft is None:
        return None
    model = Model(Path(draft.path), gpu_layers=draft.gpu_layers, mmap=request.mmap)
    for name, one in ((request.path, context.model), (draft.path, model)):
        if one.forgets:
            raise ModelLoadFailed(
                f"wrong guesses cannot be taken back from the memory of {Path(name).name}; leave --draft out"
            )
    params = ContextParams(
        n_ctx=draft.n_ctx,
        parallel=request.parallel,
        batch_size=max(draft.batch_size, request.parallel * (FEW + 1)),
        ubatch_size=request.ubatch_size,
        threads=request.threads,
        kv_type=request.kv_type,
        kv_unified=request.kv_unified,
        flash_attn=request.flash_attn,
        outputs=request.parallel,
    )
    return Context(model, params)


def speculation(request: m.Load, context: Context, cost_model: CostModel, draft: Context | None) -> Speculation | None:
    """What guesses for a context; None where it is not to, or could not take back what was wrong."""
    if not request.speculate or not context.can_cut:
        return None
    draft_model = None
    if draft is not None:
        found = calibrate(draft, request.threads)
        costs = CostModel(found.stairs, found.few, found.many)
        draft_model = DraftModel(draft, costs, context.vocabulary.size)
    return Speculation(cost_model, context.n_ctx, streams=not request.kv_unified, draft_model=draft_model)
