"""One file of a repository on its way into the Hub's cache.

The library says what the Hub has and links it into its cache; the bytes in between are fetched here. The library's own
transfer begins anew whenever a process ends, hashes nothing, and through Xet writes a file in no order.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download

from localchat.errors import FetchFailed
from localchat.hub import cache
from localchat.hub.checksum import Digest, digest_of
from localchat.hub.hub_file import HubFile, endpoint, translated
from localchat.hub.lock import locked
from localchat.hub.progress import Progress, phase
from localchat.hub.quarantine import set_aside
from localchat.hub.repair import obtain
from localchat.hub.store import Delivery, Slot, check_room, install
from localchat.registry.spec import HubSource


def bring(source: HubSource, found: HubFile, slot: Slot, known: Digest | None, progress: Progress) -> Delivery:
    """The file under its name in the cache, downloaded unless its content is there; `known` is what that once was."""
    with locked(cache.lock_of(source, found.etag), slot.label, progress):
        digest = _take(slot, found, progress) or _download(slot, found, known, progress)
    return Delivery(_link(source, slot), digest)


def _take(slot: Slot, found: HubFile, progress: Progress) -> Digest | None:
    """Check what another program has brought, or another process while this one waited; None if nothing good."""
    if not slot.path.exists():
        return None
    with phase(progress, f"{slot.label}: checking", slot.path.stat().st_size):
        digest = digest_of(slot.path, progress)
    if found.remote.sha256 not in (None, digest.sha256) or found.remote.size not in (None, digest.size):
        set_aside(slot.path)
        return None
    slot.form.check_structure(slot.path, found.file)  # it is what the Hub has, good or bad, and not ours to move
    return digest


def _download(slot: Slot, found: HubFile, known: Digest | None, progress: Progress) -> Digest:
    slot.path.parent.mkdir(parents=True, exist_ok=True)
    check_room(slot.label, slot.path.parent, slot.needed(found.remote.size))
    digest = obtain(found.remote, slot, known, progress)
    install(slot, digest, found.file, found.remote.sha256)
    return digest


def _link(source: HubSource, slot: Slot) -> Path:
    """Have the library put the content under its name."""
    with translated(source.repo, source.revision, source.file):
        path = Path(hf_hub_download(source.repo, source.file, revision=source.revision, endpoint=endpoint()))
    if not path.samefile(slot.path):
        raise FetchFailed(f"{source.repo} has changed at revision {source.revision} meanwhile; try again")
    return path
