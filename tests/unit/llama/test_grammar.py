"""What a grammar allows is what it says, over a real vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from localchat.constraint import Constraint
from localchat.errors import InvalidRequest
from localchat.llama.grammar import Grammars, Matcher
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from schemas import LINKED_LIST, WRITTEN, Schema, deep, schema

VALIDATOR = jsonschema.Draft202012Validator
PATIENCE = 200
"""Tokens after which a text is hurried to its end."""


@pytest.fixture(scope="module")
def vocabulary(embedded_model_path: Path) -> Vocabulary:
    return Model(embedded_model_path).vocabulary


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary)


@pytest.fixture(scope="module")
def closing(vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Tokens that bring JSON nearer to its end."""
    pieces = [vocabulary.piece(token) for token in range(vocabulary.size)]
    return np.array([bool(piece) and set(piece) <= set(b'"]}') for piece in pieces])


def of(given: Schema) -> Constraint:
    return Constraint("json_schema", json.dumps(given), "response_format")


def write(matcher: Matcher, vocabulary: Vocabulary, closing: NDArray[np.bool_], random: Random) -> str | None:
    """Tokens drawn at random from what is allowed; None for a text that finds no end."""
    ends, data = vocabulary.end_tokens, b""
    for step in range(2000):
        if matcher.is_complete:
            return data.decode()
        allowed = np.flatnonzero(matcher.allowed())
        assert allowed.size, f"nothing may follow {data!r}"
        end = [int(token) for token in allowed[:200] if int(token) in ends]
        if end and (step > PATIENCE or random.random() < 0.3):
            return data.decode()
        near = allowed[closing[allowed]]
        if near.size and (step > PATIENCE or random.random() < 0.3):
            allowed = near
        choices = [
            token for token in (int(allowed[random.randrange(allowed.size)]) for _ in range(8)) if token not in ends
        ]
        if not choices:
            return data.decode() if end else None
        token = min(choices, key=lambda one: len(vocabulary.piece(one))) if step > PATIENCE else choices[0]
        matcher.accept(token)
        data += vocabulary.piece(token)
    return None


def check(texts: Iterable[str | None], given: Schema) -> int:
    """The number of texts that came to an end; each keeps the schema."""
    validator = VALIDATOR(given, format_checker=VALIDATOR.FORMAT_CHECKER)
    whole = [text for text in texts if text is not None]
    for text in whole:
        validator.validate(json.loads(text))
    return len(whole)


@pytest.mark.parametrize("given", [*WRITTEN, deep(12)], ids=lambda given: json.dumps(given)[:60])
def test_whatever_is_written_keeps_the_schema(
    given: Schema, grammars: Grammars, vocabulary: Vocabulary, closing: NDArray[np.bool_]
) -> None:
    random = Random(json.dumps(given))
    texts = [write(grammars.matcher(of(given)), vocabulary, closing, random) for _ in range(6)]
    assert check(texts, given) >= 4


@pytest.mark.parametrize("part", range(10))
def test_whatever_is_written_keeps_any_schema(
    part: int, grammars: Grammars, vocabulary: Vocabulary, closing: NDArray[np.bool_]
) -> None:
    random, ended = Random(part), 0
    for _ in range(40):
        given = schema(random)
        ended += check([write(grammars.matcher(of(given)), vocabulary, closing, random)], given)
    assert ended >= 36


@pytest.mark.parametrize(
    "text",
    [
        '{"value":1,"next":null}',
        '{"value": 1, "next": {"value": 2, "next": null}}',
        '{\n  "value": 1,\n  "next": null\n}',
    ],
)
def test_texts_that_keep_the_schema_are_allowed(text: str, grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.matcher(of(LINKED_LIST))
    for token in vocabulary.tokenize(text):
        assert matcher.allowed()[token]
        matcher.accept(token)
    assert matcher.is_complete


def test_blanks_between_parts_come_to_an_end(grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.matcher(of({"type": "array", "items": {"type": "integer"}, "minItems": 1}))
    [bracket], [space] = vocabulary.tokenize("["), vocabulary.tokenize(" ")
    matcher.accept(bracket)
    matcher.accept(space)
    assert not matcher.allowed()[space]


def test_only_an_end_may_follow_a_whole_text(grammars: Grammars, vocabulary: Vocabulary) -> None:
    matcher = grammars.matcher(Constraint("regex", "ab?", "regex"))
    [a], [b] = vocabulary.tokenize("a"), vocabulary.tokenize("b")
    assert not matcher.allowed()[list(vocabulary.end_tokens)].any()
    matcher.accept(a)
    assert set(np.flatnonzero(matcher.allowed())) >= {b, vocabulary.eos}
    assert not matcher.is_complete
    matcher.accept(b)
    assert matcher.is_complete


def test_two_texts_of_one_grammar_do_not_meet(grammars: Grammars, vocabulary: Vocabulary) -> None:
    one, other = (grammars.matcher(Constraint("regex", "a|bc", "regex")) for _ in range(2))
    one.accept(vocabulary.tokenize("a")[0])
    assert one.is_complete
    assert not other.is_complete


def test_mask_is_the_same_when_it_was_prepared(grammars: Grammars) -> None:
    one, other = (grammars.matcher(of({"type": "object"})) for _ in range(2))
    one.prepare()
    assert (one.allowed() == other.allowed()).all()


def test_mask_that_the_caller_changes_is_the_same_when_asked_again(grammars: Grammars) -> None:
    matcher = grammars.matcher(of({"type": "object"}))
    before = matcher.allowed()
    matcher.allowed()[:] = True
    assert (matcher.allowed() == before).all()


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"not": {}}, "at #, keyword 'not'"),
        ({"type": "array", "uniqueItems": True}, "at #, keyword 'uniqueItems'"),
        ({"properties": {"a/b": {"type": "strin"}}}, "at #/properties/a~1b, keyword 'type'"),
        (
            {"properties": {"a": {"anyOf": [{}, {"items": {"contains": {}}}]}}},
            "#/properties/a/anyOf/1/items, keyword 'con",
        ),
        (
            {"$defs": {"x": {"format": "color", "type": "string"}}, "$ref": "#/$defs/x"},
            "at #/$defs/x, keyword 'format'",
        ),
        ({"properties": {"a": {"not": {}}, "b": {"if": {}}}}, "at #/properties/a, keyword 'not'"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "at #, keyword 'minimum': Unsatisfiable"),
        ({"$ref": "#/$defs/missing"}, "at #, keyword '$ref'"),
        ({"$ref": "https://example.com/schema"}, "at #, keyword '$ref'"),
        ({"type": "string", "pattern": "(?=a)"}, "at #, keyword 'pattern'"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "at #, keyword 'oneOf'"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_place(given: Schema, place: str, grammars: Grammars) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grammars.matcher(of(given))
    assert place in caught.value.message
    assert caught.value.param == "response_format"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("kind", "text"), [("lark", "start"), ("lark", 'start: "a" other'), ("regex", "(?=a)b"), ("regex", "(")]
)
def test_grammar_that_is_none_is_refused(kind: str, text: str, grammars: Grammars) -> None:
    with pytest.raises(InvalidRequest, match=r"^grammar cannot be enforced: ."):
        grammars.matcher(Constraint(kind, text, "grammar"))  # type: ignore[arg-type]
