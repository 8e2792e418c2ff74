"""Weights on a Hub: the real client library against a small server that speaks its file protocol."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants

from localchat.errors import ChecksumMismatch, FetchFailed, NotGguf
from localchat.hub.fetch import fetch
from localchat.hub.progress import Progress, SilentProgress
from localchat.registry import Choice, Registry

MakeChoice = Callable[..., Choice]
SOURCE = {"kind": "hf", "repo": "owner/tiny", "file": "dir/tiny.gguf"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository `owner/tiny` with the file `dir/tiny.gguf`; other repositories only refuse."""

    body: bytes
    claimed_sha256: str
    commit: str = COMMIT
    refusals: dict[str, tuple[int, dict[str, str]]] = field(
        default_factory=lambda: {
            "owner/none": (404, {"X-Error-Code": "RepoNotFound"}),
            "owner/gated": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}),
            "owner/private": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "owner/forbidden": (403, {"X-Error-Message": "No."}),
            "owner/teapot": (418, {}),
        }
    )
    requests: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.respond(b"")

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.respond(self.server.hub.body)

    def respond(self, body: bytes) -> None:
        assert isinstance(self.server, Server)
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        repo, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if repo in hub.refusals:
            status, headers = hub.refusals[repo]
            self.answer(status, {**headers, "Content-Length": "0"})
        elif revision not in ("main", hub.commit):
            self.answer(404, {"X-Error-Code": "RevisionNotFound", "Content-Length": "0"})
        elif file != SOURCE["file"]:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit, "Content-Length": "0"})
        else:
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{hub.claimed_sha256}"'}
            self.answer(200, {**headers, "Content-Length": str(len(hub.body))}, body)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    hub: Hub


