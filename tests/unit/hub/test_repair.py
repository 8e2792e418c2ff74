"""Files that were right once and are damaged: found, set aside, and mended where they are bad."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import Fault, HubServer, tiny_gguf
from localchat.errors import FetchFailed
from localchat.hub import checksum, ledger, repair
from localchat.hub.checksum import Hasher, bad_blocks
from localchat.hub.examine import examine
from localchat.hub.fetch import fetch
from localchat.hub.installed import find
from localchat.hub.progress import SilentProgress
from localchat.registry import Choice

MakeChoice = Callable[..., Choice]
SILENT = SilentProgress()
BLOCK = 1 << 16  # instead of 16 MiB
BIG = tiny_gguf(3 * BLOCK + BLOCK // 2)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (checksum, repair):
        monkeypatch.setattr(module, "BLOCK", BLOCK)


@pytest.fixture(params=["hf", "url"])
def choice(request: pytest.FixtureRequest, hub: HubServer, make_choice: MakeChoice) -> Choice:
    """A model of four blocks, the last of them not full."""
    facts = {"size": len(BIG), "sha256": hashlib.sha256(BIG).hexdigest()}
    if request.param == "url":
        return make_choice({"kind": "url", "url": hub.serve("big", BIG)}, **facts)
    hub.add("owner/big", "big.gguf", BIG)
    return make_choice({"kind": "hf", "repo": "owner/big", "file": "big.gguf"}, **facts)


def damage(path: Path, *places: int) -> None:
    """Flip bytes as a failing disk would, without a trace in the file's times."""
    status = path.stat()
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_blocks_are_hashed_however_the_bytes_come() -> None:
    hasher = Hasher()
    for start in range(0, len(BIG), 27_001):
        hasher.update(BIG[start : start + 27_001])
    digest = hasher.digest()
    assert digest.blocks == tuple(
        hashlib.sha256(BIG[start : start + BLOCK]).hexdigest() for start in range(0, len(BIG), BLOCK)
    )
    assert bad_blocks(digest, digest) == []


def test_damage_is_found_and_only_bad_blocks_are_fetched_again(choice: Choice, hub: HubServer, models: Path) -> None:
    path = fetch(choice, models, SILENT)
    damage(path, 5, BLOCK + 1, len(BIG) - 1)
    verdict = examine(choice, path, models, SILENT)
    assert "3 of 4 blocks are bad" in verdict.describe()
    assert verdict.moved is not None
    assert verdict.moved.stat().st_size == len(BIG)
    assert find(choice, models) is None
    before = hub.sent
    assert fetch(choice, models, SILENT) == path
    assert path.read_bytes() == BIG
    assert hub.sent - before == 2 * BLOCK + len(BIG) - 3 * BLOCK
    assert hub.content_ranges[1:] == [f"bytes=0-{2 * BLOCK - 1}", f"bytes={3 * BLOCK}-{len(BIG) - 1}"]
    assert not verdict.moved.exists()
    assert examine(choice, path, models, SILENT).is_good


def test_file_that_was_changed_is_checked_again_before_it_is_used(
    choice: Choice, hub: HubServer, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch(choice, models, SILENT)
    damage(path, 2 * BLOCK)
    os.utime(path)
    before = hub.sent
    assert fetch(choice, models, SILENT).read_bytes() == BIG
    assert hub.sent - before == BLOCK
    assert "1 of 4 blocks are bad; it was moved to" in caplog.text


def test_file_that_was_only_touched_is_kept(choice: Choice, hub: HubServer, models: Path) -> None:
    path = fetch(choice, models, SILENT)
    os.utime(path)
    before = hub.sent
    assert fetch(choice, models, SILENT) == path
    assert hub.sent == before
    record = ledger.find(choice, models)
    assert record is not None
    assert record.is_unchanged


def test_cut_file_is_completed(choice: Choice, hub: HubServer, models: Path) -> None:
    path = fetch(choice, models, SILENT)
    os.truncate(path.resolve(), 3 * BLOCK)
    before = hub.sent
    assert fetch(choice, models, SILENT).read_bytes() == BIG
    assert hub.sent - before == len(BIG) - 3 * BLOCK


def test_mending_goes_on_after_a_cut_connection(choice: Choice, hub: HubServer, models: Path) -> None:
    path = fetch(choice, models, SILENT)
    damage(path, 0)
    examine(choice, path, models, SILENT)
    hub.faults = [Fault(cut=1000), Fault(cut=7_000)]
    assert fetch(choice, models, SILENT).read_bytes() == BIG


def test_mending_that_fails_is_gone_on_with_later(choice: Choice, hub: HubServer, models: Path) -> None:
    path = fetch(choice, models, SILENT)
    damage(path, 0, 2 * BLOCK)
    examine(choice, path, models, SILENT)
    hub.faults = [Fault(), Fault(status=500)]
    with pytest.raises(FetchFailed, match="500"):
        fetch(choice, models, SILENT)
    before = hub.sent
    assert fetch(choice, models, SILENT).read_bytes() == BIG
    assert hub.sent - before == BLOCK


@pytest.mark.parametrize("ranges", ["ignored", "wrong"])
def test_server_without_ranges_sends_the_whole(choice: Choice, hub: HubServer, models: Path, ranges: str) -> None:
    path = fetch(choice, models, SILENT)
    damage(path, 0, 2 * BLOCK)
    examine(choice, path, models, SILENT)
    hub.faults = [Fault(ranges=ranges)]  # type: ignore[arg-type]
    assert fetch(choice, models, SILENT).read_bytes() == BIG


def test_address_that_has_another_file_by_now_is_fetched_whole(
    hub: HubServer, make_choice: MakeChoice, models: Path
) -> None:
    choice = make_choice({"kind": "url", "url": hub.serve("big", BIG)}, size=None, sha256=None)
    path = fetch(choice, models, SILENT)
    damage(path, 0)
    examine(choice, path, models, SILENT)
    other = tiny_gguf(len(BIG), seed=3)
    hub.serve("big", other)
    assert fetch(choice, models, SILENT).read_bytes() == other


def test_own_file_is_never_moved(make_choice: MakeChoice, tmp_path: Path, models: Path, weights: bytes) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(weights[:-1] + b"?")
    verdict = examine(make_choice({"kind": "path", "path": str(file)}), file, models, SILENT)
    assert not verdict.is_good
    assert verdict.moved is None
    assert file.exists()


def test_ledger_that_cannot_be_read_is_none(make_choice: MakeChoice, hub: HubServer, models: Path) -> None:
    choice = make_choice({"kind": "url", "url": hub.serve("tiny", tiny_gguf())})
    path = fetch(choice, models, SILENT)
    for file in (models / ".installed").iterdir():
        file.write_text("{}")
    assert ledger.find(choice, models) is None
    assert list(ledger.records(models)) == []
    assert fetch(choice, models, SILENT) == path
