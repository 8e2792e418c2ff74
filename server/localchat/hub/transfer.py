"""Bytes over HTTP into a file that grows: hashed as they arrive, taken up again where a connection broke."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx

from localchat import __version__
from localchat.errors import FetchFailed
from localchat.hub import patience
from localchat.hub.checksum import Digest, Hasher, check_size, hash_file
from localchat.hub.progress import Progress, phase
from localchat.hub.store import Slot, check_room

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
# Content networks refuse to send more than some 50 GB in one answer.
_MOST_AT_ONCE = 32 << 30

_FOR_A_WHILE = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Remote:
    """A file behind HTTP, and what is known of it before it is asked for."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None
    is_pinned: bool = False
    """Whether the address means the same bytes for ever."""


class Part:
    """A file that grows at its end, and the hash of what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hasher = Hasher()
        self._file = path.open("ab")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self._hasher.size

    def take_over(self, label: str, progress: Progress) -> None:
        """Hash what an earlier download has left."""
        if left := self.path.stat().st_size:
            with phase(progress, f"{label}: checking what is here already", left):
                hash_file(self.path, self._hasher, progress)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._hasher.update(data)

    def restart(self) -> None:
        """Begin with nothing again."""
        self._file.truncate(0)
        self._hasher = Hasher()

    def digest(self) -> Digest:
        """What is here."""
        return self._hasher.digest()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def client() -> httpx.Client:
    """Follows redirects, and waits for nothing without end."""
    timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    return httpx.Client(follow_redirects=True, timeout=timeout, headers={"User-Agent": f"localchat/{__version__}"})


def download(remote: Remote, slot: Slot, progress: Progress) -> Digest:
    """All of a remote file, in `slot.part`, of which what is there is gone on with. Raises FetchFailed, NotGguf."""
    with Part(slot.part) as part, client() as http:
        part.take_over(slot.label, progress)
        _Download(http, remote, part, slot, progress).run()
        return part.digest()


class _Download:
    """One file on its way, through any number of requests."""

    def __init__(self, http: httpx.Client, remote: Remote, part: Part, slot: Slot, progress: Progress) -> None:
        self._http = http
        self._remote = remote
        self._part = part
        self._label = slot.label
        self._form = slot.form
        self._progress = progress
        self._total = remote.size
        self._is_shown = False
        self._patience = patience.Patience(slot.label, progress)
        self._note = _Note(remote, part.path)

    def run(self) -> None:
        """Ask again for as long as every attempt brings the file further."""
        if self._note.is_of_another:
            self._part.restart()
        first = best = self._part.size
        pauses = list(patience.PAUSES)
        try:
            while problem := self._attempt():
                if self._part.size > best:
                    best, pauses = self._part.size, list(patience.PAUSES)
                    continue
                if best == first or not pauses:
                    kept = "; what has arrived is kept, so try again" if self._part.size else ""
                    raise FetchFailed(f"{problem}{kept}")
                time.sleep(pauses.pop(0))
        finally:
            self._progress.finish()
        self._note.forget()

    def _attempt(self) -> str | None:
        """One request; what is wrong, or None when the file is complete."""
        size, name = self._remote.size, self._remote.name
        if size is not None and self._part.size > size:
            self._part.restart()  # longer than it can be
        if self._part.size == size:
            return None
        try:
            self._request()
        except httpx.HTTPStatusError as error:
            return self._refused(error.response)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return f"{name} could not be downloaded: {explain(error)}"
        if self._total in (None, self._part.size):
            return None
        return f"{name} could not be downloaded: it ended after {self._part.size} of {self._total} bytes"

    def _refused(self, response: httpx.Response) -> str | None:
        status, headers = response.status_code, response.headers
        if self._patience.waits_for(status, headers):
            self._is_shown = False
            return self._attempt()
        if status not in _FOR_A_WHILE:
            raise FetchFailed(refusal(self._remote, response))
        return refusal(self._remote, response)

    def _request(self) -> None:
        """Receive what one answer brings."""
        offset = self._part.size
        with self._http.stream("GET", self._remote.url, headers=self._headers(offset)) as response:
            content_range = response.headers.get("Content-Range", "")
            if response.status_code == 416 and offset and content_range == f"bytes */{offset}":
                self._total = offset
                return
            is_elsewhere = response.status_code == 206 and not content_range.startswith(f"bytes {offset}-")
            if not offset or not (is_elsewhere or response.status_code == 416):
                response.raise_for_status()
                self._receive(response)
                return
        self._part.restart()  # the server has other ideas of where to go on: begin again
        self._request()

    def _receive(self, response: httpx.Response) -> None:
        part = self._part
        if response.status_code != 206:
            part.restart()
        chunks = response.iter_raw()
        chunk = next(chunks, b"")
        if not part.size:
            self._form.check_start(chunk, self._remote.name)
            self._note.write(response)
        self._learn_total(response)
        while chunk:
            part.write(chunk)
            self._progress.update(part.size)
            chunk = next(chunks, b"")

    def _learn_total(self, response: httpx.Response) -> None:
        """How long the file is, if the server says so, and whether that is right and fits."""
        self._total = total_of(response) or self._remote.size
        if self._total is not None:
            check_size(self._remote.name, self._total, self._remote.size)
            check_room(self._label, self._part.path.parent, self._total - self._part.size)
        if not self._is_shown:
            self._progress.start(f"{self._label}: downloading", self._total)
            self._progress.update(self._part.size)
            self._is_shown = True

    def _headers(self, offset: int) -> dict[str, str]:
        headers = {**self._remote.headers, "Accept-Encoding": "identity"}
        total = self._remote.size
        is_too_long = total is not None and total - offset > _MOST_AT_ONCE
        if offset or is_too_long:
            headers["Range"] = f"bytes={offset}-{offset + _MOST_AT_ONCE - 1 if is_too_long else ''}"
            if offset and (validator := self._note.read()):
                headers["If-Range"] = validator
        return headers


class _Note:
    """Beside a part: where it came from, and what the server called that version. Pinned addresses need none."""

    def __init__(self, remote: Remote, part: Path) -> None:
        self._remote = remote
        self._path = part.with_name(part.name + ".origin")

    @property
    def is_of_another(self) -> bool:
        """Whether the part came from elsewhere, or no one knows where from."""
        return not self._remote.is_pinned and self._lines()[0] != self._remote.url

    def read(self) -> str:
        """What goes into If-Range."""
        return "" if self._remote.is_pinned else self._lines()[1]

    def write(self, response: httpx.Response) -> None:
        """Note the version of which the first bytes are about to come."""
        if self._remote.is_pinned:
            return
        etag = str(response.headers.get("ETag", ""))
        # RFC 9110 allows no weak tag in If-Range.
        validator = etag if etag and not etag.startswith("W/") else str(response.headers.get("Last-Modified", ""))
        self._path.write_text(f"{self._remote.url}\n{validator}", encoding="utf-8")

    def forget(self) -> None:
        """The part is whole."""
        self._path.unlink(missing_ok=True)

    def _lines(self) -> tuple[str, str]:
        try:
            url, _, validator = self._path.read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return "", ""
        return url, validator


def total_of(response: httpx.Response) -> int | None:
    """The length of the whole file of which this answer brings all or a part."""
    if response.status_code == 206:
        found = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        found = response.headers.get("Content-Length", "")
    return int(found) if found.isdecimal() else None


def refusal(remote: Remote, response: httpx.Response) -> str:
    """A status that is no success, in words."""
    status = response.status_code
    answer = f"{status} {response.reason_phrase}".strip()
    return f"{remote.name}: the server answered {answer}{patience.advice(status, response.headers)}"


def explain(error: Exception) -> str:
    """A failure of the connection, in words."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT_SECONDS:.0f} s"
    if isinstance(error, httpx.ReadTimeout):
        return f"nothing came for {_READ_SECONDS:.0f} s"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def translated(remote: Remote) -> Iterator[None]:
    """Errors of one short request as FetchFailed."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise FetchFailed(refusal(remote, error.response)) from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise FetchFailed(f"{remote.name} could not be downloaded: {explain(error)}") from error
