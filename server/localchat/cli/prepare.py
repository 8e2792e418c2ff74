"""From settings to a launch, as `serve` and `chat` both need it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from localchat.hub.progress import TerminalProgress
from localchat.launch import Launch
from localchat.pool import Launcher, ModelPool
from localchat.registry import load_registry
from localchat.settings import Settings


def prepare_models(settings: Settings) -> tuple[list[Launch], ModelPool]:
    """Resolve, fetch, check and plan what --model names, with progress on the terminal; and a pool of it."""
    launcher = Launcher(settings, load_registry(settings.registry))
    launches = launcher.prepare_named(TerminalProgress())
    return launches, ModelPool(launches, launcher)


def set_up_logging(level: str) -> None:
    """Plain lines on standard error."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def describe(launch: Launch) -> list[str]:
    """What was chosen, and why, in a few lines."""
    plan, spec, draft, gib = launch.plan, launch.choice.spec, launch.load.draft, 2**30
    size = launch.path.stat().st_size / gib
    gpu = "no GPU layers"
    if plan.gpu_layers:
        gpu = f"{plan.gpu_layers} layers on the GPU, where they take {plan.vram.total / gib:.2f} GiB"
    each = f" for each of {plan.parallel} sequences" if plan.parallel > 1 else ""
    return [
        f"model     {launch.id} ({launch.choice.quant.name}, {size:.2f} GiB, license {spec.license or 'unknown'})",
        *([f"quant     {launch.choice.quant.name}: {launch.reason}"] if launch.reason else []),
        f"context   {plan.n_ctx} tokens{each}, KV cache {plan.kv_type}",
        f"memory    {plan.memory.total / gib:.2f} GiB = weights {plan.memory.weights / gib:.2f} + KV cache "
        f"{plan.memory.kv_cache / gib:.2f} + compute {plan.memory.compute / gib:.2f}",
        *([f"draft     {Path(draft.path).stem}, {draft.n_ctx} tokens; its memory is counted above"] if draft else []),
        f"threads   {plan.threads}, {gpu}",
        *([f"tuned     {launch.tuned} (`localchat tune --show`; --no-tuned does without)"] if launch.tuned else []),
    ]
