"""What the control groups of this process allow it: a container's limits, and a service's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Version 1 writes "no limit" as the largest multiple of the page size; no machine has so much memory.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class CgroupLimits:
    """The tightest limits on the way up from this process's groups; None is no limit."""

    cpus: float | None = None
    memory_total: int | None = None
    memory_available: int | None = None


def read_limits(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> CgroupLimits:
    """Read version 1, version 2, or both; whatever cannot be read limits nothing."""
    groups = _membership(membership)
    cpus: list[float] = []
    totals: list[int] = []
    available: list[int] = []
    unified = root if (root / "cgroup.controllers").exists() else root / "unified"
    for folder in _folders(unified, groups.get("")):
        cpus += _quota(_text(folder / "cpu.max"))
        _add_memory(totals, available, folder, "memory.max", "memory.current", "inactive_file")
    for folder in _folders(root / "memory", groups.get("memory")):
        _add_memory(totals, available, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    for folder in _folders(root / "cpu", groups.get("cpu")):
        cpus += _quota(f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}")
    return CgroupLimits(min(cpus, default=None), min(totals, default=None), min(available, default=None))


def _membership(path: Path) -> dict[str, str]:
    """Controller → group; version 2's only group has the name ""."""
    groups = {}
    for line in _text(path).splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        groups.update(dict.fromkeys(controllers.split(","), group))
    return groups


def _folders(root: Path, group: str | None) -> Iterator[Path]:
    """The group's folder and those above it, as far as they can be seen from here."""
    if group is None:
        return
    # In a container without a cgroup namespace the group is the host's name for what is mounted as the root, and in
    # a namespace entered from outside it begins with "..": the folders are not there, and the root is what counts.
    path = PurePosixPath(group.lstrip("/"))
    for part in (path, *path.parents):
        if ".." not in part.parts and (root / part).is_dir():
            yield root / part


def _add_memory(
    totals: list[int], available: list[int], folder: Path, limit_name: str, usage_name: str, cache_name: str
) -> None:
    limit = _number(_text(folder / limit_name))
    if limit is None or limit >= _UNLIMITED:
        return
    totals.append(limit)
    usage = _number(_text(folder / usage_name))
    if usage is not None:
        # The page cache counts as usage, and what of it is inactive goes as soon as the memory is wanted.
        cache = _stat(_text(folder / "memory.stat"), cache_name)
        available.append(max(0, limit - usage + min(cache, usage)))


def _quota(text: str) -> list[float]:
    words = text.split()
    if len(words) != 2:
        return []
    quota, period = _number(words[0]), _number(words[1])
    return [quota / period] if quota is not None and period and quota > 0 else []


def _stat(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return _number(value) or 0
    return 0


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # "max", or no such file
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
