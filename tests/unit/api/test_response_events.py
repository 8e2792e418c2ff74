"""The events of a response, put together as clients do it, are the plain reply; whatever the model said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from localchat.api.encoders.responses import ResponseWriter, usage
from localchat.chat.answer import AnswerDelta, CallArguments, CallStart, Content, PlainParser, Reasoning
from localchat.errors import InvalidRequest, LocalchatError, QueueFull, WorkerDied
from localchat.outputs import Delta, Finish, TokenLogprob

from .test_encoders import alternatives, finishes, logprob_values, pieces

Json = dict[str, Any]

FIELDS: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(ResponseStreamEvent)[0])
}
"""Name of an event → the SDK's type of it."""

token_logprobs = st.builds(TokenLogprob, st.integers(0, 99), pieces, logprob_values, st.lists(alternatives, max_size=2))
words = st.text(min_size=1, max_size=6)
parts = st.lists(
    st.one_of(
        st.builds(Content, words),
        st.builds(Reasoning, words),
        st.tuples(words, st.lists(words, max_size=3)),  # a call, and its arguments in pieces
    ),
    max_size=8,
)


class ScriptedParser:
    """Gives what a script says for each piece of text; the rest at the end."""

    def __init__(self, script: list[Sequence[AnswerDelta]]) -> None:
        self._script = script

    def feed(self, text: str) -> Sequence[AnswerDelta]:
        return self._script.pop(0) if self._script else ()

    def finish(self) -> Sequence[AnswerDelta]:
        return [part for parts in self._script for part in parts]


@dataclass(frozen=True)
class Run:
    """What an engine said, and what a parser made of it."""

    deltas: list[Delta]
    script: list[Sequence[AnswerDelta]]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    script: list[Sequence[AnswerDelta]] = []
    calls = 0
    for part in draw(parts):
        if isinstance(part, tuple):
            script.append((CallStart(calls, f"call_{calls}", part[0]),))
            script += [(CallArguments(calls, piece),) for piece in part[1]]
            calls += 1
        else:
            script.append((part,))
    texts = draw(st.lists(words, min_size=1, max_size=10))
    deltas = [Delta(0, text, draw(st.none() | st.lists(token_logprobs, max_size=2))) for text in texts]
    deltas[-1].finish = draw(finishes)
    return Run(deltas, script)


def events_of(frames: Sequence[bytes]) -> list[Json]:
    """Frames as events: each is one, its name is its type, and the SDK knows it."""
    events = []
    for frame in frames:
        assert frame.endswith(b"\n\n")
        name, data = frame[:-2].split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def streamed(run: Run) -> tuple[list[Json], Json]:
    """All events of a run, and the response that the writer says they add up to."""
    writer = ResponseWriter(dict(FIELDS), events=True)
    frames = writer.begin(ScriptedParser(list(run.script)))
    for delta in run.deltas:
        frames += writer.delta(delta)
    frames += writer.last()
    return events_of(frames), writer.response


def put_together(events: Sequence[Json]) -> list[Json]:
    """The output, from what was added and from deltas alone."""
    output: list[Json] = []
    for event in events:
        item = output[event["output_index"]] if "output_index" in event and event["output_index"] < len(output) else {}
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(output)
                output.append(event["item"])
            case "content_part.added":
                assert event["content_index"] == len(item["content"])
                item["content"].append(event["part"])
            case "output_text.delta" | "reasoning_text.delta":
                part = item["content"][event["content_index"]]
                part["text"] += event["delta"]
                part.get("logprobs", []).extend(event.get("logprobs", []))
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert event["text"] == item["content"][event["content_index"]]["text"]
            case "function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
            case "content_part.done":
                assert event["part"] == item["content"][event["content_index"]]
            case "output_item.done":
                item["status"] = event["item"]["status"]
                assert event["item"] == item
    return output


def without_ids(response: Json) -> Json:
    output = [{**item, "id": None} for item in response["output"]]
    return {**response, "output": output, "completed_at": response["completed_at"] and 1}


@given(runs())
def test_events_put_together_are_the_response(run: Run) -> None:
    events, response = streamed(run)
    assert put_together(events) == response["output"]
    assert events[-1]["response"] == json.loads(json.dumps(response))
    assert events[-1]["type"] == f"response.{response['status']}"


@given(runs())
def test_plain_reply_is_the_last_event(run: Run) -> None:
    _, response = streamed(run)
    writer = ResponseWriter(dict(FIELDS), events=False)
    assert writer.begin(ScriptedParser(list(run.script))) == []
    for delta in run.deltas:
        assert writer.delta(delta) == []
    assert without_ids(writer.response) == without_ids(response)


@given(runs())
def test_every_event_is_as_the_sdk_types_it(run: Run) -> None:
    events, response = streamed(run)
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        EVENTS[event["type"]].model_validate(event)
    Response.model_validate(response)


