"""Where the parts of a schema stand, and which keywords mean nothing."""

from __future__ import annotations

import pytest

from localchat.json_schema import Node, meaningless, pointer, walk


def places(given: Node) -> set[str]:
    return {pointer(path) for path, _ in walk(given)}


def test_every_part_is_found_once() -> None:
    given = {
        "$defs": {"a/b": {"items": [{}, {"not": {}}]}},
        "properties": {"x": {"anyOf": [{"$ref": "#/$defs/a~1b"}, {"additionalProperties": {}}]}, "y": True},
        "enum": [{"properties": {}}],
    }
    assert places(given) == {
        "#",
        "#/$defs/a~1b",
        "#/$defs/a~1b/items/0",
        "#/$defs/a~1b/items/1",
        "#/$defs/a~1b/items/1/not",
        "#/properties/x",
        "#/properties/x/anyOf/0",
        "#/properties/x/anyOf/1",
        "#/properties/x/anyOf/1/additionalProperties",
    }


def test_parts_that_only_a_reference_leads_to_are_found() -> None:
    assert places(
        {"$ref": "#/components/a", "components": {"a": {"items": {"$ref": "#/components/b/0"}}, "b": [{}]}}
    ) == {
        "#",
        "#/components/a",
        "#/components/a/items",
        "#/components/b/0",
    }


@pytest.mark.parametrize("reference", ["#", "#/", "#/missing", "#/list/7", "#/list/x", "#/text", "other", 3, None])
def test_references_that_lead_nowhere_are_left_alone(reference: object) -> None:
    assert places({"$ref": reference, "list": [1], "text": "x"}) == {"#"}


def test_schema_in_itself_comes_to_an_end() -> None:
    assert places({"items": {"$ref": "#"}}) == {"#", "#/items"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"type": "string", "title": "t", "default": 1, "x-order": 2, "discriminator": {}, "$comment": ""}, []),
        ({"properties": {"a": {"maximun": 3}, "required": {"nullable": True}}}, ["a/maximun", "required/nullable"]),
        ({"properties": {"a": {"type": "integer", "format": "int32"}}}, ["a/format"]),
        ({"properties": {"a": {"type": ["integer", "string"], "format": "date"}, "b": {"format": "date"}}}, []),
        ({"properties": {"title": {}, "foo": {"const": {"bar": 1}}}}, []),
    ],
)
def test_keywords_that_ask_for_nothing_are_named(given: Node, found: list[str]) -> None:
    assert sorted(pointer(path) for path in meaningless(given)) == [f"#/properties/{one}" for one in found]
