"""The layout of the Hub's own cache, where other programs find the files too.

models--owner--repo/blobs/HASH                  the content, named by its SHA-256
models--owner--repo/snapshots/COMMIT/dir/FILE   a link to it; the content itself on systems without links
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import are_symlinks_supported, repo_folder_name

from localchat.hub.quarantine import quarantined
from localchat.hub.store import Slot
from localchat.registry.spec import HubSource

PART = ".localchat.incomplete"
"""Ends with what the Hub's own tools take for an unfinished download, yet is not one that they would write."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def root() -> Path:
    """The cache."""
    return Path(constants.HF_HUB_CACHE)


def repo_folder(repo: str) -> Path:
    """Where all of a repository is kept."""
    return root() / repo_folder_name(repo_id=repo, repo_type="model")


def cached(source: HubSource) -> Path | None:
    """The file of a source, under its snapshot's name, if it is there."""
    found = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def snapshot_folder(repo: str, commit: str) -> Path:
    """Where the files of a commit have their names."""
    return repo_folder(repo) / "snapshots" / commit


def remember(repo: str, revision: str, commit: str) -> None:
    """Note which commit a branch or tag is at, so that it is found by that name without the Hub."""
    ref = repo_folder(repo) / "refs" / revision
    if revision == commit or (ref.is_file() and ref.read_text(encoding="utf-8") == commit):
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    draft = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
    draft.write_text(commit, encoding="utf-8")
    os.replace(draft, ref)


def slot_of(label: str, source: HubSource, etag: str, commit: str) -> Slot:
    """Where a file belongs of which the Hub says this."""
    path = repo_folder(source.repo) / "blobs" / etag
    if not are_symlinks_supported(root()):  # the library would copy a blob to its other name
        path = snapshot_folder(source.repo, commit) / Path(*source.file.split("/"))
    return Slot(label, path, path.with_name(path.name + PART))


def lock_of(source: HubSource, etag: str) -> Path:
    """The lock that the library takes for the same file."""
    return root() / ".locks" / repo_folder(source.repo).name / f"{etag}.lock"


def blob_of(path: Path) -> Path:
    """What a file in a snapshot is a link to; itself on systems without links."""
    # Not `resolve`: a blob may in turn be a link, into a store that repositories share.
    return Path(os.path.normpath(path.parent / os.readlink(path))) if path.is_symlink() else path


def claimed_sha256(path: Path) -> str | None:
    """The SHA-256 that a file's content has by its blob's name, which the Hub gave."""
    name = blob_of(path).name
    return name if _SHA256.fullmatch(name) else None


def commit_of(path: Path) -> str | None:
    """The commit of the snapshot that a file belongs to."""
    below = path.parts[path.parts.index("snapshots") + 1 :] if "snapshots" in path.parts else ()
    return below[0] if below else None


def remove(path: Path) -> None:
    """Remove a file, and its content unless another name in the repository links to it too."""
    blob, folder = blob_of(path), _repo_of(path)
    own_name = path.relative_to(folder / "snapshots").parts[1:]
    links = [link for link in folder.glob("snapshots/*/**/*") if not link.is_dir() and blob_of(link) == blob]
    for link in links:  # the same file in several commits
        if link.relative_to(folder / "snapshots").parts[1:] == own_name:
            link.unlink()
    if not any(link.is_symlink() for link in links):
        for file in (blob, blob.with_name(blob.name + PART), quarantined(blob)):
            file.unlink(missing_ok=True)
    _tidy(folder)


def _repo_of(path: Path) -> Path:
    return Path(*path.parts[: path.parts.index("snapshots")])


def _tidy(folder: Path) -> None:
    """Remove folders that have become empty; the repository's too when nothing of it is left."""
    for path in sorted((path for path in folder.glob("snapshots/**/*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # not empty
            path.rmdir()
    left = [entry for name in ("blobs", "snapshots") for entry in (folder / name).rglob("*")]
    if not any(entry.is_symlink() or entry.is_file() for entry in left):
        shutil.rmtree(folder, ignore_errors=True)