@given(runs())
def test_events_open_and_close_everything_once_and_in_order(run: Run) -> None:
    events, response = streamed(run)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:2] == ["created", "in_progress"]
    for index, item in enumerate(response["output"]):
        mine = [kind for kind, event in zip(kinds, events, strict=True) if event.get("output_index") == index]
        assert mine[0] == "output_item.added"
        assert mine[-1] == "output_item.done"
        assert mine.count("content_part.added") == mine.count("content_part.done") == ("content" in item)
        assert item["status"] in ("completed", "incomplete")
    closed = [event["output_index"] for event in events if event["type"] == "response.output_item.done"]
    assert closed == list(range(len(response["output"])))


@given(runs(), st.integers(0, 10))
def test_response_that_is_cut_off_says_so_of_what_was_open(run: Run, after: int) -> None:
    writer = ResponseWriter(dict(FIELDS), events=True)
    frames = writer.begin(ScriptedParser(list(run.script)))
    for delta in run.deltas[: min(after, len(run.deltas) - 1)]:
        frames += writer.delta(delta)
    frames += writer.cancel()
    events = events_of(frames + writer.last())
    assert put_together(events) == writer.response["output"]
    assert writer.response["status"] == "cancelled"
    assert [item["status"] for item in writer.response["output"][:-1]] == ["completed"] * (
        len(writer.response["output"]) - 1
    )
    if writer.response["output"]:
        assert writer.response["output"][-1]["status"] == "incomplete"


def finish(reason: str = "stop") -> Finish:
    return Finish(reason, 7, 2, 3, 0.0, 0.5, 1.0, 0.0)  # type: ignore[arg-type]


def answered(*deltas: Delta) -> Json:
    writer = ResponseWriter(dict(FIELDS), events=False)
    writer.begin(PlainParser())
    for delta in deltas:
        writer.delta(delta)
    return writer.response


def test_answer_that_ended_by_itself_is_completed() -> None:
    response = answered(Delta(0, "a"), Delta(0, "b", None, finish()))
    assert (response["status"], response["incomplete_details"]) == ("completed", None)
    assert response["completed_at"]
    assert [item["status"] for item in response["output"]] == ["completed"]
    assert response["output"][0]["content"] == [
        {"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}
    ]


def test_answer_that_was_cut_by_length_is_incomplete() -> None:
    response = answered(Delta(0, "a"), Delta(0, "b", None, finish("length")))
    assert (response["status"], response["completed_at"]) == ("incomplete", None)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["incomplete"]


def test_model_that_says_nothing_has_said_an_empty_message() -> None:
    [message] = answered(Delta(0, "", None, finish()))["output"]
    assert (message["status"], message["content"][0]["text"]) == ("completed", "")


def test_usage_is_in_the_words_of_responses() -> None:
    counted = usage(finish())
    assert (counted["input_tokens"], counted["output_tokens"], counted["total_tokens"]) == (7, 3, 10)
    assert counted["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 5}
    assert counted["timings"]["tokens_per_second"] == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerDied("it died"), "server_error"),
        (QueueFull("many wait"), "rate_limit_exceeded"),
        (InvalidRequest("no good", param="input"), "invalid_prompt"),
    ],
)
def test_error_in_the_middle_is_a_failed_response_with_what_was_said(error: LocalchatError, code: str) -> None:
    writer = ResponseWriter(dict(FIELDS), events=True)
    frames = writer.begin(PlainParser()) + writer.delta(Delta(0, "half a"))
    frames += writer.fail(error) + writer.last()
    last = events_of(frames)[-1]
    EVENTS[last["type"]].model_validate(last)
    assert last["type"] == "response.failed"
    assert (last["response"]["error"]["code"], last["response"]["error"]["message"]) == (code, error.message)
    [item] = last["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "half a")


def test_response_that_waits_is_queued_and_then_in_progress() -> None:
    writer = ResponseWriter(dict(FIELDS), events=True)
    events = events_of(writer.queued() + writer.begin(PlainParser()))
    assert [(event["type"], event["response"]["status"]) for event in events] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
    ]
    assert [event["sequence_number"] for event in events] == [0, 1, 2]


def test_response_can_be_looked_at_while_it_grows() -> None:
    writer = ResponseWriter(dict(FIELDS), events=False)
    writer.begin(PlainParser())
    writer.delta(Delta(0, "half a"))
    [item] = writer.response["output"]
    assert (writer.response["status"], item["status"], item["content"][0]["text"]) == (
        "in_progress",
        "in_progress",
        "half a",
    )


@pytest.mark.parametrize("text", ["\n\n", "\r", "data: [DONE]", "event: x", "\u2028", '"\\', "\x00", "🙂"])
def test_text_cannot_break_out_of_its_event(text: str) -> None:
    writer = ResponseWriter(dict(FIELDS), events=True)
    writer.begin(PlainParser())
    frame = writer.delta(Delta(0, text))[-1]
    assert frame.count(b"\n") == 3
    assert b"\r" not in frame
    assert events_of([frame])[0]["delta"] == text
