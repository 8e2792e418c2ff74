"""JSON schemas of many kinds, drawn at random or written out."""

from __future__ import annotations

from random import Random
from typing import Any

Schema = dict[str, Any]

FORMATS = ("date", "time", "date-time", "duration", "hostname", "ipv4", "ipv6", "uuid")
PATTERNS = ("^[a-z]{2,5}$", "^[A-Z][a-z]*$", "^\\d{3}-\\d{2}$", "^(red|green|blue)$", "^#[0-9a-f]{6}$", "x")

LINKED_LIST: Schema = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
TREE: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    },
    "required": ["name"],
    "additionalProperties": False,
}
WRITTEN: tuple[Schema, ...] = (
    LINKED_LIST,
    TREE,
    {"type": "object"},
    {"const": {"a": [1, 2.5, None, "é\n"], "b": {}}},
    {"enum": ["red", 3, None, False, [1], {"a": 'quote " and \\'}]},
    {"type": ["string", "null", "integer"]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}]},
    {"oneOf": [{"type": "string", "maxLength": 4}, {"type": "boolean"}]},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}], "items": False},
    {"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"type": "null"}, "minItems": 2, "maxItems": 3},
    {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {"n_a": {"type": "integer", "minimum": 5}},
        "patternProperties": {"^n_": {"type": "integer"}},
        "additionalProperties": {"type": "boolean"},
    },
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2},
    {"type": "object", "required": ["of no property"]},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "number", "multipleOf": 0.25, "minimum": -1, "maximum": 1},
    {"type": "integer", "multipleOf": 7, "minimum": 100, "maximum": 400},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"definitions": {"old": {"type": "boolean"}}, "$ref": "#/definitions/old"},
    {"type": "object", "properties": {"a/b~c": {"type": "null"}, 'q"': {"type": "null"}}, "required": ["a/b~c", 'q"']},
)


def schema(random: Random, depth: int = 3) -> Schema:
    """A schema that some texts keep."""
    kinds = [_string, _number, _enum, _array, _object, _object, _any_of] if depth else [_string, _number, _enum]
    return random.choice(kinds)(random, depth - 1)


def deep(levels: int) -> Schema:
    """Objects in lists in objects."""
    inner: Schema = {"type": "boolean"}
    for level in range(levels):
        inner = {
            "type": "object",
            "properties": {f"p{level}": {"type": "array", "items": inner, "minItems": 1, "maxItems": 1}},
            "required": [f"p{level}"],
            "additionalProperties": False,
        }
    return inner


def _string(random: Random, _depth: int) -> Schema:
    match random.randrange(4):
        case 0:
            return {"type": "string", "format": random.choice(FORMATS)}
        case 1:
            return {"type": "string", "pattern": random.choice(PATTERNS)}
        case 2:
            least = random.randrange(4)
            return {"type": "string", "minLength": least, "maxLength": least + random.randrange(6)}
        case _:
            return {"type": "string"}


def _number(random: Random, _depth: int) -> Schema:
    made: Schema = {"type": random.choice(["integer", "number"])}
    least = random.randrange(-1000, 1000)
    if random.random() < 0.6:
        made[random.choice(["minimum", "exclusiveMinimum"])] = least
    if random.random() < 0.6:
        made[random.choice(["maximum", "exclusiveMaximum"])] = least + random.randrange(3, 500)
    return made


def _enum(random: Random, _depth: int) -> Schema:
    if random.random() < 0.5:
        return {"const": random.choice(["a", 1, True, None, "two words"])}
    return {"enum": random.sample(["a", "ab", 'with "quotes"', 1, 2.5, True, None, "ü"], 3)}


def _array(random: Random, depth: int) -> Schema:
    made: Schema = {"type": "array", "items": schema(random, depth)}
    if random.random() < 0.5:
        made["minItems"] = random.randrange(3)
    made["maxItems"] = made.get("minItems", 0) + random.randrange(1, 3)
    return made


def _object(random: Random, depth: int) -> Schema:
    names = random.sample(["name", "größe", "a b", "id", "list", "x"], random.randrange(1, 5))
    made: Schema = {"type": "object", "properties": {name: schema(random, depth) for name in names}}
    made["required"] = [name for name in names if random.random() < 0.7]
    match random.randrange(3):
        case 0:
            made["additionalProperties"] = False
        case 1:
            made["additionalProperties"] = schema(random, 0)
    return made


def _any_of(random: Random, depth: int) -> Schema:
    return {"anyOf": [schema(random, depth) for _ in range(random.randrange(2, 4))]}
