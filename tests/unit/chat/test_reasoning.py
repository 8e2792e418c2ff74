"""Thoughts and answer are told apart, however the text is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.chat.answer import CallArguments, CallStart, Content, PlainParser, Reasoning
from localchat.chat.output_parser import CallParser
from localchat.chat.reasoning import ThinkingParser, ThoughtTags, find_tags
from localchat.chat.tool_formats import hermes

TAGS = ThoughtTags("<think>", "</think>", "<response>", "</response>")


def read(pieces: Iterable[str], *, is_begun: bool = False) -> tuple[str, str]:
    parser = ThinkingParser(TAGS, PlainParser(), is_begun=is_begun)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + list(parser.finish())
    assert all(isinstance(delta, Content | Reasoning) and delta.text for delta in deltas)
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, Reasoning))
    return reasoning, "".join(delta.text for delta in deltas if isinstance(delta, Content))


CASES = [
    ("<think>\nHm, 2 < 3.\n\nYes.\n</think>\n\nIt is.", False, ("Hm, 2 < 3.\n\nYes.", "It is.")),
    ("\n<think>Hm</think>It is.", False, ("Hm", "It is.")),
    ("<think>\n\n</think>\n\nIt is.", False, ("", "It is.")),
    ("Hm.\n</think>\nIt is. ", True, ("Hm.", "It is. ")),
    ("Hm, and cut", True, ("Hm, and cut", "")),
    ("<think>Hm </th", False, ("Hm </th", "")),
    ("It <think>is</think>.", False, ("", "It <think>is</think>.")),
    (" It is.", False, ("", " It is.")),
    ("<thin", False, ("", "<thin")),
    ("", False, ("", "")),
    ("<think>Hm</think>\n<response>It is.\n</response>\n", False, ("Hm", "It is.")),
    ("<think>Hm</think><response>It", False, ("Hm", "It")),
]


@pytest.mark.parametrize(("text", "is_begun", "expected"), CASES)
def test_thoughts_and_answer(text: str, is_begun: bool, expected: tuple[str, str]) -> None:
    assert read([text], is_begun=is_begun) == expected
    assert read(text, is_begun=is_begun) == expected


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<response>", "</response>", "<", ">", " ", "\n", "a", "think"])),
    st.data(),
)
def test_pieces_say_what_the_whole_says(parts: list[str], data: st.DataObject) -> None:
    text, is_begun = "".join(parts), data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(pieces, is_begun=is_begun) == read([text], is_begun=is_begun)


def test_calls_come_behind_thoughts() -> None:
    calls = CallParser(hermes.FORMAT.syntax, ["f"])
    parser = ThinkingParser(TAGS, calls, is_begun=True)
    deltas = [
        *parser.feed('I <tool_call> f.</think>\n<tool_call>{"name": "f", "arguments": {}}</tool_call>'),
        *parser.finish(),
    ]
    assert deltas[0] == Reasoning("I <tool_call> f.")
    assert isinstance(deltas[1], CallStart)
    assert deltas[2:] == [CallArguments(0, "{}")]


def test_templates_say_whether_a_model_thinks() -> None:
    assert find_tags("{{ messages }}") is None
    found = find_tags("{{ content.split('</think>')[-1] }}")
    assert found is not None
    assert found.start == "<think>"
