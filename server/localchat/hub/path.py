"""Weights that are already on this machine."""

from __future__ import annotations

from pathlib import Path

from localchat.errors import WeightsError
from localchat.hub.progress import Progress
from localchat.registry import Choice
from localchat.registry.spec import PathSource


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Path:
    """The file itself."""
    source = choice.quant.source
    assert isinstance(source, PathSource)
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise WeightsError(f"{choice.spec.id} {choice.quant.name}: there is no file {path}")
    return path
