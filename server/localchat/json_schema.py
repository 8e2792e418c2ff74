"""The parts of a JSON schema, and the keywords that mean nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
Node = dict[str, Any]

_SCHEMA = frozenset(
    {"items", "additionalItems", "additionalProperties", "propertyNames", "not", "if", "then", "else", "contains"}
)
_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_ASSERTING = """
    type enum const format pattern minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
    required minProperties maxProperties minItems maxItems uniqueItems minContains maxContains dependentRequired
    dependencies unevaluatedItems unevaluatedProperties
"""
_REFERRING = "$ref $id id $anchor $dynamicRef $dynamicAnchor $recursiveRef $recursiveAnchor $schema $vocabulary"
_ANNOTATING = """
    title description default example examples deprecated readOnly writeOnly $comment contentEncoding contentMediaType
    contentSchema discriminator
"""
_KNOWN = _SCHEMA | _SCHEMAS | _NAMED | frozenset(f"{_ASSERTING} {_REFERRING} {_ANNOTATING}".split())


def children(node: Node) -> Iterator[Path]:
    """Where in a schema the schemas stand that it is directly made of."""
    for keyword, value in node.items():
        if keyword in _SCHEMA and isinstance(value, dict):
            yield (keyword,)
        elif keyword in _SCHEMAS and isinstance(value, list):
            yield from ((keyword, index) for index, part in enumerate(value) if isinstance(part, dict))
        elif keyword in _NAMED and isinstance(value, dict):
            yield from ((keyword, name) for name, part in value.items() if isinstance(part, dict))


def at(root: Any, path: Path) -> Any:
    """What stands at a path."""
    for step in path:
        root = root[step]
    return root


def walk(root: Node) -> Iterator[tuple[Path, Node]]:
    """A schema and all in it, each once, those too that only a `$ref` leads to."""
    waiting: list[Path] = [()]
    seen: set[Path] = {()}
    while waiting:
        path = waiting.pop()
        node = at(root, path)
        yield path, node
        found = [path + child for child in children(node)]
        target = _target(root, node.get("$ref"))
        for other in [*found, *([target] if target else [])]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)


def pointer(path: Path) -> str:
    """As RFC 6901 has it, in the form for a URI's fragment."""
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def meaningless(root: Node) -> Iterator[Path]:
    """Keywords that ask for nothing: those that JSON Schema does not have, and formats of what is no text."""
    for path, node in walk(root):
        for keyword in node:
            if keyword not in _KNOWN and not keyword.startswith("x-"):
                yield (*path, keyword)
        types = node.get("type", "string")
        if "format" in node and "string" not in (types if isinstance(types, list) else [types]):
            yield (*path, "format")


def _target(root: Node, reference: object) -> Path | None:
    """Where a `$ref` leads within the same schema."""
    if not isinstance(reference, str) or "#/" not in reference:
        return None
    path: list[str | int] = []
    node: Any = root
    for step in reference.split("#/", 1)[1].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            path.append(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            path.append(int(name))
        else:
            return None
        node = at(node, (path[-1],))
    return tuple(path) if isinstance(node, dict) else None
