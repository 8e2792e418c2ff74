"""`pydantic-ai` against a real server. It forces the call that an output is, so that the small model makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_ai import Agent, ModelSettings, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from ..serving import MODEL, RunningServer

SETTINGS = ModelSettings(temperature=0, max_tokens=60, extra_body={"deterministic": True})


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")  # the small model would go on and on with properties of its own

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


@pytest.fixture
async def sdk(server: RunningServer) -> AsyncIterator[AsyncOpenAI]:
    async with server.async_sdk() as made:
        yield made


@pytest.fixture
def model(sdk: AsyncOpenAI) -> OpenAIChatModel:
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=sdk))


async def test_agent_answers_and_counts(model: OpenAIChatModel) -> None:
    result = await Agent(model, instructions="Be brief.").run("Say hello.", model_settings=SETTINGS)
    assert result.output
    assert result.usage.output_tokens > 0


async def test_stream_ends_as_the_answer(model: OpenAIChatModel) -> None:
    agent = Agent(model)
    plain = await agent.run("Name three colours.", model_settings=SETTINGS)
    async with agent.run_stream("Name three colours.", model_settings=SETTINGS) as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 5
    assert "".join(pieces) == plain.output


async def test_output_that_the_server_enforces(model: OpenAIChatModel) -> None:
    result = await Agent(model, output_type=NativeOutput(Person)).run("Tell me of a person.", model_settings=SETTINGS)
    assert isinstance(result.output, Person)


async def test_output_by_a_call(model: OpenAIChatModel) -> None:
    result = await Agent(model, output_type=ToolOutput(Person)).run("Tell me of a person.", model_settings=SETTINGS)
    assert isinstance(result.output, Person)


async def test_streamed_output_by_a_call(model: OpenAIChatModel) -> None:
    agent = Agent(model, output_type=ToolOutput(Person))
    async with agent.run_stream("Tell me of a person.", model_settings=SETTINGS) as run:
        assert isinstance(await run.get_output(), Person)


async def test_responses_work_too(sdk: AsyncOpenAI) -> None:
    model = OpenAIResponsesModel(MODEL, provider=OpenAIProvider(openai_client=sdk))
    result = await Agent(model, output_type=NativeOutput(Person)).run("Tell me of a person.", model_settings=SETTINGS)
    assert isinstance(result.output, Person)


async def test_refusal_is_an_error_with_our_words(model: OpenAIChatModel) -> None:
    with pytest.raises(ModelHTTPError, match="temperature") as caught:
        await Agent(model).run("Hi", model_settings=ModelSettings(temperature=3))
    assert caught.value.status_code == 400
