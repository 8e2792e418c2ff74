"""A conversation as templates take it."""

from __future__ import annotations

import pytest

from localchat.chat.messages import Message, for_template, merge_system

CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
    {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]
IN_WORDS = '{"name": "weather", "arguments": "{\\"city\\": \\"Köln\\"}"}\n{"name": "time", "arguments": "{}"}'


def user(content: str) -> Message:
    return Message(role="user", content=content)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


@pytest.mark.parametrize("knows_tool_calls", [True, False])
def test_plain_turn_has_role_and_content_only(knows_tool_calls: bool) -> None:
    turn = for_template(user("hi"), knows_tool_calls=knows_tool_calls)
    assert turn == {"role": "user", "content": "hi"}


def test_tool_calls_are_handed_to_a_template_that_knows_them() -> None:
    turn = for_template(Message(role="assistant", content="", tool_calls=CALLS), knows_tool_calls=True)
    assert turn == {"role": "assistant", "content": "", "tool_calls": CALLS}


def test_tool_calls_become_words_for_a_template_that_does_not_know_them() -> None:
    turn = for_template(Message(role="assistant", content="", tool_calls=CALLS), knows_tool_calls=False)
    assert turn == {"role": "assistant", "content": IN_WORDS}


def test_tool_calls_in_words_follow_the_content() -> None:
    turn = for_template(Message(role="assistant", content="Let me see.", tool_calls=CALLS), knows_tool_calls=False)
    assert turn["content"] == f"Let me see.\n{IN_WORDS}"


@pytest.mark.parametrize("knows_tool_calls", [True, False])
def test_tool_result_names_its_call(knows_tool_calls: bool) -> None:
    message = Message(role="tool", content="12 °C", tool_call_id="c1")
    turn = for_template(message, knows_tool_calls=knows_tool_calls)
    assert turn == {"role": "tool", "content": "12 °C", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("conversation", "merged"),
    [
        ([user("hi")], [user("hi")]),
        ([system("be brief"), user("hi")], [user("be brief\n\nhi")]),
        ([system("a"), system("b"), user("hi")], [user("a\n\nb\n\nhi")]),
        (
            [system("a"), user("one"), assistant("two"), user("three")],
            [user("a\n\none"), assistant("two"), user("three")],
        ),
        (
            [user("one"), assistant("two"), system("later"), user("three")],
            [user("one"), assistant("two"), user("later\n\nthree")],
        ),
        ([system("a"), assistant("hello"), user("one")], [assistant("hello"), user("a\n\none")]),
        ([system("alone")], [user("alone")]),
        ([user("one"), system("last")], [user("one"), user("last")]),
        ([], []),
    ],
)
def test_system_texts_open_the_next_user_turn(conversation: list[Message], merged: list[Message]) -> None:
    assert merge_system(conversation) == merged


def test_merging_leaves_the_conversation_as_it_was() -> None:
    conversation = [system("a"), user("hi")]
    merge_system(conversation)
    assert conversation == [system("a"), user("hi")]
