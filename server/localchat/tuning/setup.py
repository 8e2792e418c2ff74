"""The setup that a plan to load a model would have."""

from __future__ import annotations

from localchat.hardware import LoadPlan
from localchat.tuning.messages import Open, Setup
from localchat.worker.messages import Load


def opening(load: Load) -> Open:
    """The weights, as a worker would open them."""
    return Open(load.path, gpu_layers=load.gpu_layers, mmap=load.mmap)


def setup_of(plan: LoadPlan, *, parallel: int, n_ctx: int) -> Setup:
    """As it would be loaded, but for the number of sequences and their length."""
    return Setup(
        n_ctx=n_ctx,
        parallel=parallel,
        threads=plan.threads,
        single_row_threads=plan.single_row_threads,
        batch_size=plan.batch,
        ubatch_size=plan.ubatch,
        kv_type=plan.kv_type,
        kv_unified=plan.kv_unified,
        flash_attn=plan.flash_attn,
    )
