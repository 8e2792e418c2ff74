"""Weights that are already on this machine."""

from __future__ import annotations

from pathlib import Path

from localchat.errors import WeightsError
from localchat.hub.progress import Progress
from localchat.hub.store import Delivery
from localchat.registry import Choice
from localchat.registry.spec import PathSource


def find(choice: Choice, models_dir: Path) -> Path | None:
    """The file itself, if it is there."""
    path = _path(choice)
    return path if path.is_file() else None


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """Nothing can bring a file that is not there."""
    raise WeightsError(f"{choice.spec.id} {choice.quant.name}: there is no file {_path(choice)}")


def _path(choice: Choice) -> Path:
    source = choice.quant.source
    assert isinstance(source, PathSource)
    return Path(source.path).expanduser()
