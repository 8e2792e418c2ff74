"""Weights behind an HTTP address; a download that was cut goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import httpx

from localchat.errors import FetchFailed
from localchat.hub.checksum import sha256_of
from localchat.hub.progress import Progress, phase
from localchat.hub.store import Slot, store
from localchat.registry import Choice
from localchat.registry.spec import UrlSource

_TIMEOUT_SECONDS = 30.0


def fetch(choice: Choice, models_dir: Path, progress: Progress) -> Path:
    """The file in the models folder, downloaded unless it is there."""
    return store(choice, models_dir, progress, _download)


def _download(slot: Slot, progress: Progress) -> str | None:
    source = slot.quant.source
    assert isinstance(source, UrlSource)
    with (
        phase(progress, f"{slot.label}: downloading", slot.quant.size),
        httpx.Client(follow_redirects=True, timeout=_TIMEOUT_SECONDS) as client,
    ):
        _receive_all(client, source.url, slot, progress)
    _origin_file(slot).unlink(missing_ok=True)
    if slot.quant.sha256 is None:
        return None
    with phase(progress, f"{slot.label}: checking", slot.quant.size):
        return sha256_of(slot.part, progress)


def _receive_all(client: httpx.Client, url: str, slot: Slot, progress: Progress) -> None:
    arrived = _size(slot.part)
    while True:
        try:
            return _receive(client, url, slot, progress)
        except httpx.HTTPStatusError as error:
            answer = f"{error.response.status_code} {error.response.reason_phrase}".strip()
            raise FetchFailed(f"{url} answered {answer}") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # A cut connection is taken up again at once, for as long as every attempt brings the file further.
            if _size(slot.part) <= arrived:
                reason = str(error) or type(error).__name__
                kept = "; what has arrived is kept, so try again" if arrived else ""
                raise FetchFailed(f"{url} could not be downloaded: {reason}{kept}") from error
            arrived = _size(slot.part)


def _receive(client: httpx.Client, url: str, slot: Slot, progress: Progress) -> None:
    offset, validator = _resumable(slot, url)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    with client.stream("GET", url, headers=headers) as response:
        content_range = response.headers.get("Content-Range", "")
        resumed = response.status_code == 206 and content_range.startswith(f"bytes {offset}-")
        if response.status_code == 416 and content_range == f"bytes */{offset}":
            return  # the part is the whole file already
        if resumed or not offset or response.status_code not in (206, 416):
            response.raise_for_status()
            _write(response, url, slot, progress, resumed)
            return
    slot.part.unlink()  # the server has other ideas of where to go on: begin again
    _receive(client, url, slot, progress)


def _write(response: httpx.Response, url: str, slot: Slot, progress: Progress, resumed: bool) -> None:
    if not resumed:
        slot.part.unlink(missing_ok=True)  # before the note, which must never describe an older part
        _origin_file(slot).write_text(f"{url}\n{_validator(response)}", encoding="utf-8")
    with slot.part.open("ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            progress.update(file.tell())


def _resumable(slot: Slot, url: str) -> tuple[int, str]:
    """How many bytes of this address are here, and what its server calls their version."""
    try:
        origin, _, validator = _origin_file(slot).read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return 0, ""
    return (_size(slot.part), validator) if origin == url else (0, "")


def _validator(response: httpx.Response) -> str:
    etag = str(response.headers.get("ETag", ""))
    # RFC 9110 allows no weak tag in If-Range.
    return etag if etag and not etag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _origin_file(slot: Slot) -> Path:
    return slot.part.with_name(slot.part.name + ".origin")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
