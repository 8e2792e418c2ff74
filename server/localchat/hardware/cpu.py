"""Which CPU this is, and which of its instructions llama.cpp has kernels for."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Linux's names. What is not listed makes no difference to what follows from them.
KNOWN = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")

_FROM_SYSCTL = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}


@dataclass(frozen=True)
class Cpu:
    """A CPU's name and features."""

    name: str = ""
    features: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(feature for feature in KNOWN if feature in self.features) or 'no more'})"


@cache
def read_cpu() -> Cpu:
    """Ask the system; where it does not say, what nearly every CPU of this kind has."""
    if sys.platform == "linux":
        cpu = of_cpuinfo(_first_processor(Path("/proc/cpuinfo")))
    elif sys.platform == "darwin":
        cpu = of_sysctl(_sysctl("machdep.cpu.brand_string", "hw.optional"))
    else:
        cpu = Cpu(platform.processor(), frozenset({"avx2"} if platform.machine() == "AMD64" else ()))
    return Cpu(cpu.name or platform.machine(), cpu.features)


def of_cpuinfo(text: str) -> Cpu:
    """From one processor's part of `/proc/cpuinfo`."""
    fields = dict(_pairs(text))
    flags = fields.get("flags") or fields.get("Features") or ""
    return Cpu(fields.get("model name", ""), frozenset(KNOWN).intersection(flags.split()))


def of_sysctl(text: str) -> Cpu:
    """From what macOS's `sysctl` prints."""
    fields = dict(_pairs(text))
    features = frozenset(name for key, name in _FROM_SYSCTL.items() if fields.get(key) == "1")
    return Cpu(fields.get("machdep.cpu.brand_string", ""), features)


def _first_processor(path: Path) -> str:
    lines = []
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.strip():
                    break
                lines.append(line)
    except OSError:
        pass
    return "".join(lines)


def _sysctl(*names: str) -> str:
    try:
        return subprocess.run(["sysctl", *names], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()
