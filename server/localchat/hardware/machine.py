"""What this machine has for a model: cores, memory and GPUs."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from localchat.hardware.cgroup import CgroupLimits, read_limits
from localchat.hardware.cpu import Cpu, read_cpu


@dataclass(frozen=True)
class Gpu:
    """A GPU and its memory."""

    name: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Machine:
    """What this process may use."""

    cores: int
    ram_total: int
    ram_available: int
    gpus: tuple[Gpu, ...] = ()
    cpu: Cpu = field(default_factory=Cpu)


def probe() -> Machine:
    """Look at the machine, within the limits of this process's affinity mask and control groups."""
    limits = read_limits()
    memory = psutil.virtual_memory()
    total, available = capped_memory(memory.total, memory.available, limits)
    cores = count_cores(usable_cpus(), psutil.cpu_count(logical=False), limits.cpus)
    return Machine(cores, total, available, list_gpus() if can_offload() else (), usable_cpu(read_cpu()))


def capped_memory(total: int, available: int, limits: CgroupLimits) -> tuple[int, int]:
    """The machine's memory, or less where a control group allows less."""
    total = min(total, total if limits.memory_total is None else limits.memory_total)
    allowed = available if limits.memory_available is None else limits.memory_available
    return total, min(total, available, allowed)


def usable_cpus() -> frozenset[int]:
    """The logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def count_cores(
    cpus: frozenset[int],
    physical: int | None,
    quota: float | None,
    topology: Path = Path("/sys/devices/system/cpu"),
) -> int:
    """Physical cores among `cpus`, and no more than the quota has whole processors: threads that wait in turn stall."""
    try:
        siblings = {(topology / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in cpus}
        cores = len(siblings)
    except OSError:  # not Linux, or a sandbox without /sys
        cores = min(len(cpus), physical or len(cpus))
    if quota is not None:
        cores = min(cores, math.floor(quota))
    return max(1, cores)


@cache
def can_offload(package: str = "llama_cpp") -> bool:
    """Whether the llama.cpp that is installed was built for NVIDIA's GPUs; the usual wheel is for CPUs only."""
    return any(True for _ in _libraries(package, "*ggml-cuda*"))


@cache
def usable_cpu(cpu: Cpu, package: str = "llama_cpp") -> Cpu:
    """The CPU without AMX, unless llama.cpp was built for it: those kernels are in few builds, and take more memory."""
    if "amx_int8" in cpu.features and not any(
        b"AMX is not ready" in library.read_bytes() for library in _libraries(package, "*ggml-cpu*")
    ):
        return replace(cpu, features=cpu.features - {"amx_int8"})
    return cpu


def _libraries(package: str, pattern: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)  # finds a top-level package without running it
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        yield from Path(folder, "lib").glob(pattern)


def list_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """NVIDIA's GPUs, through nvidia-ml-py where it is installed; none when anything about them fails."""
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
        gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        nvml.nvmlShutdown()
    except Exception:  # no package, no library, no driver, or a driver too old: all the same here
        return ()
    return gpus


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(name.decode("utf-8", "replace") if isinstance(name, bytes) else name, memory.free, memory.total)
