"""Responses and stored chat completions by the official `openai` package for Python, against a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseOutputMessage, ResponseOutputText, ResponseStreamEvent
from pydantic import BaseModel

from .conftest import Serve
from .serving import MODEL, SAME, RunningServer, run, until

GREEDY: dict[str, Any] = {
    "model": MODEL,
    "input": "Name three colours of the rainbow.",
    "temperature": 0,
    "max_output_tokens": 24,
    **SAME,
}
ENDLESS: dict[str, Any] = {"model": MODEL, "input": "Tell me a story.", "extra_body": {"ignore_eos": True}}


class Colour(BaseModel):
    name: Literal["red", "green", "blue"]
    is_warm: bool


def events_of(client: openai.OpenAI, **request: Any) -> list[ResponseStreamEvent]:
    return list(client.responses.create(stream=True, **request))


def without_ids(response: Response) -> Any:
    """What two equal answers have in common."""
    return [{**item.to_dict(), "id": None} for item in response.output]


def chat_text(client: openai.OpenAI, messages: Any) -> str:
    reply = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=24, **SAME)
    return str(reply.choices[0].message.content)


# Answers


def test_response_is_what_chat_would_say(client: openai.OpenAI) -> None:
    response = client.responses.create(**GREEDY, instructions="Answer in one line.")
    messages = [{"role": "system", "content": "Answer in one line."}, {"role": "user", "content": GREEDY["input"]}]
    assert response.output_text == chat_text(client, messages)
    Response.model_validate(response.model_dump())


def test_events_end_in_the_plain_response(client: openai.OpenAI) -> None:
    plain = client.responses.create(**GREEDY)
    *events, last = events_of(client, **GREEDY)
    assert [event.sequence_number for event in [*events, last]] == list(range(len(events) + 1))
    assert last.type == f"response.{plain.status}"
    assert without_ids(last.response) == without_ids(plain)  # type: ignore[union-attr]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == plain.output_text


def test_stream_helper_gathers_the_same(client: openai.OpenAI) -> None:
    request = {**GREEDY, "input": "Hi", "max_output_tokens": 100}
    with client.responses.stream(**request) as stream:
        texts = [event.text for event in stream if event.type == "response.output_text.done"]
        final = stream.get_final_response()
    assert final.status == "completed"
    assert texts == [final.output_text] == [client.responses.create(**request).output_text]


async def test_async_client_gets_the_same(server: RunningServer, client: openai.OpenAI) -> None:
    plain = client.responses.create(**GREEDY)
    async with server.async_sdk() as asynchronous:
        assert without_ids(await asynchronous.responses.create(**GREEDY)) == without_ids(plain)
        stream = await asynchronous.responses.create(**GREEDY, stream=True)
        events = [event async for event in stream]
        assert without_ids(events[-1].response) == without_ids(plain)
        assert (await asynchronous.responses.retrieve(plain.id)).to_dict() == plain.to_dict()
        items = [item async for item in asynchronous.responses.input_items.list(plain.id)]
        assert len(items) == 1
        async with asynchronous.responses.stream(**{**GREEDY, "input": "Hi", "max_output_tokens": 100}) as helper:
            assert (await helper.get_final_response()).output_text
        await asynchronous.responses.delete(plain.id)


def test_parsed_response_is_an_object_of_the_schema(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(
        model=MODEL, input="What colour is the sea?", text_format=Colour, max_output_tokens=60, temperature=0
    )
    assert isinstance(parsed.output_parsed, Colour)
    with client.responses.stream(
        model=MODEL, input="What colour is fire?", text_format=Colour, temperature=0
    ) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Colour)


def test_schema_that_cannot_be_kept_is_refused_before_anything_runs(client: openai.OpenAI) -> None:
    format = {"type": "json_schema", "name": "a", "schema": {"type": "object", "propertyNames": {"pattern": "("}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**GREEDY, text={"format": format})  # type: ignore[call-overload]
    assert caught.value.param == "text.format"


def test_logprobs_come_with_the_text(client: openai.OpenAI) -> None:
    response = client.responses.create(**GREEDY, include=["message.output_text.logprobs"], top_logprobs=2)
    [message] = response.output
    assert isinstance(message, ResponseOutputMessage)
    [part] = message.content
    assert isinstance(part, ResponseOutputText)
    assert part.logprobs
    assert b"".join(bytes(entry.bytes) for entry in part.logprobs).decode() == part.text
    assert all(len(entry.top_logprobs) == 2 for entry in part.logprobs)
    events = events_of(client, **GREEDY, include=["message.output_text.logprobs"])
    streamed = [
        entry.token for event in events if event.type == "response.output_text.delta" for entry in event.logprobs
    ]
    assert streamed == [entry.token for entry in part.logprobs]


def test_cut_response_is_incomplete_and_says_why(client: openai.OpenAI) -> None:
    response = client.responses.create(**{**GREEDY, "max_output_tokens": 3})
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage
    assert response.usage.output_tokens == 3


def test_usage_counts_what_input_tokens_counts(client: openai.OpenAI) -> None:
    counted = client.responses.input_tokens.count(model=MODEL, input=GREEDY["input"], instructions="Be kind.")
    response = client.responses.create(**GREEDY, instructions="Be kind.")
    assert response.usage
    assert response.usage.input_tokens == counted.input_tokens


def test_input_that_exceeds_the_context_is_refused_with_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="word " * 2000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input"


def test_field_that_has_no_effect_is_listed(client: openai.OpenAI) -> None:
    reply = client.responses.with_raw_response.create(**{**GREEDY, "max_output_tokens": 1}, user="u")
    assert reply.headers["x-localchat-ignored"] == "user"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "web_search"}]),
        ("tool_choice", {"type": "mcp", "server_label": "a"}),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("include", ["file_search_call.results"]),
        ("moderation", {"model": "omni"}),
    ],
)
def test_what_is_not_done_is_refused_by_name(client: openai.OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**GREEDY, **{field: value})
    assert caught.value.param
    assert caught.value.param.startswith(field)


# Tools: a small model cannot be trusted to call one by itself, so that it is made to

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "input": "What is the weather in Rome?",
    "tools": [WEATHER],
    "temperature": 0,
    "max_output_tokens": 80,
    **SAME,
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_forced_call_keeps_its_schema(client: openai.OpenAI, choice: Any) -> None:
    response = client.responses.create(**ASKED, tool_choice=choice)
    calls = [item for item in response.output if item.type == "function_call"]
    assert calls
    for call in calls:
        assert call.name == "get_weather"
        assert json.loads(call.arguments)["city"] in ("Paris", "Rome")


def test_forced_call_is_streamed_as_the_sdk_gathers_it(client: openai.OpenAI) -> None:
    plain = client.responses.create(**ASKED, tool_choice="required", parallel_tool_calls=False)
    with client.responses.stream(**ASKED, tool_choice="required", parallel_tool_calls=False) as stream:
        done = [event.arguments for event in stream if event.type == "response.function_call_arguments.done"]
        final = stream.get_final_response()
    [call] = [item for item in final.output if item.type == "function_call"]
    assert done == [call.arguments]
    assert call.arguments == next(item.arguments for item in plain.output if item.type == "function_call")


def test_result_of_a_call_is_answered(client: openai.OpenAI) -> None:
    first = client.responses.create(**ASKED, tool_choice="required", parallel_tool_calls=False)
    [call] = [item for item in first.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It is sunny, 25 degrees."}
    answer = client.responses.create(
        model=MODEL, input=[result], previous_response_id=first.id, temperature=0, max_output_tokens=40
    )
    assert answer.output_text


# Conversations, and what is kept


def test_conversation_is_as_if_it_were_sent_whole(client: openai.OpenAI) -> None:
    first = client.responses.create(**GREEDY)
    second = client.responses.create(**{**GREEDY, "input": "And one more?"}, previous_response_id=first.id)
    messages = [
        {"role": "user", "content": GREEDY["input"]},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And one more?"},
    ]
    assert second.output_text == chat_text(client, messages)


def test_output_can_be_sent_back_as_input(client: openai.OpenAI) -> None:
    first = client.responses.create(**GREEDY)
    items: list[Any] = [{"role": "user", "content": GREEDY["input"]}]
    items += [item.to_dict() for item in first.output]
    items.append({"role": "user", "content": "And one more?"})
    again = client.responses.create(**{**GREEDY, "input": items})
    chained = client.responses.create(**{**GREEDY, "input": "And one more?"}, previous_response_id=first.id)
    assert again.output_text == chained.output_text


def test_kept_response_is_retrieved_listed_and_deleted(client: openai.OpenAI) -> None:
    sent = client.responses.create(**GREEDY, metadata={"k": "v"})
    assert client.responses.retrieve(sent.id).to_dict() == sent.to_dict()
    [item] = client.responses.input_items.list(sent.id)
    assert item.to_dict()["content"] == [{"type": "input_text", "text": GREEDY["input"]}]
    client.responses.delete(sent.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(sent.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**GREEDY, previous_response_id=sent.id)
    assert caught.value.code == "previous_response_not_found"


def test_input_items_are_paged_by_the_sdk(client: openai.OpenAI) -> None:
    texts = [str(number) for number in range(7)]
    sent = client.responses.create(**{**GREEDY, "input": [{"role": "user", "content": text} for text in texts]})
    for order, wanted in (("asc", texts), ("desc", texts[::-1])):
        items = client.responses.input_items.list(sent.id, limit=3, order=order)  # type: ignore[arg-type]
        assert [item.to_dict()["content"][0]["text"] for item in items] == wanted  # type: ignore[index]


def test_client_that_closes_its_stream_leaves_a_cancelled_response(client: openai.OpenAI) -> None:
    stream = client.responses.create(stream=True, **ENDLESS)
    id = ""
    for event in stream:
        if event.type == "response.created":
            id = event.response.id
        if event.type == "response.output_text.delta":
            break
    stream.close()

    def kept() -> Response | None:
        try:
            return client.responses.retrieve(id)
        except openai.NotFoundError:
            return None

    left = until(kept, what="the response that was left")
    assert left.status == "cancelled"
    assert left.output_text


# In the background


def test_background_response_is_polled_to_its_end(client: openai.OpenAI) -> None:
    run = client.responses.create(**GREEDY, background=True)
    assert run.status == "queued"
    seen = set()

    def ended() -> Response | None:
        now = client.responses.retrieve(run.id)
        seen.add(now.status)
        return now if now.status not in ("queued", "in_progress") else None

    done = until(ended, what="the end")
    assert done.output_text == client.responses.create(**GREEDY).output_text
    assert seen <= {"queued", "in_progress", done.status}


def test_background_response_is_cancelled(client: openai.OpenAI) -> None:
    run = client.responses.create(**ENDLESS, background=True)
    until(lambda: client.responses.retrieve(run.id).output_text, what="some text")
    assert client.responses.cancel(run.id).status == "cancelled"
    assert client.responses.cancel(run.id).status == "cancelled"
    kept = client.responses.retrieve(run.id)
    assert (kept.status, bool(kept.output_text)) == ("cancelled", True)


def test_background_stream_is_taken_up_again_where_it_was_left(client: openai.OpenAI) -> None:
    stream = client.responses.create(**GREEDY, background=True, stream=True)
    first = [next(stream) for _ in range(3)]
    stream.close()
    id = first[0].response.id
    rest = list(client.responses.retrieve(id, stream=True, starting_after=first[-1].sequence_number))
    events = [*first, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert without_ids(events[-1].response) == without_ids(client.responses.create(**GREEDY))


# Stored chat completions


def test_stored_chat_completions_by_every_method_of_the_sdk(fresh_server: RunningServer) -> None:
    with fresh_server.sdk() as client:
        messages: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        made = [
            client.chat.completions.create(
                model=MODEL, messages=messages, max_tokens=4, store=True, metadata={"n": str(n), "all": "yes"}
            )
            for n in range(3)
        ]
        completions = client.chat.completions
        assert [one.id for one in completions.list(limit=2)] == [one.id for one in made]
        assert [one.id for one in completions.list(order="desc")] == [one.id for one in made[::-1]]
        assert [one.id for one in completions.list(metadata={"n": "1", "all": "yes"})] == [made[1].id]
        assert [one.id for one in completions.list(model=MODEL, after=made[0].id)] == [made[1].id, made[2].id]
        assert list(completions.list(model="another")) == []
        found = completions.retrieve(made[0].id)
        assert found.choices == made[0].choices
        assert found.to_dict()["metadata"] == {"n": "0", "all": "yes"}
        assert completions.update(made[0].id, metadata={"new": "v"}).to_dict()["metadata"] == {"new": "v"}
        assert [one.content for one in completions.messages.list(made[0].id, limit=1)] == ["Be kind.", "Hi"]
        assert completions.delete(made[0].id).deleted
        with pytest.raises(openai.NotFoundError):
            completions.retrieve(made[0].id)
        streamed = list(completions.create(model=MODEL, messages=messages, max_tokens=4, store=True, stream=True))
        whole = completions.retrieve(streamed[0].id)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
        assert whole.choices[0].message.content == text


# The file


def test_what_is_kept_outlives_the_server(serve_with: Serve, tmp_path: Path) -> None:
    store = {"LOCALCHAT_STORE": str(tmp_path / "kept.sqlite3")}
    with (first := serve_with(env=store)).sdk() as client:
        sent = client.responses.create(**GREEDY)
        lost = client.responses.create(**ENDLESS, background=True)
        until(lambda: client.responses.retrieve(lost.id).output_text, what="some text")
        first.process.kill()
        first.wait()
    with serve_with(env=store).sdk() as client:
        assert client.responses.retrieve(sent.id).to_dict() == sent.to_dict()
        assert client.responses.create(**GREEDY, previous_response_id=sent.id).output_text
        failed = client.responses.retrieve(lost.id)
        assert failed.status == "failed"
        assert failed.error


def test_server_that_stops_finishes_or_fails_background_responses(serve_with: Serve, tmp_path: Path) -> None:
    import signal

    store = {"LOCALCHAT_STORE": str(tmp_path / "kept.sqlite3")}
    first = serve_with("--drain-seconds", "0.5", env=store)
    with first.sdk() as client:
        endless = client.responses.create(**ENDLESS, background=True)
        until(lambda: client.responses.retrieve(endless.id).output_text, what="some text")
    first.process.send_signal(signal.SIGINT)
    assert first.wait() == 0
    with serve_with(env=store).sdk() as client:
        failed = client.responses.retrieve(endless.id)
        assert failed.status == "failed"
        assert failed.output_text


def test_keys_do_not_see_each_others_responses(serve_with: Serve) -> None:
    server = serve_with("--api-key", "ann", "--api-key", "bob")
    with server.sdk(api_key="ann") as ann, server.sdk(api_key="bob") as bob:
        sent = ann.responses.create(**GREEDY)
        assert ann.responses.retrieve(sent.id).id == sent.id
        with pytest.raises(openai.NotFoundError):
            bob.responses.retrieve(sent.id)
        with pytest.raises(openai.BadRequestError):
            bob.responses.create(**GREEDY, previous_response_id=sent.id)


def test_damaged_store_ends_the_start_with_one_line(tmp_path: Path, models_dir: Path) -> None:
    file = tmp_path / "store.sqlite3"
    file.write_bytes(b"no database" * 1000)
    ended = run(tmp_path, "serve", "--port", "0", "--models-dir", models_dir, "--store", file)
    assert ended.returncode != 0
    assert "--store off" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert file.read_bytes() == b"no database" * 1000


def test_raw_stream_has_names_and_a_last_word(http: httpx.Client) -> None:
    with http.stream(
        "POST", "/v1/responses", json={"model": MODEL, "input": "Hi", "max_output_tokens": 8, "stream": True}
    ) as reply:
        frames = reply.read().decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    for frame in frames[:-2]:
        name, data = frame.split("\n")
        assert name == f"event: {json.loads(data.removeprefix('data: '))['type']}"
