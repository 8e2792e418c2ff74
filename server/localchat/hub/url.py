"""Weights behind an HTTP address."""

from __future__ import annotations

from pathlib import Path

from localchat.hub import ledger
from localchat.hub.checksum import Digest
from localchat.hub.progress import Progress
from localchat.hub.repair import obtain
from localchat.hub.store import Delivery, Slot, find, store
from localchat.hub.transfer import Remote
from localchat.registry import Choice
from localchat.registry.spec import UrlSource

__all__ = ["fetch", "find", "remote_of"]


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """The file in the models folder, downloaded unless it is there."""
    known = ledger.find(choice, models_dir)

    def download(slot: Slot, progress: Progress) -> Digest:
        return obtain(remote_of(choice), slot, known.digest if known else None, progress)

    return store(choice, models_dir, progress, download)


def remote_of(choice: Choice) -> Remote:
    """Where the file is, and what the registry says of it."""
    source, quant = choice.quant.source, choice.quant
    assert isinstance(source, UrlSource)
    return Remote(source.url, source.url, size=quant.size, sha256=quant.sha256)
