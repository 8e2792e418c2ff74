"""`litellm` against a real server, as the provider that it has for servers of this kind. Calls are forced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from ..serving import MODEL, RunningServer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*fields' attribute:DeprecationWarning"),
]

QUESTION = [{"role": "user", "content": "Tell me of a person."}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package, imported so that it asks nobody what models cost; on a loop that, unlike its own, is closed."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield litellm
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def request_(server: RunningServer) -> Iterator[dict[str, Any]]:
    """A question to the model."""
    with server.sdk() as sdk:  # without one of ours, litellm keeps a connection open for good
        where = {"api_base": f"{server.url}/v1", "api_key": "none", "num_retries": 0, "client": sdk}
        where["extra_body"] = {"deterministic": True}  # streamed or not, the text is the same
        yield {"model": f"openai/{MODEL}", "messages": QUESTION, "temperature": 0, "max_tokens": 60, **where}


def test_answer_tells_its_usage(litellm: Any, request_: dict[str, Any]) -> None:
    reply = litellm.completion(**request_)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_stream_is_the_answer_in_pieces(litellm: Any, request_: dict[str, Any]) -> None:
    plain = litellm.completion(**request_)
    chunks = list(litellm.completion(**request_, stream=True, stream_options={"include_usage": True}))
    whole = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    assert len(chunks) > 5
    assert whole.choices[0].message.content == plain.choices[0].message.content
    assert whole.usage.completion_tokens == plain.usage.completion_tokens


def test_schema_is_kept(litellm: Any, request_: dict[str, Any]) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    reply = litellm.completion(**request_, response_format=schema)
    jsonschema.validate(json.loads(reply.choices[0].message.content), PERSON)


def test_error_is_of_the_kind_that_callers_catch(litellm: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(litellm.exceptions.NotFoundError, match="gpt-4o"):
        litellm.completion(**{**request_, "model": "openai/gpt-4o"})
    with pytest.raises(litellm.exceptions.BadRequestError, match="temperature"):
        litellm.completion(**{**request_, "temperature": 3})


def test_forced_call_keeps_the_schema_streamed_or_not(litellm: Any, request_: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "remember", "parameters": PERSON}}
    forced = {**request_, "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "remember"}}}
    plain = litellm.completion(**forced)
    streamed = litellm.stream_chunk_builder(list(litellm.completion(**forced, stream=True)))
    for reply in (plain, streamed):
        [call] = reply.choices[0].message.tool_calls
        assert call.function.name == "remember"
        jsonschema.validate(json.loads(call.function.arguments), PERSON)
