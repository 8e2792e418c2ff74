"""Weights behind HTTP, from a real server on loopback that cuts, redirects and refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import ChecksumMismatch, FetchFailed, NotGguf
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress, SilentProgress
from localchat.registry import Choice

MakeChoice = Callable[..., Choice]


@dataclass
class Site:
    """One file behind HTTP, how it is served, and what was asked for."""

    body: bytes
    url: str = ""
    etag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # for each request to come, after how many bytes it is cut
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        site = self.server.site
        if self.path == "/moved":
            self.answer(302, {"Location": "/file"})
        elif self.path != "/file":
            self.answer(404, {})
        else:
            self.serve(site)

    def serve(self, site: Site) -> None:
        asked = self.headers["Range"]
        site.ranges.append(asked)
        start = 0
        if asked and site.knows_ranges and self.headers["If-Range"] in (None, site.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": site.etag} if site.etag else {}
        if start >= len(site.body):
            self.answer(416, {"Content-Range": f"bytes */{len(site.body)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(site.body) - 1}/{len(site.body)}"
        cut = site.cuts.pop(0) if site.cuts else None
        self.answer(206 if start else 200, headers, site.body[start:], cut)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"", cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    site: Site


@pytest.fixture
def site(weights: bytes) -> Iterator[Site]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.site = Site(weights, f"http://127.0.0.1:{server.server_address[1]}/file")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


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
    assert labels == ["tiny Q4_0: downloading", "tiny Q4_0: checking"]
    assert names_in(models) == {"tiny.Q4_0.gguf"}


def test_file_of_unknown_size_and_hash_is_downloaded_once(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    for _ in range(2):
        path = fetch(make_choice(source(site.url), size=None, sha256=None), models, SilentProgress())
        assert path.read_bytes() == weights
    assert site.ranges == [None]


def test_redirect_is_followed(site: Site, models: Path, make_choice: MakeChoice, weights: bytes) -> None:
    moved = site.url.replace("/file", "/moved")
    assert fetch(make_choice(source(moved)), models, SilentProgress()).read_bytes() == weights


def test_cut_connection_is_taken_up_where_it_broke(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.cuts = [1000, 500]
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_next_call_goes_on_from_what_the_last_one_kept(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url))
    site.cuts = [1000, 0]
    with pytest.raises(FetchFailed, match="what has arrived is kept, so try again"):
        fetch(choice, models, SilentProgress())
    assert names_in(models) == {"tiny.Q4_0.gguf.part", "tiny.Q4_0.gguf.part.origin"}
    assert fetch(choice, models, SilentProgress()).read_bytes() == weights
    assert site.ranges[-1] == "bytes=1000-"
    assert names_in(models) == {"tiny.Q4_0.gguf"}


def test_server_without_ranges_sends_the_whole_again(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    site.cuts, site.knows_ranges = [1000], False
    assert fetch(make_choice(source(site.url)), models, SilentProgress()).read_bytes() == weights
    assert site.ranges == [None, "bytes=1000-"]


def leave_part(site: Site, models: Path, choice: Choice) -> None:
    site.cuts = [1000, 0]
    with pytest.raises(FetchFailed):
        fetch(choice, models, SilentProgress())


def test_file_that_changed_meanwhile_is_begun_anew(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url), size=None, sha256=None)
    leave_part(site, models, choice)
    site.body, site.etag = b"GGUF another" * 1000, '"v2"'
    assert fetch(choice, models, SilentProgress()).read_bytes() == site.body


def test_part_of_another_address_is_not_gone_on_with(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    leave_part(site, models, make_choice(source(site.url)))
    fetch(make_choice(source(site.url.replace("/file", "/moved"))), models, SilentProgress())
    assert site.ranges[-1] is None


def test_part_that_is_complete_needs_no_more_bytes(
    site: Site, models: Path, make_choice: MakeChoice, weights: bytes
) -> None:
    choice = make_choice(source(site.url))
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


def test_file_with_another_hash_is_refused_and_not_kept(site: Site, models: Path, make_choice: MakeChoice) -> None:
    site.body = site.body[:-1] + b"?"
    with pytest.raises(ChecksumMismatch, match=r"SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        fetch(make_choice(source(site.url)), models, SilentProgress())
    assert names_in(models) == set()


def test_page_instead_of_weights_is_refused_and_not_kept(site: Site, models: Path, make_choice: MakeChoice) -> None:
    site.body = b"<!doctype html>"
    with pytest.raises(NotGguf, match=r"tiny\.Q4_0\.gguf is not a GGUF file: it begins with b'<!do'"):
        fetch(make_choice(source(site.url), size=None, sha256=None), models, SilentProgress())
    assert names_in(models) == set()


def test_refusal_of_the_server_is_told(site: Site, models: Path, make_choice: MakeChoice) -> None:
    missing = site.url.replace("/file", "/missing")
    with pytest.raises(FetchFailed, match="/missing answered 404 Not Found"):
        fetch(make_choice(source(missing)), models, SilentProgress())


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
