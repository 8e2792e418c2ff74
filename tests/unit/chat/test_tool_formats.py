"""Every format's calls are read as they are written, however the text is cut into pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.chat.answer import AnswerDelta, CallArguments, CallStart, Content
from localchat.chat.output_parser import CallParser
from localchat.chat.tool_formats import FORMATS, ToolFormat, find_format
from localchat.chat.tools import Call, Tool

from .tool_texts import BROKEN, ODD, ONE, TEXTS, TWO, Written

NAMES = ("get_weather", "get_time")
BY_NAME = {format.name: format for format in FORMATS}


def read(format: ToolFormat, pieces: Iterable[str], *, live: bool = False) -> tuple[str, list[Call]]:
    """Content and calls of a text that comes in pieces; checks the order of the deltas."""
    parser = CallParser(format.syntax, NAMES, live=live)
    deltas: list[AnswerDelta] = [delta for piece in pieces for delta in parser.feed(piece)]
    return folded([*deltas, *parser.finish()])


def folded(deltas: Iterable[AnswerDelta]) -> tuple[str, list[Call]]:
    content, names, arguments, ids = "", list[str](), list[str](), set[str]()
    for delta in deltas:
        match delta:
            case Content(text):
                assert text
                content += text
            case CallStart(index, id, name):
                assert index == len(names), "calls count from 0"
                ids.add(id)
                names.append(name)
                arguments.append("")
            case CallArguments(index, text):
                assert text
                assert index == len(names) - 1, "arguments are of the last call"
                arguments[index] += text
    assert len(ids) == len(names), "each call has an id of its own"
    return content, list(zip(names, arguments, strict=True))


@pytest.mark.parametrize("written", TEXTS, ids=lambda written: written.format)
@pytest.mark.parametrize("live", [False, True])
def test_calls_are_read_whole_and_letter_by_letter(written: Written, live: bool) -> None:
    format, expected = BY_NAME[written.format], (written.content, list(written.calls))
    assert read(format, [written.text], live=live) == expected
    assert read(format, written.text, live=live) == expected


@given(st.data())
def test_pieces_say_what_the_whole_says(data: st.DataObject) -> None:
    texts = [(written.format, written.text) for written in TEXTS] + list(BROKEN)
    name, text = data.draw(st.sampled_from(texts))
    live = data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(BY_NAME[name], pieces, live=live) == read(BY_NAME[name], [text], live=live)


LETTERS = st.lists(st.sampled_from([*'ab {}[]"\\:,\n<>|', "name", "arguments", *NAMES]))


@given(st.sampled_from([format for format in FORMATS if not format.syntax.openings]), LETTERS)
def test_no_character_of_what_is_no_call_is_lost(format: ToolFormat, parts: list[str]) -> None:
    text = f"x{format.syntax.triggers[0]}" + "".join(["_", *parts])
    assert read(format, text) == (text, [])


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_what_cannot_be_read_is_content(name: str, text: str) -> None:
    assert read(BY_NAME[name], text) == (text, [])
    assert read(BY_NAME[name], [text]) == (text, [])


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("calls", [ONE, TWO, ODD], ids=["one", "two", "odd"])
def test_what_a_format_writes_it_reads(format: ToolFormat, calls: tuple[Call, ...]) -> None:
    assert read(format, format.syntax.write(calls)) == ("", list(calls))


def test_arguments_come_as_they_are_written_where_a_grammar_holds() -> None:
    parser = CallParser(BY_NAME["hermes"].syntax, NAMES, live=True)
    assert parser.feed('<tool_call>\n{"name": "get_weather", "arguments": ')[:1] == []
    [start, first] = parser.feed('{"city": "Pa')
    assert isinstance(start, CallStart)
    assert first == CallArguments(0, '{"city": "Pa')
    assert list(parser.feed('ris"')) == [CallArguments(0, 'ris"')]
    assert list(parser.feed("}}")) == [CallArguments(0, "}")]


def test_arguments_cut_off_are_kept_where_a_grammar_holds() -> None:
    content, calls = read(BY_NAME["hermes"], '<tool_call>{"name": "get_time", "arguments": {"zone": "E', live=True)
    assert (content, calls) == ("", [("get_time", '{"zone": "E')])


def test_arguments_written_as_a_string_are_arguments() -> None:
    inner = json.dumps('{"zone": "UTC"}')
    text = f'<tool_call>{{"name": "get_time", "arguments": {inner}}}</tool_call>'
    assert read(BY_NAME["hermes"], text) == ("", [("get_time", '{"zone": "UTC"}')])


def test_last_format_knows_every_template() -> None:
    assert find_format("{{ messages }}").name == "generic"
    assert len(BY_NAME) == len(FORMATS)


def test_instructions_describe_tools_and_how_they_are_called() -> None:
    text = BY_NAME["generic"].instructions(
        [Tool(name="get_time", description="The time.", parameters={"type": "object"})]
    )
    assert '{"name": "get_time", "description": "The time.", "parameters": {"type": "object"}}' in text
    assert "<tool_call>\n{" in text
