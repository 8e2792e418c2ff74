"""`langchain-openai` against a real server. The small model is made to call: it would not always do so by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ..serving import MODEL, RunningServer

QUESTION = [HumanMessage("Tell me of a person.")]


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")  # the small model would go on and on with properties of its own

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


@tool
def weather(city: str) -> str:
    """How the weather is."""
    return f"It rains in {city}."


@pytest.fixture
def chat(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatOpenAI]:
    """The model, by a client that tries nothing twice and tells nobody."""
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    with httpx.Client(trust_env=False, timeout=60) as http:
        options: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "max_retries": 0, "http_client": http}
        options["extra_body"] = {"deterministic": True}  # streamed or not, the text is the same
        yield ChatOpenAI(model=MODEL, base_url=f"{server.url}/v1", api_key=SecretStr("none"), **options)


def test_answer_tells_its_usage(chat: ChatOpenAI) -> None:
    reply = chat.invoke(QUESTION)
    assert reply.content
    assert reply.response_metadata["model_name"] == MODEL
    assert reply.usage_metadata
    counts = reply.usage_metadata
    assert counts["total_tokens"] == counts["input_tokens"] + counts["output_tokens"]


def test_stream_is_the_answer_in_pieces_and_ends_with_the_usage(chat: ChatOpenAI) -> None:
    plain = chat.invoke(QUESTION)
    whole: AIMessageChunk | None = None
    count = 0
    for chunk in chat.stream(QUESTION, stream_usage=True):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
        count += 1
    assert whole
    assert count > 5
    assert whole.content == plain.content
    assert whole.usage_metadata
    assert plain.usage_metadata
    assert whole.usage_metadata["output_tokens"] == plain.usage_metadata["output_tokens"]


def test_structured_output_is_a_model_of_pydantic(chat: ChatOpenAI) -> None:
    assert isinstance(chat.with_structured_output(Person, method="json_schema").invoke(QUESTION), Person)


def test_structured_output_by_a_call_too(chat: ChatOpenAI) -> None:
    assert isinstance(chat.with_structured_output(Person, method="function_calling").invoke(QUESTION), Person)


def test_forced_call_is_run_and_its_result_goes_back(chat: ChatOpenAI) -> None:
    question = HumanMessage("How is the weather in Oslo?")
    call = chat.bind_tools([weather], tool_choice="weather").invoke([question])
    assert isinstance(call, AIMessage)
    assert [one["name"] for one in call.tool_calls] == ["weather"]
    result = weather.invoke(call.tool_calls[0])
    assert isinstance(result, ToolMessage)
    answer = chat.bind_tools([weather], tool_choice="none").invoke([question, call, result])
    assert answer.content


def test_streamed_call_is_the_plain_one(chat: ChatOpenAI) -> None:
    forced = chat.bind_tools([weather], tool_choice="required")
    plain = forced.invoke(QUESTION)
    whole: Any = None
    for chunk in forced.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(plain, AIMessage)
    assert [one["args"] for one in whole.tool_calls] == [one["args"] for one in plain.tool_calls] != []
