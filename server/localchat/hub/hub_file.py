"""What the Hub says of a file, and its refusals in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from localchat.errors import FetchFailed, LocalchatError
from localchat.hub.patience import Patience, advice
from localchat.hub.progress import Progress
from localchat.hub.transfer import Remote
from localchat.registry.spec import HubSource

SECONDS = 5.0
NO_HUB = (
    "what answers is no Hub, for it names no commit or content; "
    "perhaps a proxy or a login page is in between, or HF_ENDPOINT is wrong"
)
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_BY_STATUS = {
    401: f"the Hub does not accept the token; {_LOGIN}",
    403: f"the Hub forbids to read it; {_LOGIN}, with a token that may",
}
T = TypeVar("T")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of one commit: where it is, and under which name the Hub keeps its content."""

    remote: Remote
    etag: str
    commit: str
    file: str


def endpoint() -> str | None:
    """Where the Hub is; None for its usual place. The library reads the variable only once, when it is imported."""
    return os.environ.get("HF_ENDPOINT") or None


def locate(source: HubSource, label: str, progress: Progress) -> HubFile:
    """Ask the Hub for a file, without its content. Raises FetchFailed."""
    with translated(source.repo, source.revision, source.file):
        url = hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint())
        metadata = patiently(lambda: get_hf_file_metadata(url, timeout=SECONDS, endpoint=endpoint()), label, progress)
    name, etag, commit = f"{source.repo}/{source.file}", metadata.etag, metadata.commit_hash
    if not etag or not commit or re.search(r"[^\w.-]", etag + commit):
        raise FetchFailed(f"{name}: {NO_HUB}")
    remote = Remote(
        name=name,
        # Of the commit, not the branch: the same bytes however often the download is taken up again.
        url=hf_hub_url(source.repo, source.file, revision=commit, endpoint=endpoint()),
        headers=build_hf_headers(),
        size=metadata.size,
        sha256=etag if _SHA256.fullmatch(etag) else None,
        is_pinned=True,
    )
    return HubFile(remote, etag, commit, PurePosixPath(source.file).name)


def patiently(ask: Callable[[], T], label: str, progress: Progress) -> T:
    """Ask the Hub; again where it asks to wait."""
    patience = Patience(label, progress)
    while True:
        try:
            return ask()
        except errors.HfHubHTTPError as error:
            if not patience.waits_for(error.response.status_code, error.response.headers):
                raise


@contextmanager
def translated(repo: str, revision: str, file: str = "") -> Iterator[None]:
    """Whatever the library raises of a repository, or of a file in it, as FetchFailed."""
    try:
        yield
    except LocalchatError:
        raise
    except Exception as error:  # requests, httpx or httpx2, by the version of the library
        raise FetchFailed(_explain(error, repo, revision, file)) from error


def _explain(error: Exception, repo: str, revision: str, file: str) -> str:
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it says no more than that the file is not in the cache either
    name = f"{repo}/{file}" if file else repo
    # Subclasses before their bases.
    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, f"{repo} is gated: ask for access on its page, then {_LOGIN}"),
        (errors.RepositoryNotFoundError, f"the Hub has no repository {repo}; if it is private, {_LOGIN}"),
        (errors.RevisionNotFoundError, f"{repo} has no revision {revision}"),
        (errors.OfflineModeIsEnabled, f"{name} is not in the cache, and HF_HUB_OFFLINE forbids to download it"),
        (errors.LocalEntryNotFoundError, f"{name} is not in the cache, and the Hub cannot be reached"),
        (errors.EntryNotFoundError, f"{repo} has no file {file} at revision {revision}"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError):
        status, headers = error.response.status_code, error.response.headers
        return f"{name}: {_BY_STATUS.get(status, f'the Hub answered {status}{advice(status, headers)}')}"
    return f"{name} could not be downloaded: {' '.join(str(error).split()) or type(error).__name__}"
