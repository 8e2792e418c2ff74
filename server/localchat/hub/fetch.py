"""The way from a choice to its file, by the kind of its source."""

from __future__ import annotations

import logging
from pathlib import Path

from localchat.errors import FetchFailed
from localchat.hub import ledger
from localchat.hub.examine import examine
from localchat.hub.form import check_magic
from localchat.hub.kinds import kind_of
from localchat.hub.place import commit_of
from localchat.hub.progress import Progress
from localchat.registry import Choice

log = logging.getLogger(__name__)


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Path:
    """The choice's GGUF file on this machine, downloaded and checked if need be; WeightsError says why not."""
    kind = kind_of(choice)
    try:
        path = kind.find(choice, models_dir)
        if path is None or not _is_good(choice, path, models_dir, progress):
            delivery = kind.fetch(choice, models_dir, progress)
            path = delivery.path
            if delivery.digest is not None:
                ledger.write(choice, models_dir, path, delivery.digest, commit_of(choice, path))
        check_magic(path)
    except OSError as error:  # a full disk, a folder without permission
        raise FetchFailed(f"{choice.spec.id} {choice.quant.name} could not be fetched: {error}") from error
    ledger.touch(choice, models_dir)
    return path


def _is_good(choice: Choice, path: Path, models_dir: Path, progress: Progress) -> bool:
    """Whether a file that is there is the right one; its content is read only where that is in doubt."""
    kind, record = choice.quant.source.kind, ledger.find(choice, models_dir)
    if kind == "path":
        return True
    if record is None:
        # In the models folder a file has its name only after it was checked. The Hub's cache is everyone's.
        return kind != "hf" or _passes(choice, path, models_dir, progress)
    is_known = record.path == str(path) and record.is_unchanged
    is_wanted = choice.quant.sha256 in (None, record.digest.sha256)
    return (is_known and is_wanted) or _passes(choice, path, models_dir, progress)


def _passes(choice: Choice, path: Path, models_dir: Path, progress: Progress) -> bool:
    verdict = examine(choice, path, models_dir, progress)
    if not verdict.is_good:
        log.warning("%s; it is fetched again", verdict.describe())
    return verdict.is_good
