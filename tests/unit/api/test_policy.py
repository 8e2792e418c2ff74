"""Honoured, refused or ignored: what the marks on a field do."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from localchat.api.dependencies import IGNORED_HEADER, ignored_header
from localchat.api.schemas.policy import Body, Ignored, Ours, Refused, policy_of
from localchat.errors import UnsupportedField


class Part(Body):
    label: Annotated[str | None, Ignored("nobody reads it")] = None
    blob: Annotated[str | None, Refused("too heavy")] = None


class Request(Body):
    text: str = Field("", description="What to say.")
    tag: Annotated[str | None, Ignored("nobody reads it")] = None
    magic: Annotated[Any, Refused("there is none", harmless=(False, [], {"kind": "none"}))] = None
    speed: Annotated[int | None, Ours()] = Field(None, description="How fast.")
    part: Part | None = None
    parts: list[Part] | None = None


def test_field_that_was_not_given_is_not_listed() -> None:
    assert list(Request(text="a").ignored()) == []
    assert ignored_header(Request()) == {}


def test_ignored_fields_are_listed_in_order() -> None:
    request = Request(tag="a", part=Part(label="b"), parts=[Part(), Part(label="c")])
    assert list(request.ignored()) == ["part.label", "parts[1].label", "tag"]
    assert ignored_header(request) == {IGNORED_HEADER: "part.label,parts[1].label,tag"}


def test_null_is_neither_ignored_nor_refused() -> None:
    assert list(Request.model_validate({"tag": None, "magic": None}).ignored()) == []


@pytest.mark.parametrize("value", [True, 1, [1], {"kind": "some"}, ""])
def test_refused_field_raises_with_its_name_and_reason(value: Any) -> None:
    with pytest.raises(UnsupportedField, match="magic is not supported: there is none") as caught:
        list(Request(magic=value).ignored())
    assert caught.value.param == "magic"


@pytest.mark.parametrize("value", [False, [], {"kind": "none"}])
def test_refused_field_may_ask_for_nothing(value: Any) -> None:
    assert list(Request(magic=value).ignored()) == []


def test_refused_field_of_a_part_is_named_by_its_path() -> None:
    with pytest.raises(UnsupportedField) as caught:
        list(Request(parts=[Part(), Part(blob="a")]).ignored())
    assert caught.value.param == "parts[1].blob"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"txt": "a"}, "txt"),
        ({"txt": None}, "txt"),
        ({"part": {"lable": "a"}}, "part.lable"),
        ({"parts": [{}, {"lable": "a"}]}, "parts[1].lable"),
        ({"ignored": 1}, "ignored"),
        ({"model_config": 1}, "model_config"),
    ],
)
def test_unknown_field_is_refused_by_name_or_listed(body: dict[str, Any], path: str) -> None:
    request = Request.model_validate(body)
    with pytest.raises(UnsupportedField, match="is not a field of this request") as caught:
        ignored_header(request)
    assert caught.value.param == path
    assert ignored_header(request, lenient=True) == {IGNORED_HEADER: path}


@pytest.mark.parametrize("name", ["a\r\nset-cookie: b", "é,ü", "a" * 10_000])
def test_unknown_name_makes_one_short_header(name: str) -> None:
    [value] = ignored_header(Request.model_validate({name: 1, "b": 2}), lenient=True).values()
    assert value.isascii()
    assert value.isprintable()
    assert value.count(",") == 1
    assert len(value) < 1000


def test_many_unknown_names_are_counted() -> None:
    names = {f"field{number:03}": 1 for number in range(1000)}
    [value] = ignored_header(Request.model_validate(names), lenient=True).values()
    assert value.startswith("field000,field001,")
    assert value.endswith(",field049,and 950 more")


@pytest.mark.parametrize("lenient", [False, True])
def test_refused_field_is_refused_by_a_lenient_server_too(lenient: bool) -> None:
    with pytest.raises(UnsupportedField, match="magic"):
        ignored_header(Request(magic=1), lenient=lenient)


@pytest.mark.parametrize("body", [{"text": 1}, {"speed": "1"}, {"speed": 1.0}])
def test_other_types_are_errors(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Request.model_validate(body)


def test_policy_of_a_field_and_its_reason() -> None:
    policies = {name: policy_of(field) for name, field in Request.model_fields.items()}
    assert policies == {
        "text": ("honoured", "What to say."),
        "tag": ("ignored", "nobody reads it"),
        "magic": ("refused", "there is none"),
        "speed": ("honoured", "How fast."),
        "part": ("honoured", ""),
        "parts": ("honoured", ""),
    }
