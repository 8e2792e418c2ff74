"""What the machine, its control groups and its GPUs allow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localchat.hardware import Gpu, probe
from localchat.hardware.cgroup import CgroupLimits, read_limits
from localchat.hardware.machine import can_offload, capped_memory, count_cores, list_gpus, usable_cpus

GIB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    """Files with these texts under `root`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def limits(folder: Path, membership: str, files: dict[str, str]) -> CgroupLimits:
    root = tree(folder / "cgroup", files)
    return read_limits(root, tree(folder, {"membership": membership}) / "membership")


def test_version_2_limits_memory_and_processors(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "0::/user/chat.service\n",
        {
            "cgroup.controllers": "cpu memory\n",
            "user/chat.service/cpu.max": "150000 100000\n",
            "user/chat.service/memory.max": f"{4 * GIB}\n",
            "user/chat.service/memory.current": f"{3 * GIB}\n",
            "user/chat.service/memory.stat": f"anon {GIB}\nfile {2 * GIB}\ninactive_file {GIB}\nactive_file {GIB}\n",
        },
    )
    assert found == CgroupLimits(1.5, 4 * GIB, 2 * GIB)


def test_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "0::/outer/inner\n",
        {
            "cgroup.controllers": "",
            "outer/cpu.max": "200000 100000",
            "outer/memory.max": str(2 * GIB),
            "outer/memory.current": str(GIB),
            "outer/inner/cpu.max": "max 100000",
            "outer/inner/memory.max": str(8 * GIB),
            "outer/inner/memory.current": "0",
        },
    )
    assert found == CgroupLimits(2.0, 2 * GIB, GIB)


def test_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "", "memory.max": str(GIB), "memory.current": "0", "cpu.max": "300000 100000"}
    for membership in ("0::/\n", "0::/docker/0123abcd\n", "0::/../other.scope\n"):
        assert limits(tmp_path, membership, files) == CgroupLimits(3.0, GIB, GIB)


def test_version_1_limits_memory_and_processors(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n0::/\n",
        {
            "memory/box/memory.limit_in_bytes": str(2 * GIB),
            "memory/box/memory.usage_in_bytes": str(GIB),
            "memory/box/memory.stat": "inactive_file 1\ntotal_inactive_file 1048576\n",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/memory.usage_in_bytes": str(20 * GIB),
            "cpu/box/cpu.cfs_quota_us": "50000",
            "cpu/box/cpu.cfs_period_us": "100000",
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert found == CgroupLimits(0.5, 2 * GIB, GIB + (1 << 20))


def test_hybrid_tree_has_version_2_beside_version_1(tmp_path: Path) -> None:
    files = {"unified/svc/memory.max": str(GIB), "unified/svc/memory.current": "0"}
    assert limits(tmp_path, "4:memory:/\n0::/svc\n", files).memory_total == GIB


def test_groups_without_limits_limit_nothing(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "", "a/cpu.max": "max 100000", "a/memory.max": "max", "a/memory.current": "5"}
    assert limits(tmp_path, "0::/a\n", files) == CgroupLimits()


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::\n", "x:y\n:::\n"])
def test_unreadable_membership_limits_nothing(tmp_path: Path, text: str) -> None:
    assert limits(tmp_path, text, {"other": ""}) == CgroupLimits()
    assert read_limits(tmp_path / "none", tmp_path / "none") == CgroupLimits()


@pytest.mark.parametrize("quota", ["100000", "x y", "100000 0", "0 100000", ""])
def test_unreadable_quota_limits_nothing(tmp_path: Path, quota: str) -> None:
    assert limits(tmp_path, "0::/\n", {"cgroup.controllers": "", "cpu.max": quota}).cpus is None


def test_usage_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "", "memory.max": "100", "memory.current": "200"}
    assert limits(tmp_path, "0::/\n", files).memory_available == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (CgroupLimits(), (16 * GIB, 12 * GIB)),
        (CgroupLimits(None, 4 * GIB, 3 * GIB), (4 * GIB, 3 * GIB)),
        (CgroupLimits(None, 4 * GIB, None), (4 * GIB, 4 * GIB)),
        (CgroupLimits(None, 64 * GIB, 60 * GIB), (16 * GIB, 12 * GIB)),
    ],
)
def test_memory_is_capped_by_the_groups(found: CgroupLimits, expected: tuple[int, int]) -> None:
    assert capped_memory(16 * GIB, 12 * GIB, found) == expected


def siblings(folder: Path, lists: list[str]) -> Path:
    return tree(folder, {f"cpu{cpu}/topology/thread_siblings_list": text for cpu, text in enumerate(lists)})


@pytest.mark.parametrize(
    ("cpus", "quota", "cores"),
    [
        ({0, 1, 2, 3}, None, 2),
        ({0, 1}, None, 2),
        ({0, 2}, None, 1),
        ({3}, None, 1),
        ({0, 1, 2, 3}, 1.9, 1),
        ({0, 1, 2, 3}, 0.2, 1),
        ({0, 1, 2, 3}, 8.0, 2),
    ],
)
def test_hyperthreads_are_not_cores(tmp_path: Path, cpus: set[int], quota: float | None, cores: int) -> None:
    topology = siblings(tmp_path, ["0,2\n", "1,3\n", "0,2\n", "1,3\n"])
    assert count_cores(frozenset(cpus), 2, quota, topology) == cores


@pytest.mark.parametrize(("cpus", "physical", "cores"), [(8, 4, 4), (2, 4, 2), (8, None, 8)])
def test_cores_without_a_topology_are_what_psutil_says(
    tmp_path: Path, cpus: int, physical: int | None, cores: int
) -> None:
    assert count_cores(frozenset(range(cpus)), physical, None, tmp_path) == cores


class NvmlError(Exception):
    """As the module's own."""


class FakeNvml:
    """Stands in for the module pynvml."""

    def __init__(self, count: int, broken: str = "") -> None:
        self.broken = broken
        self.count = count
        self.is_shut_down = False

    def nvmlInit(self) -> None:
        if self.broken == "driver":
            raise NvmlError

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return b"Old" if handle == 0 else "New"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if self.broken == "memory":
            raise NvmlError
        return SimpleNamespace(free=(handle + 1) * GIB, total=8 * GIB)

    def nvmlShutdown(self) -> None:
        self.is_shut_down = True


def test_gpus_are_listed_with_their_memory() -> None:
    nvml = FakeNvml(2)
    assert list_gpus(nvml) == (Gpu("Old", GIB, 8 * GIB), Gpu("New", 2 * GIB, 8 * GIB))
    assert nvml.is_shut_down


@pytest.mark.parametrize("broken", ["driver", "memory"])
def test_broken_driver_is_no_gpu(broken: str) -> None:
    assert list_gpus(FakeNvml(1, broken)) == ()


def test_offload_needs_a_build_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"fake_cpu/__init__.py": "", "fake_cpu/lib/libggml-cpu.so": ""})
    tree(tmp_path, {"fake_gpu/__init__.py": "raise RuntimeError('imported')", "fake_gpu/lib/libggml-cuda.so": ""})
    monkeypatch.syspath_prepend(tmp_path)
    assert can_offload("fake_gpu")
    assert not can_offload("fake_cpu")
    assert not can_offload("fake_absent")


def test_this_machine_can_be_probed() -> None:
    machine = probe()
    assert 1 <= machine.cores <= len(usable_cpus())
    assert 0 < machine.ram_available <= machine.ram_total
