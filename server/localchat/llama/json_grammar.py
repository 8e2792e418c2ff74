"""JSON schemas as llguidance takes them, without what it would let pass unsaid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from llguidance import LLMatcher

from localchat.json_schema import Node, Path, walk

# Between the parts of JSON stand one space, or a new line and its indentation. Without a bound, a model that writes
# blanks would go on until its tokens are spent. Without \u, since a name could be spelled in two ways, and pass for
# one that the schema does not have. All are given, because a schema's own "x-guidance" decides on those that are not.
OPTIONS = {
    "whitespace_pattern": r"( |\n {0,24})?",
    "whitespace_flexible": True,
    "item_separator": ",",
    "key_separator": ":",
    "json_allowed_escapes": 'nrbtf\\"',
    "json_allow_general_unicode_escapes": False,
    "coerce_one_of": False,
    "lenient": False,
}
_YEAR = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_FOURTH = "(0[48]|[2468][048]|[13579][26])"
_DATE = f"^({_YEAR}-(0[13-9]|1[0-2])-|{_YEAR}-02-([01][0-9]|2[0-8])|([0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29)"
_TIME = r":[0-5][0-9]([.Zz]|[+-][0-9:]+$)"
_REFINED: dict[str, list[Node]] = {
    "date": [{"pattern": _DATE}],
    "time": [{"pattern": _TIME}],
    "date-time": [{"pattern": _DATE}, {"pattern": _TIME}],
    "hostname": [{"maxLength": 253}],
}
"""What formats ask for besides: days that there are, years and seconds that programs can read, a length."""

_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
_UNWRITABLE_IN_PATTERN = re.compile(
    _UNWRITABLE.pattern + r"|(?<!\\)(?:\\\\)*\\(?:x[017]|u00[017]|[xu]\{|[Uavc0])", re.IGNORECASE
)
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]", re.DOTALL)
MOST_PATTERNS = 100
MOST_MULTIPLE = 10_000

Fault = tuple[Path, str, str]
"""Where, by which keyword, and why something cannot be enforced."""


def grammar_from_schema(schema: Any) -> str:
    """A schema as a grammar. Raises ValueError where it is nested too deeply."""
    return LLMatcher.grammar_from_json_schema(json.dumps(refined(schema)), overrides=OPTIONS)  # type: ignore[arg-type]


def refined(schema: Any) -> Any:
    """A schema that asks by other keywords for what llguidance leaves out of formats."""
    made = deepcopy(schema)
    for _, node in list(walk(made)):
        if node.get("uniqueItems") is False:  # which asks for nothing
            del node["uniqueItems"]
        more = _REFINED.get(node["format"]) if isinstance(node.get("format"), str) else None
        if more and isinstance(node.setdefault("allOf", []), list):
            node["allOf"] = [*node["allOf"], *more]
    return made


def embedded_schema(schema: Any) -> str:
    """The same for a grammar that has the schema as a part. Raises ValueError."""
    return json.dumps(json.loads(grammar_from_schema(schema))["grammars"][0]["json_schema"])


def unsaid_faults(schema: Node) -> Iterator[Fault]:
    """What llguidance would take, and not enforce, or take very long for."""
    for path, node in walk(schema):
        for keyword, why in _faults(node):
            yield path, keyword, why


def _faults(node: Node) -> Iterator[tuple[str, str]]:
    for keyword in ("const", "enum"):
        if any(_UNWRITABLE.search(text) for text in _texts(node.get(keyword))):
            yield keyword, "control characters other than \\b, \\f, \\n, \\r and \\t cannot be written"
    named = node.get("patternProperties")
    patterns = list(named) if isinstance(named, dict) else []
    for keyword, some in (("pattern", [node.get("pattern")]), ("patternProperties", patterns)):
        if any(_UNWRITABLE_IN_PATTERN.search(_CLASS.sub("", one)) for one in some if isinstance(one, str)):
            yield keyword, "control characters cannot be asked for"
    if len(patterns) > MOST_PATTERNS:
        yield "patternProperties", f"{len(patterns)} patterns are more than {MOST_PATTERNS}"
    multiple = node.get("multipleOf")
    if isinstance(multiple, int | float) and multiple > MOST_MULTIPLE:
        yield "multipleOf", f"it is more than {MOST_MULTIPLE}"
    least, required = node.get("minProperties"), node.get("required")
    is_open = node.get("additionalProperties") is not False or patterns
    if (
        is_open
        and isinstance(least, int)
        and least > len({*map(str, required)} if isinstance(required, list) else ()) + 1
    ):
        yield "minProperties", "a name may be written twice, so only one property more than those required is sure"


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        for part in (*value, *value.values()):
            yield from _texts(part)
