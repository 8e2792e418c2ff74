"""`langchain-openai` against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr

from ..serving import MODEL, RunningServer

QUESTION = [HumanMessage("Tell me of a person.")]


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


@pytest.fixture
def chat(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatOpenAI]:
    """The model, by a client that tries nothing twice and tells nobody."""
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    with httpx.Client(trust_env=False, timeout=60) as http:
        options: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "max_retries": 0, "http_client": http}
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
