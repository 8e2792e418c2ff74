"""What is kept of tuning, for whom it counts, and what is not trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localchat.errors import ConfigError
from localchat.hardware import GgufHeader, Machine, read_header
from localchat.hardware.cpu import Cpu
from localchat.settings import Settings, load_settings
from localchat.tuning import store
from localchat.tuning.store import Changes, Tuned, all_tuned, described, find_tuned, forget, keep
from tiny_models import build

GIB = 1 << 30
HOME = Machine(4, 16 * GIB, 12 * GIB, cpu=Cpu("Some CPU", frozenset({"avx2"})))


def tuned(**changes: object) -> Tuned:
    return Tuned(
        model="tiny F32",
        cpu="Some CPU",
        cores=4,
        llama="1",
        made="2026-01-01",
        parallel=4,
        changes=Changes(**changes),  # type: ignore[arg-type]
        before={"prompt": 100.0},
        after={"prompt": 120.0},
    )


@pytest.fixture
def header(tmp_path: Path) -> GgufHeader:
    return read_header(build(tmp_path / "tiny.gguf", "llama"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "tuned.json"


def test_what_was_kept_is_found_again_until_it_is_forgotten(header: GgufHeader, file: Path) -> None:
    assert find_tuned(header, HOME, file) is None
    keep(tuned(threads=3), header, HOME, file)
    assert find_tuned(header, HOME, file) == tuned(threads=3)
    assert all_tuned(file) == [tuned(threads=3)]
    assert forget(header, HOME, file)
    assert not forget(header, HOME, file)
    assert find_tuned(header, HOME, file) is None


def test_it_counts_for_one_machine_and_one_file_only(header: GgufHeader, file: Path, tmp_path: Path) -> None:
    keep(tuned(), header, HOME, file)
    other = read_header(build(tmp_path / "other.gguf", "llama", layers=3))
    assert find_tuned(other, HOME, file) is None
    assert find_tuned(header, replace(HOME, cores=2), file) is None
    assert find_tuned(header, replace(HOME, cpu=Cpu("Other CPU", frozenset())), file) is None


def test_it_counts_for_one_build_of_the_engine_only(
    header: GgufHeader, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tuned(), header, HOME, file)
    assert len(store.llama_build()) == 64
    monkeypatch.setattr(store, "llama_build", lambda: "another")
    assert find_tuned(header, HOME, file) is None


def test_the_file_may_move(header: GgufHeader, file: Path, tmp_path: Path) -> None:
    keep(tuned(), header, HOME, file)
    moved = header.path.rename(tmp_path / "moved.gguf")
    assert find_tuned(read_header(moved), HOME, file) == tuned()


def test_several_models_have_an_entry_each(header: GgufHeader, file: Path, tmp_path: Path) -> None:
    other = read_header(build(tmp_path / "other.gguf", "llama", layers=3))
    keep(tuned(threads=1), header, HOME, file)
    keep(tuned(threads=2), other, HOME, file)
    keep(tuned(threads=3), header, HOME, file)
    assert find_tuned(header, HOME, file) == tuned(threads=3)
    assert find_tuned(other, HOME, file) == tuned(threads=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"threads": 3', '"threads": 0'),
        lambda text: text.replace('"threads": 3', '"threads": "many"'),
        lambda text: text.replace('"threads": 3', '"host": "0.0.0.0"'),
    ],
)
def test_what_cannot_be_trusted_is_as_if_it_were_not_there(header: GgufHeader, file: Path, change: object) -> None:
    keep(tuned(threads=3), header, HOME, file)
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    assert find_tuned(header, HOME, file) is None
    assert all_tuned(file) == []
    keep(tuned(threads=2), header, HOME, file)
    assert find_tuned(header, HOME, file) == tuned(threads=2)


def test_place_that_cannot_be_written_is_told(header: GgufHeader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        keep(tuned(), header, HOME, tmp_path / "file" / "tuned.json")


def test_what_a_person_asks_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(threads=3, single_row_threads=2, ubatch_size=256, flash_attn="on")
    assert found.changes_to(Settings()) == {
        "threads": 3, "single_row_threads": 2, "ubatch_size": 256, "flash_attn": "on",
    }  # fmt: skip
    assert found.changes_to(load_settings(ubatch_size=512)) == {
        "threads": 3, "single_row_threads": 2, "flash_attn": "on",
    }  # fmt: skip
    monkeypatch.setenv("LOCALCHAT_THREADS", "4")
    assert found.changes_to(load_settings()) == {"ubatch_size": 256, "flash_attn": "on"}


def test_changes_are_told_as_flags_have_them() -> None:
    assert described({"threads": 1, "kv_unified": True, "flash_attn": "on"}) == (
        "threads 1, kv-unified on, flash-attn on"
    )
