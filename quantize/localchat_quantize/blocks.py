"""The entries in the text of a registry file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEADER = re.compile(r"^[ \t]*\[{1,2}[ \t]*(?P<name>[^\[\]\n]+?)[ \t]*\]{1,2}[ \t]*(?:#.*)?\r?$", re.MULTILINE)


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Where each `[[model]]` begins and ends, without the comments after it, which belong to what follows."""
    heads = _heads(text)
    for index, head in enumerate(heads):
        if _is_model(head):
            following = (other.start() for other in heads[index + 1 :] if not other["name"].startswith("model."))
            block = text[head.start() : next(following, len(text))]
            yield head.start(), head.start() + len(_without_tail(block))


def is_whole(text: str) -> bool:
    """Whether it is TOML, and ends outside of any string or array."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _heads(text: str) -> list[re.Match[str]]:
    """The headers of tables; inside of a string or array, what looks like one is none."""
    heads: list[re.Match[str]] = []
    for match in _HEADER.finditer(text):
        if is_whole(text[heads[-1].start() if heads else 0 : match.start()]):
            heads.append(match)
    return heads


def _is_model(head: re.Match[str]) -> bool:
    return head["name"] == "model" and head[0].lstrip().startswith("[[")


def _without_tail(block: str) -> str:
    lines = block.splitlines(keepends=True)
    while lines[-1].strip() == "" or lines[-1].lstrip().startswith("#"):
        lines.pop()
    return "".join(lines)
