"""Weights behind HTTP, from a real server on loopback that cuts, redirects and refuses."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub_server import PAGE, Fault, HubServer, tiny_gguf
from localchat.errors import ChecksumMismatch, FetchFailed, NotGguf
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress, SilentProgress
from localchat.registry import Choice

MakeChoice = Callable[..., Choice]


@dataclass
class Site:
    """One file behind HTTP."""

    hub: HubServer
    url: str

    @property
    def ranges(self) -> list[str | None]:
        return self.hub.content_ranges

    @property
    def moved(self) -> str:
        """Another address, which redirects to the first."""
        return self.url.replace("/plain/", "/moved/")

    def replace(self, body: bytes) -> None:
        self.hub.serve("file", body)


@pytest.fixture
def site(hub: HubServer, weights: bytes) -> Site:
    return Site(hub, hub.serve("file", weights))


def source(url: str) -> dict[str, str]:
    return {"kind": "url", "url": url}


def names_in(models: Path) -> set[str]:
    return {path.name for path in (models / "tiny").iterdir()} - {".lock"}


def test_file_is_downloaded_once(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes, recorder: Progress, labels: list[str]
) -> None:
    for _ in range(2):
        assert fetch(make_choice(source(site.url)), models, recorder).read_bytes() == weights
    assert site.ranges == [None]
    assert labels == ["tiny Q4_0: downloading"]
    assert names_in(models) == {"tiny.Q4_0.gguf"}


def test_file_of_unknown_size_and_hash_is_downloaded_once(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    for _ in range(2):
        path = fetch(make_choice(source(site.url), size=None, sha256=None), models, SilentProgress())
        assert path.read_bytes() == weights
    assert site.ranges == [None]


def test_redirect_is_followed(site: Site, models: Path, make_choice: MakeChoice, weights: bytes) -> None:
    assert fetch(make_choice(source(site.moved)), models, SilentProgress()).read_bytes() == weights


def test_cut_connection_is_taken_up_where_it_broke(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.hub.faults = [Fault(cut=1000), Fault(cut=500)]
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_next_call_goes_on_from_what_the_last_one_kept(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url))
    site.hub.faults = [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed, match="what has arrived is kept, so try again"):
        fetch(choice, models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.part", "tiny.Q4_0.gguf.part.origin"}
    assert fetch(choice, models, SilentProgress()).read_bytes() == weights
    assert site.ranges[-1] == "bytes=1000-"
    assert names_in(models) == {"tiny.Q4_0.gguf"}


def test_server_without_ranges_sends_the_whole_again(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.hub.faults = [Fault(cut=1000), Fault(ranges="ignored")]
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == [None, "bytes=1000-"]


def leave_part(site: Site, models: Path, choice: Choice) -> None:
    site.hub.faults = [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed):
        fetch(choice, models, SilentProgress())


def test_file_that_changed_meanwhile_is_begun_anew(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url), size=None, sha256=None)
    leave_part(site, models, choice)
    site.replace(another := tiny_gguf(seed=2))
    assert fetch(choice, models, SilentProgress()).read_bytes() == another


def test_part_of_another_address_is_not_gone_on_with(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    leave_part(site, models, make_choice(source(site.url)))
    fetch(make_choice(source(site.moved)), models, SilentProgress())
    assert site.ranges[-1] is None


def test_part_that_is_complete_needs_no_more_bytes(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url))
    leave_part(site, models, choice)
    (models / "tiny" / "tiny.Q4_0.gguf.part").write_bytes(weights)
    asked = len(site.ranges)
    assert fetch(choice, models, SilentProgress()).read_bytes() == weights
    assert len(site.ranges) == asked


def test_part_that_is_complete_though_no_one_knows_is_asked_for_once(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url), size=None, sha256=None)
    leave_part(site, models, choice)
    (models / "tiny" / "tiny.Q4_0.gguf.part").write_bytes(weights)
    assert fetch(choice, models, SilentProgress()).read_bytes() == weights
    assert site.ranges[-1] == f"bytes={len(weights)}-"


def test_part_longer_than_the_file_is_begun_anew(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url))
    leave_part(site, models, choice)
    (models / "tiny" / "tiny.Q4_0.gguf.part").write_bytes(weights + b"more")
    assert fetch(choice, models, SilentProgress()).read_bytes() == weights


def test_file_with_another_hash_is_refused_and_quarantined(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.replace(weights[:-1] + b"?")
    with pytest.raises(ChecksumMismatch, match=r"SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}; it was moved to "):
        fetch(make_choice(source(site.url)), models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.quarantined"}
    site.replace(weights)
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights


def test_file_of_another_size_is_refused_before_it_is_received(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    with pytest.raises(ChecksumMismatch, match=f"has {len(weights)} bytes, expected 5"):
        fetch(make_choice(source(site.url), size=5), models, SilentProgress())
    assert not [path for path in (models / "tiny").iterdir() if path.stat().st_size > 200]


def test_page_instead_of_weights_is_refused_and_not_kept(site: Site, models: Path, make_choice: MakeChoice) -> None:
    site.replace(PAGE)
    with pytest.raises(NotGguf, match=r"/plain/file is not a GGUF file: it begins with b'<!do'.*it is a web page"):
        fetch(make_choice(source(site.url)), models, SilentProgress())
    assert fetch_leaves_no_bytes(models)


def fetch_leaves_no_bytes(models: Path) -> bool:
    return not any(path.stat().st_size for path in (models / "tiny").iterdir())


def test_wrong_range_is_not_written(site: Site, models: Path, make_choice: MakeChoice, weights: bytes) -> None:
    site.hub.faults = [Fault(cut=1000), Fault(ranges="wrong")]
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == [None, "bytes=1000-", None]


def test_body_shorter_than_it_was_to_be_is_a_cut_connection(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.hub.faults = [Fault(cut=1000), Fault(cut=0)]
    with pytest.raises(FetchFailed, match=r"/plain/file could not be downloaded: .*what has arrived is kept"):
        fetch(make_choice(source(site.url), size=None, sha256=None), models, SilentProgress())


def test_slow_bytes_arrive(site: Site, models: Path, make_choice: MakeChoice, weights: bytes) -> None:
    site.hub.faults = [Fault(crawl=500)]
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights


def test_file_longer_than_one_answer_may_be_is_asked_for_in_pieces(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.hub.transfer._MOST_AT_ONCE", 40_000)
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == ["bytes=0-39999", "bytes=40000-79999", "bytes=80000-"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "answered 401 Unauthorized"),
        (403, "answered 403 Forbidden"),
        (404, "answered 404 Not Found"),
        (429, "answered 429 Too Many Requests, too many requests; wait a while and try again"),
        (500, "answered 500 Internal Server Error; try again later"),
    ],
)
def test_refusal_of_the_server_is_told(
    site: Site, models: Path, make_choice: MakeChoice, status: int, expected: str
) -> None:
    site.hub.faults = [Fault(status=status)]
    with pytest.raises(FetchFailed, match=f"/plain/file: the server {expected}"):
        fetch(make_choice(source(site.url)), models, SilentProgress())
    assert fetch_leaves_no_bytes(models)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "http://", "no address"])
def test_address_that_is_none_is_refused(models: Path, make_choice: MakeChoice, url: str) -> None:
    with pytest.raises(FetchFailed, match=f"{url} could not be downloaded: "):
        fetch(make_choice(source(url)), models, SilentProgress())


def test_server_that_is_not_there_is_told(models: Path, make_choice: MakeChoice) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchFailed, match="could not be downloaded"):
        fetch(make_choice(source(f"http://127.0.0.1:{port}/file")), models, SilentProgress())


def test_full_disk_is_noticed_before_the_download(site: Site, models: Path, make_choice: MakeChoice) -> None:
    with pytest.raises(FetchFailed, match=r"tiny Q4_0 needs 105000\.0 TB free"):
        fetch(make_choice(source(site.url), size=10**17), models, SilentProgress())
    assert site.ranges == []


def test_models_folder_that_cannot_be_made_is_told(make_choice: MakeChoice, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchFailed, match=r"tiny Q4_0 could not be fetched: .*Not a directory"):
        fetch(make_choice(source("http://127.0.0.1/")), tmp_path / "file", SilentProgress())
