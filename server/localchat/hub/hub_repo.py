"""What a repository holds at one commit: as the Hub says, or as far as the cache has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from localchat.errors import FetchFailed
from localchat.hub import cache
from localchat.hub.hub_file import NO_HUB, SECONDS, endpoint, patiently
from localchat.hub.progress import Progress
from localchat.registry.spec import HubSource


@dataclass(frozen=True)
class HubRepo:
    """The files of a commit, with their sizes where those are known."""

    name: str
    commit: str
    files: Mapping[str, int | None]

    def source(self, file: str) -> HubSource:
        """One of the files."""
        return HubSource(kind="hf", repo=self.name, file=file, revision=self.commit)

    def cached(self, file: str) -> Path | None:
        """One of the files in the cache, if it is there and as long as it should be."""
        path = cache.cached(self.source(file))
        return path if path and self.files[file] in (None, path.stat().st_size) else None


def listed(repo: str, revision: str, progress: Progress) -> HubRepo:
    """Ask the Hub what is there now. Raises FetchFailed, and whatever the library does."""
    api = HfApi(endpoint=endpoint())
    try:
        info = patiently(
            lambda: api.model_info(repo, revision=revision, timeout=SECONDS, files_metadata=True), repo, progress
        )
    except json.JSONDecodeError as error:
        raise FetchFailed(f"{repo}: {NO_HUB}") from error
    if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
        raise FetchFailed(f"{repo}: {NO_HUB}")
    return HubRepo(repo, str(info.sha), {file.rfilename: file.size for file in info.siblings or ()})


def cached(repo: str, revision: str) -> HubRepo | None:
    """What the cache has of a revision, whole or not; None where it has no configuration."""
    config = cache.cached(HubSource(kind="hf", repo=repo, file="config.json", revision=revision))
    if config is None:
        return None
    folder = config.parent
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return HubRepo(repo, folder.name, files)
