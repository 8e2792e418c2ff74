"""A Hub on loopback: it speaks the protocol for files, has a content network behind it, and breaks on demand.

    with HubServer() as hub:
        hub.add("owner/tiny", "tiny.gguf", content)
        hub.faults = [Fault(cut=1000), Fault(status=500)]

It lists the files of a repository. For a file of a revision it tells commit, SHA-256 and size, and redirects to the
content network, on another port; a regular file, as small ones are on the Hub, it sends itself, named by git's hash.
Each request for content takes the next fault, if one is left.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote

import pytest
from huggingface_hub import close_session, constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_sesame"
PAGE = b"<!doctype html><title>Sign in to the network</title>"

_CHUNK = 1 << 16

GATED = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
MISSING = (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
UNAUTHORIZED = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})


@dataclass
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Bytes of the body after which the connection closes."""
    ranges: Literal["honoured", "ignored", "wrong"] = "honoured"
    page: bool = False
    """A web page comes instead, with status 200."""
    crawl: int | None = None
    """Bytes after which the rest comes one by one, until as many have come again."""
    hold: int | None = None
    """Bytes after which nothing more comes until `release` is called."""
    length: int | None = None
    """A Content-Length that is not true."""


@dataclass
class Stored:
    """One file: its content, and what the Hub says of it, which need not be true."""

    body: bytes
    etag: str
    size: int
    is_regular: bool = False


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    range: str | None
    authorization: str | None


class HubServer:
    """The Hub and its content network, each on a port of its own, on their own threads."""

    def __init__(self) -> None:
        self.commit = COMMIT
        self.files: dict[tuple[str, str], Stored] = {}
        self.plain: dict[str, bytes] = {}
        self.refusals: dict[str, tuple[int, dict[str, str]]] = {}
        self.renamed: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.asks_faults: list[Fault] = []
        self.knows_redirects = True
        self.asked: list[Asked] = []
        self.sent = 0
        self.holding = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._servers = [_Server(self, is_hub) for is_hub in (True, False)]
        self.url, self.content_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def add(self, repo: str, file: str, body: bytes, *, etag: str | None = None, size: int | None = None) -> Stored:
        """Publish a file; the Hub's word for its hash and size is true unless given."""
        sha256 = hashlib.sha256(body).hexdigest()
        stored = Stored(body, sha256 if etag is None else etag, len(body) if size is None else size)
        self.files[repo, file] = stored
        return stored

    def add_regular(self, repo: str, file: str, body: bytes) -> Stored:
        """Publish a file as git holds it."""
        etag = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        self.files[repo, file] = stored = Stored(body, etag, len(body), is_regular=True)
        return stored

    def serve(self, name: str, body: bytes) -> str:
        """Publish a file at a plain address, which is returned."""
        self.plain[f"/plain/{name}"] = body
        return f"{self.content_url}/plain/{name}"

    def release(self) -> None:
        """Let go on what a fault holds."""
        self._released.set()

    def environment(self, home: Path) -> dict[str, str]:
        """The variables with which the Hub's library talks to this server, and keeps its files under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @property
    def content_ranges(self) -> list[str | None]:
        """The Range header of each request for content."""
        return [asked.range for asked in self.asked if asked.path.startswith(("/content/", "/plain/"))]

    def take_fault(self, faults: list[Fault]) -> Fault:
        """What goes wrong with the request that has come."""
        with self._lock:
            return faults.pop(0) if faults else Fault()

    def count(self, size: int) -> None:
        """Note that bytes of content were sent."""
        with self._lock:
            self.sent += size

    def hold(self) -> None:
        """Wait to be released, a minute at most."""
        self.holding.set()
        self._released.wait(60)

    def __enter__(self) -> HubServer:
        for server in self._servers:
            server.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
        for server in self._servers:
            server.shutdown()
            server.thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer, is_hub: bool) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler if is_hub else _ContentHandler)
        self.hub = hub
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is no news."""


class _Handler(BaseHTTPRequestHandler, ABC):
    @property
    def hub(self) -> HubServer:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def do_HEAD(self) -> None:
        self.note_and_answer()

    def do_GET(self) -> None:
        self.note_and_answer()

    def note_and_answer(self) -> None:
        headers = self.headers
        self.hub.asked.append(Asked(self.command, self.path, headers["Range"], headers["Authorization"]))
        with suppress(ConnectionError):
            self.respond()

    @abstractmethod
    def respond(self) -> None:
        """Answer the request that `self` is."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self, body: bytes, etag: str, more: dict[str, str]) -> None:
        """Send a body, or the range of it that was asked for, as the next fault allows."""
        hub = self.hub
        fault = Fault() if self.command == "HEAD" else hub.always or hub.take_fault(hub.faults)
        if fault.status is not None:
            return self.answer(fault.status, fault.headers, b"no")
        if fault.page:
            return self.answer(200, {"Content-Type": "text/html"}, PAGE)
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **more, **fault.headers}
        start, end = self.wanted(len(body), etag, fault)
        if start >= len(body):
            return self.answer(416, {"Content-Range": f"bytes */{len(body)}"})
        status = 200
        if (start, end) != (0, len(body)) or (self.headers["Range"] and fault.ranges == "honoured"):
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        self.send_response(status)
        length = end - start if fault.length is None else fault.length
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body[start:end], fault)

    def wanted(self, total: int, etag: str, fault: Fault) -> tuple[int, int]:
        """The range to send."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if not found or fault.ranges == "ignored" or self.headers["If-Range"] not in (None, f'"{etag}"'):
            return 0, total
        start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else total, total)
        return (max(0, start - 1) if start else 1, end) if fault.ranges == "wrong" else (start, end)

    def send_body(self, body: bytes, fault: Fault) -> None:
        done = 0
        for piece in _pieces(body, fault):
            if fault.hold is not None and done == fault.hold:
                self.hub.hold()
            self.wfile.write(piece)
            self.wfile.flush()
            self.hub.count(len(piece))
            done += len(piece)


