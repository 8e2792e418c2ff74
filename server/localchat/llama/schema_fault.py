"""Where in a JSON schema the part stands that cannot be enforced.

llguidance says what is wrong, not where. So parts are taken away until it has nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Path = tuple[str | int, ...]
Complaint = Callable[[Any], str]
"""What is wrong with a schema; empty where nothing is."""

_SCHEMA = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else", "contains")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
MOST_TRIES = 400
"""Compilations, after which the place is not looked for any closer."""


def find_fault(schema: dict[str, Any], complaint: Complaint) -> tuple[str, str | None]:
    """JSON pointer of the innermost part that has a fault, and the keyword; None where it is no single one's."""
    tries = iter(range(MOST_TRIES))

    def is_wrong(candidate: Any) -> bool:
        return next(tries, None) is not None and bool(complaint(candidate))

    root: Any = deepcopy(schema)
    path: Path = ()
    while (deeper := _wrong_child(root, path, is_wrong)) is not None:
        path = deeper
    return _pointer(path), _wrong_keyword(root, path, is_wrong)


def _wrong_child(root: Any, path: Path, is_wrong: Callable[[Any], bool]) -> Path | None:
    """A part that alone of all is wrong, with the others of its kind taken out of `root` for good."""
    children = list(_children(_at(root, path)))
    for child in children:
        alone = deepcopy(root)
        for other in children:
            if other != child:
                _put(alone, path + other, {})
        if is_wrong(alone) and not is_wrong(_without(alone, path + child)):
            for other in children:
                if other != child:
                    _put(root, path + other, {})
            return path + child
    return None


def _wrong_keyword(root: Any, path: Path, is_wrong: Callable[[Any], bool]) -> str | None:
    # Without its type a schema asks for nothing that the other keywords say, so that is tried last.
    for keyword in sorted(_at(root, path), key="type".__eq__):
        candidate = deepcopy(root)
        del _at(candidate, path)[keyword]
        if not is_wrong(candidate):
            return str(keyword)
    return None


def _children(node: dict[str, Any]) -> Iterator[Path]:
    for keyword, value in node.items():
        if keyword in _SCHEMA and isinstance(value, dict):
            yield (keyword,)
        elif keyword in _SCHEMAS and isinstance(value, list):
            yield from ((keyword, index) for index, part in enumerate(value) if isinstance(part, dict))
        elif keyword in _NAMED and isinstance(value, dict):
            yield from ((keyword, name) for name, part in value.items() if isinstance(part, dict))


def _at(root: Any, path: Path) -> Any:
    for step in path:
        root = root[step]
    return root


def _put(root: Any, path: Path, value: Any) -> None:
    _at(root, path[:-1])[path[-1]] = value


def _without(root: Any, path: Path) -> Any:
    copy = deepcopy(root)
    _put(copy, path, {})
    return copy


def _pointer(path: Path) -> str:
    """As RFC 6901 has it, in the form for a URI's fragment."""
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
