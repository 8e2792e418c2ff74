"""Texts that break a schema cannot be written, however they try; what cannot be prevented is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localchat.constraint import Constraint
from localchat.errors import EngineError, InvalidRequest
from localchat.llama.grammar import Grammars
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from schemas import Schema

STRICT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TIMES = {"type": "string", "format": "date-time"}
ONE_OF_TWO = {
    "oneOf": [
        {"type": "object", "properties": {"k": {"const": kind}, "x": {"type": what}}, "required": ["k"]}
        for kind, what in (("a", "integer"), ("b", "string"))
    ],
    "discriminator": {"propertyName": "k"},
}


@pytest.fixture(scope="module")
def vocabulary(embedded_model_path: Path) -> Vocabulary:
    return Model(embedded_model_path).vocabulary


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary)


def is_allowed(text: str, given: Schema, grammars: Grammars, vocabulary: Vocabulary) -> bool:
    matcher = grammars.matcher(Constraint("json_schema", json.dumps(given), "response_format"))
    for token in vocabulary.tokenize(text):
        if matcher.is_complete:
            return False
        try:
            matcher.accept(token)
        except EngineError:
            return False
    return matcher.is_complete or bool(matcher.allowed()[list(vocabulary.end_tokens)].any())


def refusal(given: Any, grammars: Grammars) -> str:
    with pytest.raises(InvalidRequest) as caught:
        grammars.matcher(Constraint("json_schema", json.dumps(given), "response_format"))
    return caught.value.message


@pytest.mark.parametrize(
    ("given", "broken", "kept"),
    [
        ({"x-guidance": {"item_separator": ";"}, "type": "array"}, ["[1;2]"], ["[1,2]", "[1, 2]"]),
        ({"x-guidance": {"key_separator": "="}, "type": "object"}, ['{"a"=1}'], ['{"a":1}']),
        (
            STRICT,
            ['{"\\u0061":1}', '{"\\u0061":"x","a":1}', '{"a":1,"\\u0061":"x"}', '{"a":1,"a":"x"}'],
            ['{"a":1,"b":"x"}'],
        ),
        (
            {"type": "object", "properties": {"é": {"type": "null"}}},
            ['{"é":1}', '{"\\u00e9":1}'],
            ['{"é":null}', '{"e":1}'],
        ),
        ({"type": "object", "properties": {"🐲": {"type": "null"}}}, ['{"\\ud83d\\udc32":1}'], ['{"🐲":null}']),
        ({"type": "object", "properties": {"a/b": {"type": "null"}}}, ['{"a\\/b":1}'], ['{"a/b":null}']),
        ({"type": "object", "properties": {"\n": {"type": "null"}}}, ['{"\\n":1}', '{"\\u000a":1}'], ['{"\\n":null}']),
        (
            {"type": "object", "patternProperties": {"^x": {"type": "null"}}},
            ['{"xa":1}', '{"\\u0078":1}'],
            ['{"xa":null}', '{"b":1}'],
        ),
        ({"type": "string"}, ['"\\ud83d"', '"a\nb"', '"\\x"', "'a'"], ['"é💩\\n\\""']),
        ({"type": "string", "minLength": 2}, ['"💩"', '"\\n"', '"\\ud83d\\udca9"'], ['"💩a"']),
        (
            {"type": "string", "format": "date"},
            ['"2021-02-29"', '"1900-02-29"', '"2021-04-31"', '"0000-01-01"'],
            ['"2000-02-29"', '"2024-02-29"', '"2021-12-31"', '"0001-01-01"'],
        ),
        (
            TIMES,
            ['"2021-02-29T00:00:00Z"', '"2020-01-01T00:00:60Z"', '"2020-01-01T00:00:00"'],
            ['"2020-02-29T23:59:59.5+01:00"'],
        ),
        (
            {"properties": {"default": TIMES}, "type": "object"},
            ['{"default":"2020-01-01T00:00:60Z"}'],
            ['{"default":"2020-01-01T00:00:00Z"}'],
        ),
        (
            {"$ref": "#/shared/day", "shared": {"day": {"type": "string", "format": "date"}}},
            ['"2021-02-29"'],
            ['"2021-02-28"'],
        ),
        (
            {"type": "string", "format": "hostname"},
            ['"' + ".".join(["a" * 60] * 5) + '"', '"-a"', '""'],
            ['"a-b.example"'],
        ),
        ({"type": "array", "uniqueItems": False}, ["1"], ["[1,1]"]),
        ({"type": "number", "maximum": 1}, ["1.1", "1e5", "1e0", "10"], ["1", "1.0", "-7.5"]),
        ({"type": "number"}, ["NaN", "Infinity", "01", ".5", "1.", "+1"], ["-0.5e-3"]),
        ({"enum": [1, "a"], "type": "string"}, ["1"], ['"a"']),
        ({"type": ["string", "integer"], "minimum": 3, "minLength": 2}, ["2", '"a"'], ["3", '"ab"']),
        ({"required": ["a"]}, ["{}"], ['{"a":1}', "3"]),
        ({"type": "object", "required": ["z"], "minProperties": 2}, ['{"z":1}', '{"z":1,"z":2}'], ['{"z":1,"y":2}']),
        ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, ["[1,2]", '["a"]'], ["[1]"]),
        (ONE_OF_TWO, ['{"k":"c"}', '{"k":"a","x":"s"}', "{}"], ['{"k":"b","x":"s"}']),
    ],
)
def test_what_breaks_a_schema_cannot_be_written(
    given: Schema, broken: list[str], kept: list[str], grammars: Grammars, vocabulary: Vocabulary
) -> None:
    assert [text for text in broken if is_allowed(text, given, grammars, vocabulary)] == []
    assert [text for text in kept if not is_allowed(text, given, grammars, vocabulary)] == []


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"x-guidance": {"lenient": True}, "uniqueItems": True}, "at #, keyword 'uniqueItems'"),
        ({"properties": {"a": {"const": "x\0y"}}}, "at #/properties/a, keyword 'const': control characters"),
        ({"enum": ["a", {"b": ["\x7f"]}]}, "at #, keyword 'enum': control characters"),
        ({"type": "string", "pattern": "^a\x01b$"}, "at #, keyword 'pattern': control characters"),
        ({"type": "string", "pattern": r"^a\x01b$"}, "at #, keyword 'pattern': control characters"),
        ({"patternProperties": {r"\u0007": {}}}, "at #, keyword 'patternProperties': control characters"),
        ({"type": "object", "minProperties": 2}, "at #, keyword 'minProperties': a name may be written twice"),
        ({"type": "object", "required": ["a"], "minProperties": 3}, "at #, keyword 'minProperties'"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
            "nothing that this model can write matches",
        ),
        ({"type": "string", "format": "date", "allOf": 5}, "at #, keyword 'allOf'"),
        ({"type": "integer", "multipleOf": 99991}, "at #, keyword 'multipleOf': it is more than 10000"),
        ({"patternProperties": {f"^{n}a": {} for n in range(101)}}, "at #, keyword 'patternProperties': 101 patterns"),
        ({"minimum": float("nan")}, "cannot be enforced: "),
        ({"minimum": 10**400}, "cannot be enforced: "),
        ({"const": "\ud800"}, "cannot be enforced: "),
        ({"description": "x" * 100_000}, "are more than 100000"),
    ],
)
def test_what_cannot_be_prevented_is_refused(given: Schema, place: str, grammars: Grammars) -> None:
    message = refusal(given, grammars)
    assert place in message
    assert len(message) < 800


def test_patterns_may_leave_control_characters_out(grammars: Grammars, vocabulary: Vocabulary) -> None:
    given = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]+\\x01$"}
    assert is_allowed('"a\\\\x01"', given, grammars, vocabulary)


def test_nesting_beyond_measure_is_refused(grammars: Grammars) -> None:
    given: Schema = {}
    for _ in range(200):
        given = {"items": given}
    assert "nested too deeply" in refusal(given, grammars)


def test_references_in_a_long_row_do_not_overflow_the_stack(grammars: Grammars) -> None:
    row = {str(n): {"items": {"$ref": f"#/$defs/{n + 1}"}, "type": "array"} for n in range(1500)}
    given = {"$defs": {**row, "1500": {}}, "$ref": "#/$defs/0"}
    matcher = grammars.matcher(Constraint("json_schema", json.dumps(given), "response_format"))
    assert matcher.allowed().any()
