"""What the systems say of their CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.hardware import Machine, probe
from localchat.hardware.cpu import Cpu, of_cpuinfo, of_sysctl
from localchat.hardware.machine import usable_cpu

from .test_machine import tree

X86 = """processor\t: 0
model name\t: Some(R) CPU @ 2.00GHz
flags\t\t: fpu sse2 avx avx2 avx512f avx512_vnni amx_int8 made_up
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimdhp asimddp i8mm
"""
APPLE = """machdep.cpu.brand_string: Apple M2
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
"""
INTEL_MAC = """machdep.cpu.brand_string: Intel(R) Core(TM) i7
hw.optional.avx2_0: 1
hw.optional.avx512f: 0
"""


@pytest.mark.parametrize(
    ("cpu", "name", "features"),
    [
        (of_cpuinfo(X86), "Some(R) CPU @ 2.00GHz", {"avx2", "avx512f", "avx512_vnni", "amx_int8"}),
        (of_cpuinfo(ARM), "", {"asimddp", "i8mm"}),
        (of_cpuinfo(""), "", set()),
        (of_sysctl(APPLE), "Apple M2", {"asimddp", "i8mm"}),
        (of_sysctl(INTEL_MAC), "Intel(R) Core(TM) i7", {"avx2"}),
        (of_sysctl("sysctl: unknown oid"), "", set()),
    ],
    ids=["x86", "arm", "nothing", "apple", "intel mac", "no sysctl"],
)
def test_name_and_features_are_read(cpu: Cpu, name: str, features: set[str]) -> None:
    assert cpu == Cpu(name, frozenset(features))


def test_cpu_says_what_it_has() -> None:
    assert str(of_cpuinfo(X86)) == "Some(R) CPU @ 2.00GHz (avx2, avx512f, avx512_vnni, amx_int8)"
    assert str(Cpu("Old")) == "Old (no more)"


def test_amx_counts_only_where_llama_cpp_was_built_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"with_amx/__init__.py": "", "with_amx/lib/libggml-cpu.so": "..AMX is not ready to be used!.."})
    tree(tmp_path, {"without_amx/__init__.py": "", "without_amx/lib/libggml-cpu.so": "..nothing.."})
    monkeypatch.syspath_prepend(tmp_path)
    cpu = Cpu("New", frozenset({"avx2", "amx_int8"}))
    assert usable_cpu(cpu, "with_amx") == cpu
    assert usable_cpu(cpu, "without_amx").features == {"avx2"}


def test_this_machine_has_a_cpu() -> None:
    assert probe().cpu.name
    assert Machine(1, 1, 1).cpu == Cpu()
