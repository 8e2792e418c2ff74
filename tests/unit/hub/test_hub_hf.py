"""Weights on a Hub: the real client library against a server that speaks its file protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from hub_server import COMMIT, GATED, MISSING, TOKEN, UNAUTHORIZED, Fault, HubServer, tiny_gguf
from localchat.errors import ChecksumMismatch, FetchFailed, NotGguf
from localchat.hub import ledger, patience
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress, SilentProgress
from localchat.registry import Choice, Registry

MakeChoice = Callable[..., Choice]
SOURCE = {"kind": "hf", "repo": "owner/tiny", "file": "dir/tiny.gguf"}
UNKNOWN = {"size": None, "sha256": None}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub"


def get(choice: Choice, models: Path) -> bytes:
    return fetch(choice, models, SilentProgress()).read_bytes()


def methods(hub: HubServer) -> list[str]:
    return [f"{asked.method} {'content' if '/content/' in asked.path else 'hub'}" for asked in hub.asked]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_file_is_downloaded_once_into_the_cache_of_the_library(
    hub: HubServer,
    make_choice: MakeChoice,
    weights: bytes,
    models: Path,
    cache: Path,
    recorder: Progress,
    labels: list[str],
) -> None:
    paths = {fetch(make_choice(SOURCE), models, recorder) for _ in range(2)}
    (path,) = paths
    assert path.read_bytes() == weights
    assert path == cache / "models--owner--tiny" / "snapshots" / COMMIT / "dir" / "tiny.gguf"
    assert [file.name for file in (cache / "models--owner--tiny" / "blobs").iterdir()] == [sha256(weights)]
    assert methods(hub) == ["HEAD hub", "GET hub", "GET content", "HEAD hub"]
    assert labels == ["tiny Q4_0: downloading"]
    assert hub.sent == len(weights)


def test_other_programs_find_the_file(hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path) -> None:
    path = fetch(make_choice(SOURCE), models, SilentProgress())
    found = hf_hub_download("owner/tiny", "dir/tiny.gguf", endpoint=hub.url, local_files_only=True)
    assert Path(found) == path


def test_file_of_another_program_is_checked_once_and_not_downloaded(
    hub: HubServer, make_choice: MakeChoice, models: Path, recorder: Progress, labels: list[str]
) -> None:
    theirs = hf_hub_download("owner/tiny", "dir/tiny.gguf", endpoint=hub.url)
    sent = hub.sent
    assert {str(fetch(make_choice(SOURCE), models, recorder)) for _ in range(2)} == {theirs}
    assert labels == ["tiny Q4_0: checking"]
    assert hub.sent == sent


def test_content_that_is_there_under_another_commit_is_not_downloaded_again(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    fetch(make_choice(SOURCE), models, SilentProgress())
    hub.commit = COMMIT[::-1]
    assert get(make_choice({**SOURCE, "revision": hub.commit}), models) == weights
    assert hub.sent == len(weights)


def test_ledger_tells_commit_hash_and_blocks(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    choice = make_choice(SOURCE, **UNKNOWN)
    path = fetch(choice, models, SilentProgress())
    record = ledger.find(choice, models)
    assert record is not None
    assert (record.path, record.commit, record.is_unchanged) == (str(path), COMMIT, True)
    assert (record.digest.size, record.digest.sha256) == (len(weights), sha256(weights))
    assert record.digest.blocks == (sha256(weights),)


def test_progress_counts_the_bytes_of_the_file(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    class Counting(SilentProgress):
        done = 0

        def update(self, done: int) -> None:
            self.done = done

    progress = Counting()
    fetch(make_choice(SOURCE, sha256=None), models, progress)
    assert progress.done == len(weights)


def test_reference_without_an_entry_is_downloaded_once(hub: HubServer, weights: bytes, models: Path) -> None:
    choice = Registry(()).resolve(f"hf:owner/tiny/dir/tiny.gguf@{COMMIT}")
    assert [get(choice, models) for _ in range(2)] == [weights, weights]
    assert hub.sent == len(weights)


def test_file_in_the_cache_needs_no_network(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(make_choice(SOURCE), models)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert get(make_choice(SOURCE), models) == weights


def test_offline_mode_without_the_file_is_told(
    hub: HubServer, make_choice: MakeChoice, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchFailed, match=r"owner/tiny/dir/tiny\.gguf is not in the cache, and HF_HUB_OFFLINE"):
        get(make_choice(SOURCE), models)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"repo": "owner/none"}, "the Hub has no repository owner/none; if it is private, log in with `hf auth login`"),
        ({"repo": "owner/gated"}, "owner/gated is gated: ask for access on its page, then log in"),
        ({"repo": "owner/private"}, "owner/private/dir/tiny.gguf: the Hub does not accept the token; log in"),
        ({"repo": "owner/forbidden"}, "owner/forbidden/dir/tiny.gguf: the Hub forbids to read it; log in"),
        ({"repo": "owner/teapot"}, "owner/teapot/dir/tiny.gguf: the Hub answered 418"),
        ({"repo": "owner/broken"}, "owner/broken/dir/tiny.gguf: the Hub answered 500; try again later"),
        ({"repo": "owner/bad--name"}, "owner/bad--name/dir/tiny.gguf could not be downloaded: Cannot have -- or .."),
        ({"revision": "v9"}, "owner/tiny has no revision v9"),
        ({"file": "other.gguf"}, "owner/tiny has no file other.gguf at revision main"),
        ({"file": "../other.gguf"}, "owner/tiny"),
    ],
)
def test_refusal_is_told_in_one_line_and_leaves_nothing(
    hub: HubServer, make_choice: MakeChoice, models: Path, cache: Path, change: dict[str, str], expected: str
) -> None:
    hub.refusals = {
        "owner/none": MISSING,
        "owner/gated": GATED,
        "owner/private": UNAUTHORIZED,
        "owner/forbidden": (403, {"X-Error-Message": "No."}),
        "owner/teapot": (418, {}),
        "owner/broken": (500, {}),
    }
    with pytest.raises(FetchFailed) as caught:
        get(make_choice({**SOURCE, **change}), models)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert not models.exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_token_opens_a_gated_repository_and_is_shown_to_the_hub_alone(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refusals = {"owner/tiny": GATED}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert get(make_choice(SOURCE), models) == weights
    seen = {asked.authorization for asked in hub.asked if not asked.path.startswith("/content/")}
    assert seen == {f"Bearer {TOKEN}"}
    assert [asked.authorization for asked in hub.asked if asked.path.startswith("/content/")] == [None]


def test_hub_that_sends_the_content_itself_is_fine(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.knows_redirects = False
    assert get(make_choice(SOURCE), models) == weights


def test_repository_that_was_renamed_is_followed(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.renamed = {"owner/old": "owner/tiny"}
    assert get(make_choice({**SOURCE, "repo": "owner/old"}), models) == weights


def test_hub_that_asks_to_wait_is_waited_for(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, recorder: Progress, labels: list[str]
) -> None:
    busy = Fault(status=429, headers={"Retry-After": "0"})
    hub.asks_faults, hub.faults = [busy, busy], [busy]
    assert fetch(make_choice(SOURCE), models, recorder).read_bytes() == weights
    wait = "tiny Q4_0: the server asks to wait 0 s"
    assert labels == [wait, wait, wait, "tiny Q4_0: downloading"]


@pytest.mark.parametrize(("after", "advice"), [({}, "wait a while"), ({"Retry-After": "3600"}, "wait 3600 s")])
def test_hub_that_asks_for_too_much_patience_is_given_up(
    hub: HubServer, make_choice: MakeChoice, models: Path, after: dict[str, str], advice: str
) -> None:
    hub.asks_faults = [Fault(status=429, headers=after)]
    with pytest.raises(FetchFailed, match=f"the Hub answered 429, too many requests; {advice} and try again"):
        get(make_choice(SOURCE), models)


def test_hub_that_always_asks_to_wait_is_given_up(hub: HubServer, make_choice: MakeChoice, models: Path) -> None:
    hub.asks_faults = [Fault(status=429, headers={"Retry-After": "0"})] * (patience.MOST_WAITS + 1)
    with pytest.raises(FetchFailed, match="429"):
        get(make_choice(SOURCE), models)
    assert len(hub.asked) == patience.MOST_WAITS + 1


def test_page_in_place_of_the_hub_is_told(hub: HubServer, make_choice: MakeChoice, models: Path) -> None:
    hub.asks_faults = [Fault(page=True)]
    with pytest.raises(FetchFailed, match="no Hub, for it names no commit or content; perhaps a proxy"):
        get(make_choice(SOURCE), models)


def test_page_in_place_of_the_content_is_told_and_not_kept(
    hub: HubServer, make_choice: MakeChoice, models: Path, cache: Path
) -> None:
    hub.faults = [Fault(page=True)]
    with pytest.raises(
        NotGguf, match=r"owner/tiny/dir/tiny\.gguf is not a GGUF file.*it is a web page, perhaps of a proxy"
    ):
        get(make_choice(SOURCE), models)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]


def test_cut_connections_are_taken_up_where_they_broke(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.faults = [Fault(cut=1000), Fault(cut=500), Fault(cut=2000)]
    assert get(make_choice(SOURCE), models) == weights
    assert hub.content_ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=3500-"]
    assert hub.sent == len(weights)


def test_next_call_goes_on_from_what_the_last_one_kept(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, recorder: Progress, labels: list[str]
) -> None:
    hub.faults = [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed, match="what has arrived is kept, so try again"):
        get(make_choice(SOURCE), models)
    assert fetch(make_choice(SOURCE), models, recorder).read_bytes() == weights
    assert hub.sent == len(weights)
    assert labels == ["tiny Q4_0: checking what is here already", "tiny Q4_0: downloading"]


def test_connection_that_is_always_cut_brings_the_file_in_the_end(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.always = Fault(cut=20_000)
    assert get(make_choice(SOURCE), models) == weights
    assert hub.sent == len(weights)


def test_server_error_in_the_middle_is_outlived(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.0, 0.0))
    hub.faults = [Fault(cut=1000), Fault(status=500), Fault(status=503)]
    assert get(make_choice(SOURCE), models) == weights


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_content_that_is_refused_is_told(hub: HubServer, make_choice: MakeChoice, models: Path, status: int) -> None:
    hub.faults = [Fault(status=status)]
    with pytest.raises(FetchFailed, match=rf"owner/tiny/dir/tiny\.gguf: the server answered {status}"):
        get(make_choice(SOURCE), models)


def test_registry_that_names_another_hash_is_contradicted_before_the_download(
    hub: HubServer, make_choice: MakeChoice, models: Path
) -> None:
    stored = hub.add("owner/tiny", "dir/tiny.gguf", tiny_gguf(seed=2))
    with pytest.raises(ChecksumMismatch, match=f"its SHA-256 is {stored.etag}, expected .*; main may have moved on"):
        get(make_choice(SOURCE), models)
    assert hub.sent == 0


def test_registry_that_names_another_size_is_contradicted_before_the_download(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    with pytest.raises(ChecksumMismatch, match=f"it has {len(weights)} bytes, expected 5"):
        get(make_choice(SOURCE, sha256=None, size=5), models)
    assert hub.sent == 0


@pytest.mark.parametrize("facts", [{}, {"sha256": None}], ids=["hash in the registry", "hash of the Hub"])
def test_content_under_a_false_name_is_quarantined_and_the_next_call_fetches_it_whole(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, cache: Path, facts: dict[str, None]
) -> None:
    stored = hub.files["owner/tiny", "dir/tiny.gguf"]
    stored.body = bad = weights[:-1] + b"?"
    with pytest.raises(ChecksumMismatch, match=r"it was moved to .*\.quarantined") as caught:
        get(make_choice(SOURCE, **facts), models)
    where = Path(str(caught.value).rpartition(" ")[2])
    assert where.read_bytes() == bad
    assert not list(cache.rglob("*.gguf"))
    stored.body = weights
    assert get(make_choice(SOURCE, **facts), models) == weights
    assert where.exists()


def test_etag_that_is_no_hash_leaves_the_check_to_the_registry(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    stored = hub.add("owner/tiny", "dir/tiny.gguf", weights, etag="0" * 40)
    assert get(make_choice(SOURCE), models) == weights
    stored.body, stored.etag = weights[:-1] + b"?", "1" * 40
    hub.commit = COMMIT[::-1]
    with pytest.raises(ChecksumMismatch):
        get(make_choice({**SOURCE, "revision": hub.commit}), models)


@pytest.mark.parametrize("etag", ["", "../../outside", "a/b"])
def test_etag_that_is_no_file_name_is_refused(hub: HubServer, make_choice: MakeChoice, models: Path, etag: str) -> None:
    hub.files["owner/tiny", "dir/tiny.gguf"].etag = etag
    with pytest.raises(FetchFailed, match="names no commit or content"):
        get(make_choice(SOURCE), models)


def test_content_of_another_length_than_the_hub_says_is_refused(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.add("owner/tiny", "dir/tiny.gguf", weights, size=len(weights) + 1)
    with pytest.raises(ChecksumMismatch, match=f"has {len(weights)} bytes, expected {len(weights) + 1}"):
        get(make_choice(SOURCE, **UNKNOWN), models)


def test_branch_that_has_moved_to_the_named_content_is_followed(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path
) -> None:
    hub.add("owner/tiny", "dir/tiny.gguf", tiny_gguf(seed=2))
    get(make_choice(SOURCE, **UNKNOWN), models)
    hub.add("owner/tiny", "dir/tiny.gguf", weights)
    hub.commit = COMMIT[::-1]
    assert get(make_choice(SOURCE), models) == weights


def test_broken_structure_is_quarantined(hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path) -> None:
    hub.add("owner/tiny", "dir/tiny.gguf", weights[:-8])
    with pytest.raises(NotGguf, match=r"^tiny\.gguf: 8 bytes are missing at its end.*it was moved to "):
        get(make_choice(SOURCE, **UNKNOWN), models)


def test_full_disk_is_noticed_before_the_download(hub: HubServer, make_choice: MakeChoice, models: Path) -> None:
    hub.files["owner/tiny", "dir/tiny.gguf"].size = 10**17
    with pytest.raises(FetchFailed, match=r"tiny Q4_0 needs 102000\.0 TB free"):
        get(make_choice(SOURCE, **UNKNOWN), models)
    assert hub.sent == 0
    assert hub.content_ranges == []


def test_system_without_links_keeps_the_one_content_under_the_name_of_the_file(
    hub: HubServer, make_choice: MakeChoice, weights: bytes, models: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.hub.cache.are_symlinks_supported", lambda folder: False)
    path = fetch(make_choice(SOURCE), models, SilentProgress())
    assert not path.is_symlink()
    assert path.read_bytes() == weights
    assert [file for file in cache.rglob("*") if file.is_file() and file.stat().st_size == len(weights)] == [path]
