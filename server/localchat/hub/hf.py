"""Weights on the Hugging Face Hub, in the Hub's own cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from localchat.errors import ChecksumMismatch
from localchat.hub import cache, ledger
from localchat.hub.blob import bring
from localchat.hub.hub_file import HubFile, locate, translated
from localchat.hub.progress import Progress, SilentProgress
from localchat.hub.store import Delivery
from localchat.hub.transfer import Remote
from localchat.registry import Choice, Quant
from localchat.registry.spec import HubSource


def find(choice: Choice, models_dir: Path) -> Path | None:
    """The choice's file in the cache, if it is there and can be the right one; `models_dir` plays no part."""
    source, quant = _source(choice), choice.quant
    with translated(source.repo, source.revision, source.file):
        path = cache.cached(source)
    if path is None or not path.is_file() or quant.size not in (None, path.stat().st_size):
        return None
    # A branch may have moved on since the file came, or the registry may.
    return path if quant.sha256 is None or cache.claimed_sha256(path) in (None, quant.sha256) else None


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """The file in the Hub's cache, downloaded unless it is there."""
    source, quant, label = _source(choice), choice.quant, f"{choice.spec.id} {choice.quant.name}"
    found = locate(source, label, progress)
    _refuse_another(source, found, quant)
    slot = replace(cache.slot_of(label, source, found.etag, found.commit), size=quant.size, sha256=quant.sha256)
    known = ledger.find(choice, models_dir)
    return bring(source, found, slot, known.digest if known else None, progress)


def _refuse_another(source: HubSource, found: HubFile, quant: Quant) -> None:
    """ChecksumMismatch before the download where the Hub says that it would be in vain."""
    moved = "" if source.is_pinned else f"; {source.revision} may have moved on, and a commit would not"
    name, remote = f"{source.repo}/{source.file}", found.remote
    if quant.size is not None and remote.size not in (None, quant.size):
        raise ChecksumMismatch(
            f"{name} is not the file the registry names: it has {remote.size} bytes, expected {quant.size}{moved}"
        )
    if quant.sha256 is not None and remote.sha256 not in (None, quant.sha256):
        raise ChecksumMismatch(
            f"{name} is not the file the registry names: its SHA-256 is {remote.sha256}, expected {quant.sha256}{moved}"
        )


def remote_of(choice: Choice) -> Remote:
    """Where the file is, as the Hub says."""
    return locate(_source(choice), f"{choice.spec.id} {choice.quant.name}", SilentProgress()).remote


def _source(choice: Choice) -> HubSource:
    source = choice.quant.source
    assert isinstance(source, HubSource)
    return source
