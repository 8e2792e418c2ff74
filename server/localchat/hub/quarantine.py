"""Where a bad file goes: beside its place, under a name that nothing opens, until it is mended or removed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

SUFFIX = ".quarantined"

log = logging.getLogger(__name__)


def quarantined(path: Path) -> Path:
    """What a file is called once it is known to be bad."""
    return path.with_name(path.name + SUFFIX)


def quarantine(path: Path, place: Path) -> Path:
    """Move a bad file out of the way; `place` is where it is, or was to be. Returns where it went.

    A link gives way too, and what it links to is moved: nothing else may use that either.
    """
    target = quarantined(place)
    os.replace(path.resolve(), target)
    if path.is_symlink():
        path.unlink()
    return target


def set_aside(path: Path) -> None:
    """Quarantine a file that is about to be fetched again, and say so."""
    log.warning("%s is damaged; it was moved to %s, and is fetched again", path, quarantine(path, path))
