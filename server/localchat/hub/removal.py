"""Removes what was installed, and what is left of downloads that came to nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import WeightsError
from localchat.hub import ledger
from localchat.hub.installed import Installed
from localchat.hub.quarantine import SUFFIX, quarantined
from localchat.hub.store import PART


@dataclass(frozen=True)
class Leftover:
    """A file that nothing uses: a download that goes on next time, or one that is bad."""

    path: Path
    size: int
    is_bad: bool


def remove(item: Installed, models_dir: Path) -> None:
    """Remove an installed file. Raises WeightsError for one that localchat did not bring."""
    if item.kind == "path":
        raise WeightsError(f"{item.path} is your own file, which localchat does not remove")
    if item.kind == "hf":
        from localchat.hub import cache  # noqa: PLC0415 - the Hub's library loads slowly

        cache.remove(item.path)
    else:
        _remove_stored(item.path)
    ledger.forget(item.path, models_dir)


def _remove_stored(path: Path) -> None:
    part = path.with_name(path.name + PART)
    for file in (path, part, part.with_name(part.name + ".origin"), quarantined(path)):
        file.unlink(missing_ok=True)
    if {entry.name for entry in path.parent.iterdir()} <= {".lock"}:
        shutil.rmtree(path.parent, ignore_errors=True)


def leftovers(models_dir: Path) -> list[Leftover]:
    """Unfinished and bad files, in the models folder and in the Hub's cache."""
    found = []
    for path in sorted({*_in_models(models_dir), *_in_cache()}):
        with suppress(FileNotFoundError):  # its download may just have ended
            found.append(Leftover(path, path.stat().st_size, path.name.endswith(SUFFIX)))
    return found


def remove_leftover(leftover: Leftover) -> None:
    """Remove a file that nothing uses."""
    leftover.path.unlink(missing_ok=True)
    leftover.path.with_name(leftover.path.name + ".origin").unlink(missing_ok=True)


def _in_models(models_dir: Path) -> Iterator[Path]:
    yield from models_dir.glob(f"*/*{PART}")
    yield from models_dir.glob(f"*/*{SUFFIX}")


def _in_cache() -> Iterator[Path]:
    from localchat.hub import cache  # noqa: PLC0415 - the Hub's library loads slowly

    for folder in ("blobs", "snapshots/*/**"):
        yield from cache.root().glob(f"models--*/{folder}/*{cache.PART}")
        yield from cache.root().glob(f"models--*/{folder}/*{SUFFIX}")
