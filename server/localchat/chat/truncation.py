"""Shortens a conversation that is too long, by whole turns from its beginning, and says what went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from localchat.chat.messages import Message, Role
from localchat.errors import ContextLengthExceeded

Count = Callable[[Sequence[Message]], Awaitable[int]]
"""Tokens of the prompt of a conversation."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """What is left of a conversation, and what went."""

    messages: Sequence[Message]
    prompt_tokens: int
    dropped: Sequence[int] = ()
    """Places of messages in the conversation, from 0."""
    dropped_tokens: int = 0


async def truncate(messages: Sequence[Message], count: Count, limit: int) -> Truncated:
    """The conversation without as few of its oldest turns as make its prompt fit into `limit` tokens.

    Raises ContextLengthExceeded where even what must stay is too long.
    """
    whole = least = await count(messages)
    if whole <= limit:
        return Truncated(messages, whole)
    turns, fitting = _droppable(messages), None
    too_few, enough = 0, len(turns) + 1
    while enough - too_few > 1:
        half = (too_few + enough) // 2
        dropped = sorted(place for turn in turns[:half] for place in turn)
        left = [message for place, message in enumerate(messages) if place not in dropped]
        tokens = await count(left)
        if tokens <= limit:
            enough, fitting = half, Truncated(left, tokens, dropped, whole - tokens)
        else:
            too_few, least = half, tokens
    if fitting is None:
        raise ContextLengthExceeded(
            f"the prompt has {whole} tokens, {least} of them in system messages and the last turn, which are never "
            f"dropped, and {limit} fit beside the answer",
            param="messages",
        )
    return fitting


def _droppable(messages: Sequence[Message]) -> list[list[int]]:
    """Places that go together, those to go first first: what a user says with all that answers it; and in the last
    turn calls of tools with what came of them, but for the last, which the model is to answer."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    last, answers = (users[-1], users[-1] + 1) if users else (0, 0)
    turns = _cut(messages, range(last), before="user")
    rest = _cut(messages, range(answers, len(messages)), before="assistant")
    return turns + [group for group in rest[:-1] if messages[group[0]].tool_calls]


def _cut(messages: Sequence[Message], places: range, *, before: Role) -> list[list[int]]:
    """Places in groups that open with a role; system messages are in none."""
    groups: list[list[int]] = []
    for place in places:
        if messages[place].role == before or (not groups and messages[place].role != "system"):
            groups.append([])
        if messages[place].role != "system":
            groups[-1].append(place)
    return groups
