"""What goes from a conversation that is too long: the oldest turns, whole, and no more than must."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.chat.messages import Message, Role
from localchat.chat.truncation import Truncated, truncate
from localchat.errors import ContextLengthExceeded

CALL = ({"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}},)
FRAME = 3
"""Tokens that the counting template writes whatever is said."""


def said(role: Role, size: int = 10, *, calls: bool = False) -> Message:
    return Message(role=role, content="x" * size, tool_calls=CALL if calls else ())


async def count(messages: Sequence[Message]) -> int:
    return FRAME + sum(len(message.content) for message in messages)


SYSTEM, USER, ANSWER = said("system"), said("user"), said("assistant")
CALLING, RESULT = said("assistant", calls=True), said("tool")


async def dropped(messages: Sequence[Message], limit: int) -> Sequence[int]:
    found = await truncate(messages, count, limit)
    assert found.messages == [message for place, message in enumerate(messages) if place not in found.dropped]
    assert found.prompt_tokens == await count(found.messages) <= limit
    assert found.dropped_tokens == await count(messages) - found.prompt_tokens
    return found.dropped


async def test_conversation_that_fits_stays_whole() -> None:
    talk = [SYSTEM, USER, ANSWER, USER]
    assert await truncate(talk, count, 43) == Truncated(talk, 43)


@pytest.mark.parametrize(("limit", "expected"), [(62, [1, 2]), (43, [1, 2]), (42, [1, 2, 3, 4]), (23, [1, 2, 3, 4])])
async def test_oldest_turns_go_whole_and_no_more_than_must(limit: int, expected: list[int]) -> None:
    talk = [SYSTEM, USER, ANSWER, USER, ANSWER, USER]
    assert await dropped(talk, limit) == expected


async def test_turn_goes_with_its_calls_and_their_results() -> None:
    talk = [USER, CALLING, RESULT, RESULT, ANSWER, USER]
    assert await dropped(talk, 53) == [0, 1, 2, 3, 4]


async def test_system_messages_stay_wherever_they_are() -> None:
    talk = [USER, SYSTEM, ANSWER, SYSTEM, USER]
    assert await dropped(talk, 33) == [0, 2]


async def test_words_before_the_first_user_are_a_turn() -> None:
    assert await dropped([SYSTEM, ANSWER, USER, ANSWER, USER], 43) == [1]


async def test_of_the_last_turn_the_oldest_calls_go_with_their_results_when_all_else_went() -> None:
    talk = [USER, ANSWER, USER, CALLING, RESULT, RESULT, CALLING, RESULT, CALLING, RESULT]
    assert await dropped(talk, 83) == [0, 1]
    assert await dropped(talk, 53) == [0, 1, 3, 4, 5]
    assert await dropped(talk, 33) == [0, 1, 3, 4, 5, 6, 7]


async def test_words_that_are_to_be_continued_stay() -> None:
    talk = [USER, ANSWER, USER, CALLING, RESULT, ANSWER]
    assert await dropped(talk, 23) == [0, 1, 3, 4]


@pytest.mark.parametrize("talk", [[SYSTEM, USER], [USER, ANSWER, SYSTEM, USER], [CALLING, RESULT], [SYSTEM, SYSTEM]])
async def test_what_must_stay_and_does_not_fit_is_refused_with_numbers(talk: list[Message]) -> None:
    whole = await count(talk)
    with pytest.raises(ContextLengthExceeded, match=rf"has {whole} tokens, 23 of them .* and 22 fit") as caught:
        await truncate(talk, count, 22)
    assert caught.value.param == "messages"


TALKS = st.lists(
    st.builds(said, st.sampled_from(["system", "user", "assistant", "tool"]), st.integers(1, 50), calls=st.booleans()),
    min_size=1,
    max_size=24,
)


@given(TALKS, st.integers(0, 600))
async def test_what_is_left_fits_or_nothing_can(talk: list[Message], limit: int) -> None:
    try:
        gone = await dropped(talk, limit)
    except ContextLengthExceeded:
        return
    users = [place for place, message in enumerate(talk) if message.role == "user"]
    assert not users or users[-1] not in gone
    assert not any(talk[place].role == "system" for place in gone)
    assert list(gone) == sorted(set(gone))
