"""What templates are told of calls and their results, each in its own way."""

from __future__ import annotations

from typing import Any

from localchat.chat.messages import Message
from localchat.chat.tool_formats import generic, mistral
from localchat.chat.turns import Habits, to_turns

CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
    {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]
IN_WORDS = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
)
ASKS = Message(role="user", content="?")
CALLING = Message(role="assistant", content="", tool_calls=CALLS, reasoning="Hm.")
RESULTS = [
    Message(role="tool", content="12 °C", tool_call_id="c1"),
    Message(role="tool", content="noon", tool_call_id="c2"),
]


def turns(*messages: Message, **habits: Any) -> list[dict[str, Any]]:
    return to_turns(messages, Habits(**habits), generic.FORMAT)


def test_plain_turn_has_role_and_content_only() -> None:
    assert turns(ASKS) == [{"role": "user", "content": "?"}]


def test_arguments_are_objects_or_texts_as_the_template_has_them() -> None:
    [turn] = turns(CALLING, calls="objects", no_content=None)
    assert turn["content"] is None
    assert turn["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Köln"}}
    [turn] = turns(CALLING, calls="texts")
    assert turn["tool_calls"] == CALLS


def test_arguments_that_are_no_json_stay_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{oops"}}
    [turn] = turns(Message(role="assistant", content="", tool_calls=[call]), calls="objects")
    assert turn["tool_calls"] == [call]


def test_calls_become_words_as_the_model_writes_them() -> None:
    assert turns(CALLING) == [{"role": "assistant", "content": IN_WORDS}]
    said = Message(role="assistant", content="Let me see.", tool_calls=CALLS)
    assert turns(said)[0]["content"] == f"Let me see.\n{IN_WORDS}"


def test_result_names_its_call() -> None:
    assert turns(CALLING, *RESULTS, takes_results=True)[1:] == [
        {"role": "tool", "content": "12 °C", "tool_call_id": "c1", "name": "weather"},
        {"role": "tool", "content": "noon", "tool_call_id": "c2", "name": "time"},
    ]


def test_results_become_one_turn_of_the_users() -> None:
    words = "<tool_response>\n12 °C\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    assert turns(CALLING, *RESULTS)[1:] == [{"role": "user", "content": words}]
    assert turns(CALLING, *RESULTS, ASKS)[1:] == [{"role": "user", "content": f"{words}\n?"}]
    answer = Message(role="assistant", content="Cold.")
    assert [turn["role"] for turn in turns(CALLING, *RESULTS, answer, ASKS)] == [
        "assistant",
        "user",
        "assistant",
        "user",
    ]


def test_calls_are_told_one_by_one_to_a_template_that_takes_no_more() -> None:
    told = turns(ASKS, CALLING, *RESULTS, calls="objects", takes_several=False, takes_results=True)
    assert [turn["role"] for turn in told] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [turn["tool_call_id"] for turn in told if turn["role"] == "tool"] == ["c1", "c2"]


def test_ids_are_of_the_shape_that_a_template_demands() -> None:
    first, *results = to_turns([CALLING, *RESULTS], Habits(calls="objects", takes_results=True), mistral.FORMAT)
    ids = [call["id"] for call in first["tool_calls"]]
    assert ids == [turn["tool_call_id"] for turn in results]
    assert all(len(id) == 9 and id.isalnum() for id in ids)


def test_thoughts_are_for_templates_that_take_them() -> None:
    assert turns(CALLING, takes_reasoning=True)[0]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in turns(CALLING)[0]
