"""Weights on the Hugging Face Hub; files stay in the Hub's own cache, where other programs find them too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

from localchat.errors import ChecksumMismatch, FetchFailed
from localchat.hub.checksum import check_sha256, check_size, sha256_of
from localchat.hub.progress import Progress, phase
from localchat.hub.store import check_room
from localchat.registry import Choice, Quant
from localchat.registry.spec import HubSource

_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_BY_STATUS = {
    401: f"the Hub does not accept the token; {_LOGIN}",
    403: f"the Hub forbids to read it; {_LOGIN}, with a token that may",
}


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Path:
    """The file in the Hub's cache, downloaded unless it is there; `models_dir` plays no part."""
    source, quant = choice.quant.source, choice.quant
    assert isinstance(source, HubSource)
    label = f"{choice.spec.id} {quant.name}"
    with _translated(source):
        cached = _cached(source)
    if cached is not None and _is_right(cached, label, quant, progress):
        return cached
    with _translated(source):
        path = _download(source, label, quant, progress)
    _check(path, label, quant, progress)
    return path


def _cached(source: HubSource) -> Path | None:
    found = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def _is_right(cached: Path, label: str, quant: Quant, progress: Progress) -> bool:
    # The Hub names a blob by its SHA-256, and `_check` leaves none under a name that is not true.
    if _blob(cached).name == quant.sha256:
        return quant.size in (None, cached.stat().st_size)
    try:
        _check(cached, label, quant, progress)
    except ChecksumMismatch:
        return False  # the branch has moved on since, or the registry has
    return True


def _download(source: HubSource, label: str, quant: Quant, progress: Progress) -> Path:
    check_room(label, Path(constants.HF_HUB_CACHE), int((quant.size or 0) * 1.05))
    bar = type("BoundBar", (_Bar,), {"progress": progress, "label": label})
    endpoint = os.environ.get("HF_ENDPOINT") or None  # the library reads it only once, when it is imported
    try:
        return Path(
            hf_hub_download(source.repo, source.file, revision=source.revision, endpoint=endpoint, tqdm_class=bar)
        )
    finally:
        progress.finish()


def _check(path: Path, label: str, quant: Quant, progress: Progress) -> None:
    if quant.sha256 is not None:
        with phase(progress, f"{label}: checking", path.stat().st_size):
            actual = sha256_of(path, progress)
        blob = _blob(path)
        if actual != quant.sha256 and blob.name == quant.sha256:
            path.unlink()
            blob.unlink(missing_ok=True)
        check_sha256(path.name, actual, quant.sha256)
    check_size(path.name, path.stat().st_size, quant.size)


def _blob(path: Path) -> Path:
    """What a file in the cache is a link to; itself on systems without links."""
    return path.parent / os.readlink(path) if path.is_symlink() else path


class _Bar:
    """As much of tqdm as the Hub library uses, told on to our progress."""

    progress: Progress
    label: str

    def __init__(self, *args: Any, total: int | None = None, initial: int = 0, **options: Any) -> None:
        self.n, self.total = initial, total
        self.progress.start(f"{self.label}: downloading", total)
        self.progress.update(initial)

    def update(self, n: int = 1) -> None:
        self.n += n
        self.progress.update(self.n)

    def update_transfer(self, n: int) -> None:
        """Having this method asks for one bar; bytes on the wire are not bytes of the file."""

    def set_postfix_str(self, *args: Any, **options: Any) -> None:
        pass

    set_transfer_postfix_str = refresh = set_postfix_str

    def close(self) -> None:
        self.progress.finish()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@contextmanager
def _translated(source: HubSource) -> Iterator[None]:
    try:
        yield
    except FetchFailed:
        raise
    except Exception as error:  # requests, httpx or httpx2, by the version of the library
        raise FetchFailed(_explain(error, source)) from error


def _explain(error: Exception, source: HubSource) -> str:
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it says no more than that the file is not in the cache either
    file = f"{source.repo}/{source.file}"
    # Subclasses before their bases.
    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, f"{source.repo} is gated: ask for access on its page, then {_LOGIN}"),
        (errors.RepositoryNotFoundError, f"the Hub has no repository {source.repo}; if it is private, {_LOGIN}"),
        (errors.RevisionNotFoundError, f"{source.repo} has no revision {source.revision}"),
        (errors.OfflineModeIsEnabled, f"{file} is not in the cache, and HF_HUB_OFFLINE forbids to download it"),
        (errors.LocalEntryNotFoundError, f"{file} is not in the cache, and the Hub cannot be reached"),
        (errors.EntryNotFoundError, f"{source.repo} has no file {source.file} at revision {source.revision}"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return f"{file}: {_BY_STATUS.get(status, f'the Hub answered {status}')}"
    return f"{file} could not be downloaded: {' '.join(str(error).split()) or type(error).__name__}"
