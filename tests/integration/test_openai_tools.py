"""Calls that are forced, with the official client on real weights: the grammar sees to what the model would not."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from .serving import MODEL, SAME, RunningServer

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TIME = {
    "type": "object",
    "properties": {"zone": {"type": "string", "pattern": "^UTC[+-][0-9]$"}},
    "required": ["zone"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "get_time": TIME}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()
]
ASKS: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the weather in Paris, and what time is it?"}],
    "max_tokens": 400,
    "tools": TOOLS,
}
NAMED: Any = {"type": "function", "function": {"name": "get_time"}}


def checked(calls: Any) -> list[str]:
    """The names of calls, whose arguments must keep their schemas."""
    names = []
    for call in calls or ():
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
        names.append(call.function.name)
    return names


@pytest.mark.parametrize("temperature", [0, 1.2])
def test_named_function_is_called(client: openai.OpenAI, temperature: float) -> None:
    reply = client.chat.completions.create(**ASKS, tool_choice=NAMED, temperature=temperature, seed=1)
    choice = reply.choices[0]
    assert checked(choice.message.tool_calls) == ["get_time"]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")


def test_required_call_is_one_where_calls_are_not_parallel(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        **ASKS, tool_choice="required", parallel_tool_calls=False, n=4, temperature=1, seed=2, logprobs=True
    )
    for choice in reply.choices:
        assert len(checked(choice.message.tool_calls)) == 1
        assert choice.finish_reason == "tool_calls"
        assert choice.logprobs is not None
        assert choice.logprobs.content


def test_required_calls_may_be_several(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKS, tool_choice="required", temperature=0)
    assert checked(reply.choices[0].message.tool_calls)


def test_only_allowed_tools_are_called(client: openai.OpenAI) -> None:
    allowed: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    reply = client.chat.completions.create(**ASKS, tool_choice=allowed, parallel_tool_calls=False, temperature=0)
    assert checked(reply.choices[0].message.tool_calls) == ["get_time"]


def test_streamed_call_is_the_plain_one(client: openai.OpenAI) -> None:
    asks: Any = {**ASKS, "tool_choice": NAMED, "temperature": 0, **SAME}
    plain = client.chat.completions.create(**asks).choices[0].message
    with client.chat.completions.stream(**asks) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_completion().choices[0].message
    assert events.count("tool_calls.function.arguments.delta") > 2
    assert checked(plain.tool_calls) == ["get_time"]
    assert [call.function.arguments for call in streamed.tool_calls or ()] == [
        call.function.arguments for call in plain.tool_calls or () if call.type == "function"
    ]


def test_arguments_are_parsed_into_models(client: openai.OpenAI) -> None:
    class GetWeather(BaseModel):
        city: str
        days: int

    tool: Any = openai.pydantic_function_tool(GetWeather)
    reply = client.chat.completions.parse(
        **{**ASKS, "tools": [tool]}, tool_choice="required", parallel_tool_calls=False, temperature=0
    )
    [call] = list(reply.choices[0].message.tool_calls or [])
    assert isinstance(call.function.parsed_arguments, GetWeather)


def test_result_of_a_call_goes_into_the_answer(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(**ASKS, tool_choice=NAMED, temperature=0).choices[0].message
    [call] = list(first.tool_calls or [])
    messages: Any = [
        *ASKS["messages"],
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "It is noon."},
    ]
    last = client.chat.completions.create(**{**ASKS, "messages": messages, "max_tokens": 8}, temperature=0)
    assert last.choices[0].message.content


def test_forced_function_of_the_older_form(client: openai.OpenAI) -> None:
    asks: Any = {name: value for name, value in ASKS.items() if name != "tools"}
    functions: Any = [tool["function"] for tool in TOOLS]
    reply = client.chat.completions.create(
        **asks, functions=functions, function_call={"name": "get_time"}, temperature=0
    )
    call = reply.choices[0].message.function_call
    assert call is not None
    jsonschema.validate(json.loads(call.arguments), TIME)
    assert (call.name, reply.choices[0].finish_reason) == ("get_time", "function_call")


def test_call_cut_by_length_says_so(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**{**ASKS, "max_tokens": 12}, tool_choice=NAMED, temperature=0)
    assert reply.choices[0].finish_reason == "length"


async def test_forced_call_with_the_asynchronous_client(server: RunningServer) -> None:
    async with server.async_sdk() as client:
        parts: list[Any] = []
        stream = await client.chat.completions.create(**ASKS, tool_choice=NAMED, temperature=0, stream=True)
        async for chunk in stream:
            parts += chunk.choices[0].delta.tool_calls or []
    arguments = "".join(part.function.arguments for part in parts)
    jsonschema.validate(json.loads(arguments), TIME)
