"""From settings to a launch, as `serve` and `chat` both need it."""

from __future__ import annotations

import logging
import sys

from localchat.hardware import probe
from localchat.hub.progress import TerminalProgress
from localchat.launch import Launch, prepare
from localchat.registry import load_registry
from localchat.settings import Settings


def launch_from(settings: Settings) -> Launch:
    """Resolve, fetch, check and plan, with progress on the terminal."""
    return prepare(settings.model[0], settings, load_registry(settings.registry), probe(), TerminalProgress())


def set_up_logging(level: str) -> None:
    """Plain lines on standard error."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def describe(launch: Launch) -> list[str]:
    """What was chosen, and why, in a few lines."""
    plan, spec, gib = launch.plan, launch.choice.spec, 2**30
    size = launch.path.stat().st_size / gib
    gpu = f"{plan.gpu_layers} layers on the GPU" if plan.gpu_layers else "no GPU layers"
    each = f" for each of {plan.parallel} sequences" if plan.parallel > 1 else ""
    return [
        f"model     {launch.id} ({launch.choice.quant.name}, {size:.2f} GiB, license {spec.license or 'unknown'})",
        f"context   {plan.n_ctx} tokens{each}, KV cache {plan.kv_type}",
        f"memory    {plan.memory.total / gib:.2f} GiB = weights {plan.memory.weights / gib:.2f} + KV cache "
        f"{plan.memory.kv_cache / gib:.2f} + compute {plan.memory.compute / gib:.2f}",
        f"threads   {plan.threads}, {gpu}",
    ]