def _pieces(body: bytes, fault: Fault) -> Iterator[bytes]:
    body = body[: fault.cut]
    at = 0
    while at < len(body):
        size = _CHUNK
        if fault.hold is not None and at < fault.hold:
            size = min(size, fault.hold - at)
        if fault.crawl is not None:
            size = min(size, fault.crawl - at) if at < fault.crawl else 1 if at < 2 * fault.crawl else size
        yield body[at : at + size]
        at += size


class _HubHandler(_Handler):
    """`/owner/repo/resolve/REVISION/FILE` and `/api/models/owner/repo/revision/REVISION`."""

    def respond(self) -> None:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        is_list = path.startswith("/api/models/")
        repo, _, rest = (
            path.removeprefix("/api/models" if is_list else "")
            .removeprefix("/")
            .partition("/revision/" if is_list else "/resolve/")
        )
        revision, _, file = rest.partition("/")
        fault = hub.take_fault(hub.asks_faults) if is_list or self.command == "HEAD" else Fault()
        if fault.page:
            self.answer(200, {"Content-Type": "text/html"}, PAGE)
        elif fault.status is not None:
            self.answer(fault.status, fault.headers)
        elif refusal := self.refusal(repo, is_list):
            self.answer(*refusal)
        elif repo in hub.renamed:
            self.answer(307, {"Location": path.replace(f"/{repo}/", f"/{hub.renamed[repo]}/", 1)})
        elif not any(known == repo for known, _ in hub.files):
            self.answer(*MISSING)
        elif revision not in ("main", hub.commit):
            self.answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        elif is_list:
            self.answer(200, {"Content-Type": "application/json"}, self.listing(repo))
        elif (stored := hub.files.get((repo, file))) is None:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
        else:
            self.found(stored)

    def refusal(self, repo: str, is_list: bool) -> tuple[int, dict[str, str]] | None:
        refusal = self.hub.refusals.get(repo)
        if self.headers["Authorization"] == f"Bearer {TOKEN}" or (is_list and refusal == GATED):
            return None  # what a gated repository holds may be seen, only not read
        return refusal

    def listing(self, repo: str) -> bytes:
        files = [
            {"rfilename": file, "size": stored.size} for (of, file), stored in self.hub.files.items() if of == repo
        ]
        return json.dumps({"id": repo, "sha": self.hub.commit, "siblings": files}).encode()

    def found(self, stored: Stored) -> None:
        hub = self.hub
        commit = {"X-Repo-Commit": hub.commit}
        if not hub.knows_redirects or stored.is_regular:
            self.content(stored.body, stored.etag, commit)
            return
        place = next(index for index, one in enumerate(hub.files.values()) if one is stored)
        linked = {"X-Linked-Etag": f'"{stored.etag}"', "X-Linked-Size": str(stored.size)}
        self.answer(302, {**commit, **linked, "Location": f"{hub.content_url}/content/{place}?signature=x"})


class _ContentHandler(_Handler):
    """`/content/NUMBER`, `/plain/NAME`, and `/moved/NAME`, which redirects there."""

    def respond(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        if path.startswith("/content/"):
            body = list(hub.files.values())[int(path.rpartition("/")[2])].body
            self.content(body, "of-the-content-network", {})
        elif path.startswith("/moved/"):
            self.answer(302, {"Location": path.replace("/moved/", "/plain/")})
        elif path in hub.plain:
            body = hub.plain[path]
            self.content(body, hashlib.sha256(body).hexdigest()[:8], {})
        else:
            self.answer(404, {})


def tiny_gguf(size: int = 100_000, seed: int = 1) -> bytes:
    """A right GGUF of one tensor of noise, `size` bytes long give or take a few."""
    key, architecture, name = b"general.architecture", b"llama", b"noise"
    count = max(1, (size - 128) // 4)
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1)
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(architecture)) + architecture
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, count, 0, 0)
    return head + bytes(-len(head) % 32) + random.Random(seed).randbytes(4 * count)


@contextmanager
def in_this_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub to which the library talks in this process, where it has read its environment already."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as hub:
        for name, value in hub.environment(home).items():
            monkeypatch.setenv(name, value)
        close_session()  # an open one would still go through the proxies of the environment it was made in
        yield hub
        close_session()
