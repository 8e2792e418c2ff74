"""llama.cpp's own programs, built from the source that llama-cpp-python carries: the same kernels for everyone."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

TARGETS = ("llama-server", "llama-bench", "llama-batched-bench")


def build(folder: Path) -> Path:
    """The folder of the binaries; the first call downloads the source distribution and compiles for minutes."""
    binaries = folder / "build" / "bin"
    if all((binaries / name).exists() for name in TARGETS):
        return binaries
    folder.mkdir(parents=True, exist_ok=True)
    source = _source(folder)
    flags = ["-DLLAMA_BUILD_UI=OFF", "-DLLAMA_CURL=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run(["cmake", "-S", source, "-B", folder / "build", *flags], check=True)
    jobs = str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", folder / "build", "-j", jobs, "--target", *TARGETS], check=True)
    return binaries


def _source(folder: Path) -> Path:
    """llama.cpp's source tree, of the version that is installed."""
    version = importlib.metadata.version("llama-cpp-python")
    name = f"llama_cpp_python-{version}"
    if not (folder / name).exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
        subprocess.run([*pip, f"llama-cpp-python=={version}"], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name / "vendor" / "llama.cpp"
