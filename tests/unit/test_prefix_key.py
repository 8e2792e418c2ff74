"""A saved state is found by what decides its content, and by nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localchat.hardware import probe, read_header
from localchat.hub.progress import SilentProgress
from localchat.launch import prepare
from localchat.prefix_key import prefix_key
from localchat.registry import Choice, load_registry
from localchat.settings import load_settings
from localchat.worker.messages import Load
from tiny_models import build

TEMPLATE = "{{ messages[0].content }}"


def key(path: Path, template: str | None = TEMPLATE, **changes: Any) -> str:
    load = Load(str(path), 512, 2, 16, 16, 1, 0, "f16", False, "auto", True, 8, 4)
    return prefix_key(choice(path), msgspec.structs.replace(load, **changes), read_header(path), template)


def choice(path: Path) -> Choice:
    return load_registry().candidates(str(path))[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build(tmp_path / "model.gguf", "llama", context_length=1024)


def test_the_same_is_the_same(path: Path) -> None:
    assert key(path) == key(path, threads=7, parallel=3, n_ctx=600, prefix_cache=5)


@pytest.mark.parametrize(
    "changes",
    [{"kv_type": "q8_0"}, {"kv_unified": True}, {"flash_attn": "off"}, {"gpu_layers": 3}, {"n_ctx": 1025}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_the_memory_changes_the_key(path: Path, changes: dict[str, Any]) -> None:
    assert key(path) != key(path, **changes)


def test_another_template_has_another_key(path: Path) -> None:
    assert len({key(path), key(path, template="other"), key(path, template=None)}) == 3


def test_other_weights_under_the_same_name_have_another_key(path: Path) -> None:
    before, status = key(path), path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert key(path) != before


def test_a_change_that_no_sample_shows_is_told_by_the_time(path: Path) -> None:
    before = key(path)
    os.utime(path, (1000, 1000))
    assert key(path) != before


def test_a_launch_has_a_key_unless_nothing_is_kept(path: Path, tmp_path: Path) -> None:
    for room, has_key in ((1 << 30, True), (0, False)):
        settings = load_settings(prefix_disk=room, prefix_dir=tmp_path / "prefixes")
        load = prepare(str(path), settings, load_registry(), probe(), SilentProgress()).load
        assert (load.prefix_disk, bool(load.prefix_key)) == (room, has_key)
        assert load.prefix_dir == str(tmp_path / "prefixes")
