"""What a file must look like: a GGUF, or anything but a web page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import FetchFailed, NotGguf
from localchat.hardware import read_header
from localchat.hardware.limits import check_vocabulary

_MAGIC = b"GGUF"
_PAGES = (b"<!do", b"<htm", b"<?xm", b"<hea")
_PAGE = "a web page, perhaps of a proxy or a login in between"


@dataclass(frozen=True)
class Form:
    """How files of a kind are recognized: by the first bytes, and by the whole; both get what to call the file."""

    check_start: Callable[[bytes, str], None]
    check_structure: Callable[[Path, str], None]


def check_start(head: bytes, name: str) -> None:
    """NotGguf unless a content begins as a GGUF does."""
    if head[: len(_MAGIC)] == _MAGIC[: len(head)]:
        return
    found = f"{name} is not a GGUF file: it begins with {head[: len(_MAGIC)]!r} instead of {_MAGIC!r}"
    raise NotGguf(f"{found}; it is {_PAGE}" if _is_page(head) else found)


def check_magic(path: Path) -> None:
    """NotGguf unless the file begins as a GGUF does."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    check_start(head.ljust(len(_MAGIC), b"\0"), str(path))


def check_structure(path: Path, name: str) -> None:
    """NotGguf on the first thing that is wrong in header and vocabulary; `name` is what to call the file."""
    with path.open("rb") as file:
        check_start(file.read(len(_MAGIC)), name)
    try:
        check_vocabulary(read_header(path))
    except NotGguf as error:
        raise NotGguf(error.message.replace(path.name, name, 1)) from None


def _check_no_page(head: bytes, name: str) -> None:
    if _is_page(head):
        raise FetchFailed(f"{name} could not be downloaded: what came is {_PAGE}")


def _is_page(head: bytes) -> bool:
    return head[:4].lower() in _PAGES


GGUF = Form(check_start, check_structure)
ANY = Form(_check_no_page, lambda path, name: None)
