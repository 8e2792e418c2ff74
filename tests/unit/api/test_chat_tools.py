"""Calls and thoughts over HTTP, by the official client, with a model that does as it is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from localchat.chat.model import Manner
from localchat.chat.template import ChatTemplate
from unit.pool.conftest import open_house  # noqa: F401 - a fixture
from unit.pool.house import Script

from .talking import TEMPLATE, talking

Visit = Callable[..., contextlib.AbstractAsyncContextManager[openai.AsyncOpenAI]]

THINKING = TEMPLATE + "{# <think> #}{{ '' if enable_thinking is defined }}"
WEATHER = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS: Any = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "get_time"}}]
PARIS = '{"city": "Paris"}'
CALL = f'<tool_call>{{"name": "get_weather", "arguments": {PARIS}}}</tool_call>'


@pytest.fixture
def visit(open_house: Any, tmp_path: Path) -> Visit:  # noqa: F811
    """The official client of a server."""

    @contextlib.asynccontextmanager
    async def enter(template: str = TEMPLATE) -> AsyncIterator[openai.AsyncOpenAI]:
        script = Script(manner=Manner(template=ChatTemplate(template)))
        async with talking(open_house, tmp_path, script=script) as there, there.client() as client:
            http: Any = client
            yield openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="x", http_client=http, max_retries=0)

    return enter


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "a", "messages": [{"role": "user", "content": f"say {text}"}], **more}


def function_of(call: Any) -> tuple[str, str]:
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.id.startswith("call_")
    return call.function.name, call.function.arguments


async def test_call_that_the_model_makes_unasked_is_a_call(visit: Visit) -> None:
    async with visit() as client:
        reply = await client.chat.completions.create(**asked(f"One moment.\n{CALL}", tools=TOOLS))
        choice = reply.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "One moment."
        assert list(map(function_of, choice.message.tool_calls or ())) == [("get_weather", PARIS)]


async def test_message_that_only_calls_has_no_content(visit: Visit) -> None:
    async with visit() as client:
        reply = await client.chat.completions.create(**asked(f"{CALL}{CALL}", tools=TOOLS, tool_choice="auto"))
        message = reply.choices[0].message
        assert message.content is None
        assert len({call.id for call in message.tool_calls or ()}) == 2


async def test_streamed_calls_add_up_to_the_plain_ones(visit: Visit) -> None:
    async with visit() as client:
        asks = asked(f"Look: {CALL}{CALL}", tools=TOOLS)
        plain = (await client.chat.completions.create(**asks)).choices[0]
        async with client.chat.completions.stream(**asks) as stream:
            kinds = {event.type async for event in stream}
            streamed = (await stream.get_final_completion()).choices[0]
        assert {"content.delta", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
        assert streamed.finish_reason == plain.finish_reason == "tool_calls"
        assert streamed.message.content == plain.message.content
        calls = list(map(function_of, plain.message.tool_calls or ()))
        assert [(call.function.name, call.function.arguments) for call in streamed.message.tool_calls or ()] == calls


async def test_every_chunk_of_a_call_has_an_index_and_only_the_first_an_id(visit: Visit) -> None:
    async with visit() as client:
        parts: list[Any] = []
        async for chunk in await client.chat.completions.create(**asked(CALL, tools=TOOLS), stream=True):
            assert chunk.choices[0].finish_reason in (None, "tool_calls")
            parts += chunk.choices[0].delta.tool_calls or []
        assert {part.index for part in parts} == {0}
        assert [bool(part.id) for part in parts] == [True] + [False] * (len(parts) - 1)
        assert "".join(part.function.arguments or "" for part in parts if part.function) == PARIS


async def test_what_is_no_call_is_content_and_never_lost(visit: Visit) -> None:
    unknown = CALL.replace("get_weather", "sing")
    texts = [("auto", unknown), ("auto", "<tool_call>get_weather Paris</tool_call>"), ("none", CALL)]
    async with visit() as client:
        for choice, text in texts:
            reply = await client.chat.completions.create(**asked(text, tools=TOOLS, tool_choice=choice))
            assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (text, "stop")
            assert reply.choices[0].message.tool_calls is None


async def test_functions_are_answered_in_their_older_form(visit: Visit) -> None:
    async with visit() as client:
        asks = asked(CALL, functions=[WEATHER])
        choice = (await client.chat.completions.create(**asks)).choices[0]
        assert choice.finish_reason == "function_call"
        assert choice.message.function_call is not None
        assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("get_weather", PARIS)
        assert choice.message.tool_calls is None
        parts = [chunk.choices[0].delta async for chunk in await client.chat.completions.create(**asks, stream=True)]
        calls = [part.function_call for part in parts if part.function_call]
        assert [call.name for call in calls if call.name] == ["get_weather"]
        assert "".join(call.arguments or "" for call in calls) == PARIS


async def test_calls_and_results_go_back_to_the_model(visit: Visit) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": PARIS}}
    older = [
        {"role": "assistant", "content": None, "function_call": call["function"]},
        {"role": "function", "name": "get_weather", "content": "12 °C"},
    ]
    newer = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 °C"},
    ]
    async with visit() as client:
        said = []
        for turns in (older, newer):
            messages: Any = [{"role": "user", "content": "?"}, *turns, {"role": "user", "content": "recite"}]
            reply = await client.chat.completions.create(model="a", messages=messages)
            said.append(reply.choices[0].message.content)
        assert said[0] == said[1]
        assert said[0] is not None
        assert f'"arguments": {PARIS}' in said[0]
        assert "12 °C" in said[0]


async def test_tools_are_told_to_the_model(visit: Visit) -> None:
    async with visit() as client:
        messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "recite"}]
        reply = await client.chat.completions.create(model="a", messages=messages, tools=TOOLS)
        said = reply.choices[0].message.content or ""
        assert said.startswith("[user: Be brief.\n\nYou can call tools.")
        assert json.dumps({"name": "get_time", "description": ""})[:-1] in said


async def test_thoughts_are_told_from_the_answer(visit: Visit) -> None:
    async with visit(THINKING) as client:
        asks = asked(f"<think>\nHm, {CALL}\n</think>\nYes.{CALL}", tools=TOOLS)
        message = (await client.chat.completions.create(**asks)).choices[0].message
        assert message.model_extra == {"reasoning_content": f"Hm, {CALL}"}
        assert message.content == "Yes."
        assert len(message.tool_calls or ()) == 1
        parts = [chunk.choices[0].delta async for chunk in await client.chat.completions.create(**asks, stream=True)]
        thoughts = [(part.model_extra or {}).get("reasoning_content", "") for part in parts]
        assert "".join(thoughts) == f"Hm, {CALL}"
        assert "".join(part.content or "" for part in parts) == "Yes."


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type", "custom tools are not supported"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "web_search tools are not supported"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", ""),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools", "two tools have the name 'get_weather'"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
            'must be a schema of type "object"',
        ),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools to call"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "sing"}}},
            "tool_choice",
            "names 'sing', which is none of the tools",
        ),
        ({"tools": TOOLS, "functions": [WEATHER]}, "functions", "send one of them"),
        ({"tools": TOOLS, "extra_body": {"regex": "a+"}}, "regex", "regex and tools cannot hold at once"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "knows no degrees"),
        ({"extra_body": {"reasoning_budget": 5}}, "reasoning_budget", "a does not think"),
        ({"extra_body": {"chat_template_kwargs": {"mood": 1}}}, "chat_template_kwargs", "mood"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    visit: Visit, fields: dict[str, Any], param: str, words: str
) -> None:
    async with visit() as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(**asked("x", **fields))
        assert raised.value.param == param
        assert words in raised.value.message


async def test_what_asks_for_nothing_is_harmless(visit: Visit) -> None:
    async with visit() as client:
        fields: Any = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "reasoning_effort": "none"}
        reply = await client.chat.completions.create(**asked("x", **fields))
        assert reply.choices[0].message.content == "x"
