"""Where in a JSON schema the part stands that cannot be enforced.

llguidance says what is wrong, not where. So parts are taken away until it has nothing to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from localchat.json_schema import Path, at, children

Complaint = Callable[[Any], str]
"""What is wrong with a schema; empty where nothing is."""

MOST_TRIES = 400
MOST_SECONDS = 1.0
"""Compilations, and what they take, after which the place is not looked for any closer."""


def find_fault(schema: dict[str, Any], complaint: Complaint) -> tuple[Path, str | None]:
    """Path of the innermost part that has a fault, and the keyword; None where it is no single one's."""
    tries, deadline = iter(range(MOST_TRIES)), time.monotonic() + MOST_SECONDS

    def is_wrong(candidate: Any) -> bool:
        return next(tries, None) is not None and time.monotonic() < deadline and bool(complaint(candidate))

    root: Any = deepcopy(schema)
    path: Path = ()
    if not is_wrong(root):
        return path, None
    while (deeper := _wrong_child(root, path, is_wrong)) is not None:
        path = deeper
    return path, _wrong_keyword(root, path, is_wrong)


def _wrong_child(root: Any, path: Path, is_wrong: Callable[[Any], bool]) -> Path | None:
    """A part that alone of all is wrong, with the others of its kind taken out of `root` for good."""
    parts = list(children(at(root, path)))
    for child in parts:
        alone = deepcopy(root)
        for other in parts:
            if other != child:
                _put(alone, path + other, {})
        if is_wrong(alone) and not is_wrong(_without(alone, path + child)):
            for other in parts:
                if other != child:
                    _put(root, path + other, {})
            return path + child
    return None


def _wrong_keyword(root: Any, path: Path, is_wrong: Callable[[Any], bool]) -> str | None:
    # Without its type a schema asks for nothing that the other keywords say, so that is tried last.
    for keyword in sorted(at(root, path), key="type".__eq__):
        candidate = deepcopy(root)
        del at(candidate, path)[keyword]
        if not is_wrong(candidate):
            return str(keyword)
    return None


def _put(root: Any, path: Path, value: Any) -> None:
    at(root, path[:-1])[path[-1]] = value


def _without(root: Any, path: Path) -> Any:
    copy = deepcopy(root)
    _put(copy, path, {})
    return copy
