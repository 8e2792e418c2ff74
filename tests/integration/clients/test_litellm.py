"""`litellm` against a real server, as the provider that it has for servers of this kind."""

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
def request_(server: RunningServer) -> dict[str, Any]:
    """A question to the model."""
    where = {"api_base": f"{server.url}/v1", "api_key": "none", "num_retries": 0}
    return {"model": f"openai/{MODEL}", "messages": QUESTION, "temperature": 0, "max_tokens": 60, **where}


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
