"""Weights of which no GGUF is published: `localchat quantize` makes one."""

from __future__ import annotations

from pathlib import Path

from localchat.errors import NotConverted
from localchat.hub.progress import Progress
from localchat.hub.store import Delivery, find
from localchat.registry import Choice
from localchat.registry.spec import ConvertSource

__all__ = ["fetch", "find"]


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """Say how to make it."""
    source, spec, quant = choice.quant.source, choice.spec, choice.quant
    assert isinstance(source, ConvertSource)
    raise NotConverted(
        f"{spec.id}: no GGUF of it is published, only the checkpoint {source.repo}; "
        f"`localchat quantize {spec.id} --to {quant.name}` makes one"
    )
