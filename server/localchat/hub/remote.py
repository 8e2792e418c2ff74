"""The header of a file that is not here, for what is to be known before a download."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import urlsplit

from localchat.errors import FetchFailed, NotGguf
from localchat.hardware import GgufHeader, read_header
from localchat.hub.form import check_start
from localchat.hub.transfer import Remote, client, total_of, translated
from localchat.registry import Choice

_FIRST = 1 << 20
_MOST = 64 << 20

# As in `kinds`: the Hub's library loads slowly.
_BY_KIND = {"hf": "localchat.hub.hf", "url": "localchat.hub.url"}


def peek_header(choice: Choice) -> GgufHeader:
    """The header of a file behind HTTP, of which only the beginning is fetched. Raises FetchFailed, NotGguf.

    Its long arrays, the vocabulary's texts among them, cannot be read.
    """
    kind = choice.quant.source.kind
    if kind not in _BY_KIND:
        raise FetchFailed(f"{choice.spec.id} {choice.quant.name}: its source, {kind}, has no header to look at alone")
    remote: Remote = import_module(_BY_KIND[kind]).remote_of(choice)
    with TemporaryDirectory(prefix="localchat-") as folder:
        path = Path(folder) / (PurePosixPath(urlsplit(remote.url).path).name or "model.gguf")
        with path.open("wb") as file, closing(_grow(remote, file)) as sizes:
            for arrived in sizes:
                if header := _parse(path, arrived):
                    return replace(header, path=Path(path.name))
    raise FetchFailed(f"{remote.name}: its header does not end within {_MOST >> 20} MiB")


def _grow(remote: Remote, file: BinaryIO) -> Generator[int, None, None]:
    """Bring 1, 2, 4… MiB into a file that already has its full length, by one request; yields how many are here."""
    headers = {**remote.headers, "Accept-Encoding": "identity", "Range": f"bytes=0-{_MOST - 1}"}
    with translated(remote), client() as http, http.stream("GET", remote.url, headers=headers) as response:
        response.raise_for_status()
        total = total_of(response) or remote.size
        if total is None:
            raise FetchFailed(f"{remote.name}: its server does not say how long it is")
        file.truncate(total)
        arrived, wanted = 0, min(_FIRST, total)
        for chunk in response.iter_raw():
            if not arrived:
                check_start(chunk, remote.name)
            file.write(chunk)
            arrived += len(chunk)
            if arrived >= wanted:
                file.flush()
                yield arrived
                wanted = min(wanted * 2, total)
            if arrived >= _MOST:
                return


def _parse(path: Path, arrived: int) -> GgufHeader | None:
    """The header, unless it ends after what has arrived; behind that there are zeros."""
    try:
        header = read_header(path)
    except NotGguf:
        if arrived >= path.stat().st_size:
            raise
        return None
    return header if header.length <= arrived else None
