"""Conversations beyond the context: refused with numbers, or shortened by whole turns and told so; and their count."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from .serving import CTX, MODEL

CHAT = "/v1/chat/completions"
COUNT = f"{CHAT}/input_tokens"
LONG = "All of this has been said before, and it will be said again. " * 8
SYSTEM = {"role": "system", "content": "You say little."}
QUESTION = {"role": "user", "content": "What did I ask?"}


def turns(count: int) -> list[dict[str, Any]]:
    return [{"role": role, "content": f"{number}: {LONG}"} for number in range(count) for role in ("user", "assistant")]


def ask(http: httpx.Client, messages: list[dict[str, Any]], path: str = CHAT, **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": messages, "max_tokens": 2, "temperature": 0, **fields}
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_conversation_that_is_too_long_is_refused_unless_it_may_be_shortened(http: httpx.Client) -> None:
    reply = http.post(CHAT, json={"model": MODEL, "messages": [SYSTEM, *turns(8), QUESTION]})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "context_length_exceeded")
    assert str(CTX) in error["message"]


def test_oldest_turns_go_and_the_reply_says_which(http: httpx.Client) -> None:
    messages = [SYSTEM, *turns(8), QUESTION]
    reply = ask(http, messages, truncation="auto")
    dropped = reply["truncation"]["dropped_messages"]
    assert dropped == list(range(1, len(dropped) + 1))
    assert len(dropped) % 2 == 0
    left = [message for place, message in enumerate(messages) if place not in dropped]
    same = ask(http, left)
    assert reply["choices"][0]["message"] == same["choices"][0]["message"]
    assert reply["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"] <= CTX - 2
    # One turn more would not have fitted.
    place = dropped[-2]
    fuller = [SYSTEM, *messages[place:]]
    assert ask(http, fuller, COUNT)["input_tokens"] > CTX - 2
    dropped_tokens = reply["truncation"]["dropped_tokens"]
    assert dropped_tokens == ask(http, messages, COUNT)["input_tokens"] - same["usage"]["prompt_tokens"]


def test_room_is_left_for_the_answer_that_was_asked_for(http: httpx.Client) -> None:
    messages = [SYSTEM, *turns(8), QUESTION]
    for wanted, room in ((2, 2), (100, 100), (5000, CTX // 4), (None, CTX // 4)):
        count = ask(http, messages, COUNT, truncation="auto", max_tokens=wanted)
        assert count["input_tokens"] <= CTX - room


def test_what_fits_stays_whole_and_that_is_said_too(http: httpx.Client) -> None:
    reply = ask(http, [SYSTEM, QUESTION], truncation="auto")
    assert reply["truncation"] == {"dropped_messages": [], "dropped_tokens": 0}
    for none in (None, "disabled"):
        assert "truncation" not in ask(http, [SYSTEM, QUESTION], truncation=none)


def test_stream_says_it_in_its_first_chunk(client: openai.OpenAI) -> None:
    messages: Any = [SYSTEM, *turns(8), QUESTION]
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=messages,
            max_tokens=2,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"truncation": "auto"},
        )
    )
    told: list[Any] = [(chunk.model_extra or {}).get("truncation") for chunk in chunks]
    assert told[0]["dropped_messages"][0] == 1
    assert told[0]["dropped_tokens"] > 0
    assert not any(told[1:])


def test_last_turn_that_is_too_long_is_refused_with_numbers(http: httpx.Client) -> None:
    messages = [SYSTEM, *turns(2), {"role": "user", "content": LONG * 20}]
    reply = http.post(CHAT, json={"model": MODEL, "messages": messages, "truncation": "auto"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    whole = ask(http, messages, COUNT)["input_tokens"]
    least = ask(http, [messages[0], messages[-1]], COUNT)["input_tokens"]
    assert f"has {whole} tokens, {least} of them" in error["message"]
    assert f"{CTX - CTX // 4} fit" in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": [SYSTEM, QUESTION, {"role": "assistant", "content": "You"}], "continue_final_message": True},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
        {"stream": True},
    ],
    ids=["plain", "continued", "tools", "streamed"],
)
def test_count_is_that_of_the_usage(http: httpx.Client, fields: dict[str, Any]) -> None:
    body = {"messages": [SYSTEM, QUESTION], **fields}
    count = http.post(COUNT, json={"model": MODEL, **body}).json()
    usage = ask(http, **{**body, "stream": False})["usage"]
    assert count == {
        "object": "chat.completion.input_tokens",
        "model": MODEL,
        "input_tokens": usage["prompt_tokens"],
    }


def test_count_is_refused_as_the_chat_would_be(http: httpx.Client) -> None:
    reply = http.post(COUNT, json={"model": MODEL, "messages": [QUESTION], "audio": {}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "audio")