@pytest.fixture
def hub(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(weights, hashlib.sha256(weights).hexdigest())
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        close_session()  # an open one would still go through the proxies of the environment it was made in
        yield server.hub
        close_session()
        server.shutdown()
        thread.join()


def test_file_is_downloaded_once_into_the_cache_of_the_library(
    hub: Hub, make_choice: MakeChoice, weights: bytes, tmp_path: Path, recorder: Progress, labels: list[str]
) -> None:
    paths = {fetch(make_choice(SOURCE), tmp_path / "models", recorder) for _ in range(2)}
    (path,) = paths
    assert path.read_bytes() == weights
    assert path.is_relative_to(tmp_path / "cache")
    assert not (tmp_path / "models").exists()
    assert [request.split()[0] for request in hub.requests] == ["HEAD", "GET"]
    assert labels == ["tiny Q4_0: downloading", "tiny Q4_0: checking"]


def test_progress_counts_the_bytes_of_the_file(hub: Hub, make_choice: MakeChoice, weights: bytes) -> None:
    class Counting(SilentProgress):
        done = 0

        def update(self, done: int) -> None:
            self.done = done

    progress = Counting()
    fetch(make_choice(SOURCE, sha256=None), Path("unused"), progress)
    assert progress.done == len(weights)


def test_reference_without_an_entry_is_downloaded(hub: Hub, weights: bytes) -> None:
    choice = Registry(()).resolve(f"hf:owner/tiny/dir/tiny.gguf@{COMMIT}")
    assert fetch(choice, Path("unused"), SilentProgress()).read_bytes() == weights
    assert fetch(choice, Path("unused"), SilentProgress()).read_bytes() == weights
    assert len(hub.requests) == 2


def test_file_in_the_cache_is_served_without_network(
    hub: Hub, make_choice: MakeChoice, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(make_choice(SOURCE), Path("unused"), SilentProgress())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(make_choice(SOURCE), Path("unused"), SilentProgress()).read_bytes() == weights


def test_offline_mode_without_the_file_is_told(
    hub: Hub, make_choice: MakeChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchFailed, match=r"owner/tiny/dir/tiny\.gguf is not in the cache, and HF_HUB_OFFLINE"):
        fetch(make_choice(SOURCE), Path("unused"), SilentProgress())
    assert hub.requests == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"repo": "owner/none"}, "the Hub has no repository owner/none; if it is private, log in with `hf auth login`"),
        ({"repo": "owner/gated"}, "owner/gated is gated: ask for access on its page, then log in"),
        ({"repo": "owner/private"}, "owner/private/dir/tiny.gguf: the Hub does not accept the token; log in"),
        ({"repo": "owner/forbidden"}, "owner/forbidden/dir/tiny.gguf: the Hub forbids to read it; log in"),
        ({"repo": "owner/teapot"}, "owner/teapot/dir/tiny.gguf: the Hub answered 418"),
        ({"repo": "owner/bad--name"}, "owner/bad--name/dir/tiny.gguf could not be downloaded: Cannot have -- or .."),
        ({"revision": "v9"}, "owner/tiny has no revision v9"),
        ({"file": "other.gguf"}, "owner/tiny has no file other.gguf at revision main"),
        ({"file": "../other.gguf"}, "owner/tiny/../other.gguf could not be downloaded: "),
    ],
)
def test_refusal_is_told_in_one_line(hub: Hub, make_choice: MakeChoice, change: dict[str, str], expected: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(make_choice({**SOURCE, **change}), Path("unused"), SilentProgress())
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_other_content_than_the_registry_names_is_refused_and_left_to_others(
    hub: Hub, make_choice: MakeChoice, tmp_path: Path
) -> None:
    hub.body = b"GGUF another"
    hub.claimed_sha256 = hashlib.sha256(hub.body).hexdigest()
    for _ in range(2):
        with pytest.raises(ChecksumMismatch, match=f"SHA-256 is {hub.claimed_sha256}, expected"):
            fetch(make_choice(SOURCE), Path("unused"), SilentProgress())
    assert len(list((tmp_path / "cache").rglob(hub.claimed_sha256))) == 1


def test_content_under_a_false_name_is_refused_and_removed(hub: Hub, make_choice: MakeChoice, weights: bytes) -> None:
    hub.body = weights[:-1] + b"?"
    with pytest.raises(ChecksumMismatch):
        fetch(make_choice(SOURCE), Path("unused"), SilentProgress())
    hub.body = weights
    assert fetch(make_choice(SOURCE), Path("unused"), SilentProgress()).read_bytes() == weights


def test_branch_that_has_moved_to_the_named_content_is_followed(
    hub: Hub, make_choice: MakeChoice, weights: bytes
) -> None:
    hub.body, named = b"GGUF older", hub.claimed_sha256
    hub.claimed_sha256 = hashlib.sha256(hub.body).hexdigest()
    fetch(make_choice(SOURCE, sha256=None, size=None), Path("unused"), SilentProgress())
    hub.body, hub.claimed_sha256, hub.commit = weights, named, COMMIT[::-1]
    assert fetch(make_choice(SOURCE), Path("unused"), SilentProgress()).read_bytes() == weights


def test_size_is_checked_where_no_hash_is_known(hub: Hub, make_choice: MakeChoice, weights: bytes) -> None:
    with pytest.raises(ChecksumMismatch, match=f"{len(weights)} bytes, expected 5"):
        fetch(make_choice(SOURCE, sha256=None, size=5), Path("unused"), SilentProgress())


def test_file_that_is_no_gguf_is_refused(hub: Hub, make_choice: MakeChoice) -> None:
    hub.body = b"pickle"
    with pytest.raises(NotGguf, match=r"tiny\.gguf is not a GGUF file"):
        fetch(make_choice(SOURCE, sha256=None, size=None), Path("unused"), SilentProgress())


def test_full_disk_is_noticed_before_the_download(hub: Hub, make_choice: MakeChoice) -> None:
    with pytest.raises(FetchFailed, match=r"tiny Q4_0 needs 105000\.0 TB free"):
        fetch(make_choice(SOURCE, size=10**17), Path("unused"), SilentProgress())
    assert hub.requests == []
