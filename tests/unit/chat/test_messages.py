"""A conversation as templates take it."""

from __future__ import annotations

import pytest

from localchat.chat.messages import Message, add_instructions, merge_system


def user(content: str) -> Message:
    return Message(role="user", content=content)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


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


def test_instructions_join_the_system_message_or_become_it() -> None:
    assert add_instructions([system("a"), user("hi")], "b") == [system("a\n\nb"), user("hi")]
    assert add_instructions([user("hi")], "b") == [system("b"), user("hi")]
