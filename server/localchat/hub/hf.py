"""Weights on the Hugging Face Hub, in the Hub's own cache.

The library says what the Hub has and links it into its cache; the bytes in between are fetched here. The library's own
transfer begins anew whenever a process ends, hashes nothing, and through Xet writes a file in no order.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download

from localchat.errors import ChecksumMismatch, FetchFailed
from localchat.hub import cache, ledger
from localchat.hub.checksum import Digest, check_structure, digest_of
from localchat.hub.hub_file import HubFile, endpoint, locate, translated
from localchat.hub.ledger import Record
from localchat.hub.lock import locked
from localchat.hub.progress import Progress, SilentProgress, phase
from localchat.hub.quarantine import set_aside
from localchat.hub.repair import obtain
from localchat.hub.store import Delivery, Slot, check_room, install
from localchat.hub.transfer import Remote
from localchat.registry import Choice, Quant
from localchat.registry.spec import HubSource


def find(choice: Choice, models_dir: Path) -> Path | None:
    """The choice's file in the cache, if it is there and can be the right one; `models_dir` plays no part."""
    source, quant = _source(choice), choice.quant
    with translated(source):
        path = cache.cached(source)
    if path is None or not path.is_file() or quant.size not in (None, path.stat().st_size):
        return None
    # A branch may have moved on since the file came, or the registry may.
    return path if quant.sha256 is None or cache.claimed_sha256(path) in (None, quant.sha256) else None


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """The file in the Hub's cache, downloaded unless it is there."""
    source, label = _source(choice), f"{choice.spec.id} {choice.quant.name}"
    found = locate(source, label, progress)
    _refuse_another(source, found, choice.quant)
    slot = cache.slot_of(choice, source, found.etag, found.commit)
    known = ledger.find(choice, models_dir)
    with locked(cache.lock_of(source, found.etag), label, progress):
        digest = _take(slot, found, progress) or _bring(slot, found, known, progress)
    return Delivery(_link(source, found, slot), digest)


def _take(slot: Slot, found: HubFile, progress: Progress) -> Digest | None:
    """Check what another program has brought, or another process while this one waited; None if nothing good."""
    if not slot.path.exists():
        return None
    with phase(progress, f"{slot.label}: checking", slot.path.stat().st_size):
        digest = digest_of(slot.path, progress)
    if found.remote.sha256 not in (None, digest.sha256):
        set_aside(slot.path)
        return None
    check_structure(slot.path, found.file)  # it is what the Hub has, good or bad, and not ours to move
    return digest


def _bring(slot: Slot, found: HubFile, known: Record | None, progress: Progress) -> Digest:
    slot.path.parent.mkdir(parents=True, exist_ok=True)
    check_room(slot.label, slot.path.parent, int((found.remote.size or 0) * 1.02) - slot.arrived)
    digest = obtain(found.remote, slot, known.digest if known else None, progress)
    install(slot, digest, found.file, found.remote.sha256)
    return digest


def _link(source: HubSource, found: HubFile, slot: Slot) -> Path:
    """Have the library put the content under its name."""
    with translated(source):
        path = Path(hf_hub_download(source.repo, source.file, revision=source.revision, endpoint=endpoint()))
    if not path.samefile(slot.path):
        raise FetchFailed(f"{source.repo} has changed at revision {source.revision} meanwhile; try again")
    return path


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
