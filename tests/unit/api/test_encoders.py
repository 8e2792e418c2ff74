"""A stream's frames, put together again, are the plain reply: whatever the deltas were and in whichever order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.api.encoders.chat import ChatFold, ChatStream
from localchat.api.encoders.common import DONE, Envelope, frame, usage
from localchat.api.encoders.completions import CompletionFold, CompletionStream
from localchat.outputs import Alternative, Delta, Finish, TokenLogprob

ENVELOPE = Envelope(prefix="x", model="m", fingerprint="fp_1", id="1", created=1)

pieces = st.binary(max_size=5)
logprob_values = st.floats(-50, 0)
seconds = st.integers(0, 9_000_000).map(lambda microseconds: microseconds / 1e6)
alternatives = st.builds(Alternative, st.integers(0, 99), pieces, logprob_values)
token_logprobs = st.builds(
    TokenLogprob, st.integers(0, 99), pieces, st.none() | logprob_values, st.lists(alternatives, max_size=2)
)
finishes = st.builds(
    Finish,
    reason=st.sampled_from(["stop", "length"]),
    prompt_tokens=st.integers(1, 999),
    cached_tokens=st.just(0),
    completion_tokens=st.integers(0, 999),
    queue_time=seconds,
    prompt_time=seconds,
    decode_time=seconds,
    logprob_sum=st.floats(-999, 0),
)


@dataclass(frozen=True)
class Run:
    """What an engine said of the choices of one request."""

    choices: int
    wants_logprobs: bool
    deltas: list[tuple[int, Delta]]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    choices, wants_logprobs = draw(st.integers(1, 4)), draw(st.booleans())
    queues = []
    for index in range(choices):
        texts = draw(st.lists(st.text(max_size=6), min_size=1, max_size=5))
        entries = [draw(st.lists(token_logprobs, max_size=3)) if wants_logprobs else None for _ in texts]
        deltas = [Delta(index, text, entry) for text, entry in zip(texts, entries, strict=True)]
        deltas[-1].finish = draw(finishes)
        queues.append(deltas)
    mixed = []
    while left := [index for index, queue in enumerate(queues) if queue]:
        index = draw(st.sampled_from(left))
        mixed.append((index, queues[index].pop(0)))
    return Run(choices, wants_logprobs, mixed)


def chunks_of(stream: ChatStream | CompletionStream, run: Run) -> list[dict[str, Any]]:
    """All frames, each checked to be one event."""
    sent = stream.start() + b"".join(stream.delta(index, delta) for index, delta in run.deltas) + stream.end()
    if not sent:
        return []
    assert sent.endswith(b"\n\n")
    events = sent[:-2].split(b"\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def merged_logprobs(parts: list[Any]) -> dict[str, Any] | None:
    """Several logprobs objects as one: their lists joined."""
    told = [part for part in parts if part is not None]
    if not told:
        return None
    return {
        key: None if first is None else [entry for part in told for entry in part[key]]
        for key, first in told[0].items()
    }


@given(run=runs(), include_usage=st.booleans())
def test_chat_frames_joined_are_the_folded_reply(run: Run, include_usage: bool) -> None:
    chunks = chunks_of(ChatStream(ENVELOPE, run.choices, include_usage=include_usage), run)
    fold = ChatFold(ENVELOPE, run.choices, logprobs=run.wants_logprobs)
    for index, delta in run.deltas:
        fold.delta(index, delta)
    reply = fold.reply()

    if include_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"] == reply["usage"]
    assert all(("usage" in chunk) == include_usage and not chunk.get("usage") for chunk in chunks)
    assert {chunk["id"] for chunk in chunks} == {reply["id"]} == {"x-1"}
    for whole in reply["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == whole["index"]]
        assert [choice["delta"].get("role") for choice in mine] == ["assistant", *[None] * (len(mine) - 1)]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == whole["message"]["content"]
        assert [choice["finish_reason"] for choice in mine] == [*[None] * (len(mine) - 1), whole["finish_reason"]]
        content = (merged_logprobs([choice["logprobs"] for choice in mine]) or {}).get("content", [])
        assert content == ((whole["logprobs"] or {}).get("content", []))


@given(run=runs(), include_usage=st.booleans(), echo=st.text(max_size=5), prompts=st.integers(1, 2))
def test_completion_frames_joined_are_the_folded_reply(run: Run, include_usage: bool, echo: str, prompts: int) -> None:
    tries = run.choices if prompts == 1 or run.choices % 2 else run.choices // 2
    echoes = [echo] * (run.choices // tries)
    chunks = chunks_of(CompletionStream(ENVELOPE, echoes, tries=tries, include_usage=include_usage), run)
    fold = CompletionFold(ENVELOPE, echoes, tries=tries, keep=tries, logprobs=run.wants_logprobs)
    for index, delta in run.deltas:
        fold.delta(index, delta)
    reply = fold.reply()

    if include_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"] == reply["usage"]
    for whole in reply["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == whole["index"]]
        assert "".join(choice["text"] for choice in mine) == whole["text"]
        assert whole["text"].startswith(echo)
        assert [choice["finish_reason"] for choice in mine] == [*[None] * (len(mine) - 1), whole["finish_reason"]]
        assert merged_logprobs([choice["logprobs"] for choice in mine]) == whole["logprobs"]


def finish(prompt: int = 5, completion: int = 3, logprob_sum: float = 0.0, **times: float) -> Finish:
    queue, prompt_time, decode = (
        times.get("queue_time", 0.0),
        times.get("prompt_time", 0.5),
        times.get("decode_time", 1.0),
    )
    return Finish("stop", prompt, 2, completion, queue, prompt_time, decode, logprob_sum)


def test_usage_counts_each_prompt_once_and_every_try() -> None:
    counted = usage([finish(5, 1), finish(5, 2), finish(7, 3), finish(7, 4)], tries=2)
    assert (counted["prompt_tokens"], counted["completion_tokens"], counted["total_tokens"]) == (12, 10, 22)
    assert counted["prompt_tokens_details"] == {"cached_tokens": 4}


def test_guesses_and_predictions_are_summed_over_choices() -> None:
    some = msgspec.structs.replace(finish(), accepted_prediction=3, rejected_prediction=1, drafted=7, accepted=5)
    counted = usage([some, some, finish()], tries=3)
    assert counted["completion_tokens_details"] == {
        "reasoning_tokens": 0,
        "accepted_prediction_tokens": 6,
        "rejected_prediction_tokens": 2,
    }
    assert (counted["timings"]["drafted_tokens"], counted["timings"]["accepted_tokens"]) == (14, 10)


def test_rates_are_null_where_there_is_nothing_to_divide() -> None:
    timings = usage([finish(2, 1, prompt_time=0.0, decode_time=0.0)])["timings"]
    assert timings["prompt_per_second"] is None
    assert timings["tokens_per_second"] is None


def test_rates_are_tokens_over_seconds() -> None:
    timings = usage([finish(12, 5, queue_time=0.25, prompt_time=0.5, decode_time=2.0)])["timings"]
    assert timings == {
        "queue_ms": 250,
        "time_to_first_token_ms": 750,
        "prompt_per_second": 20,  # of the 12, 2 were cached
        "tokens_per_second": 2,  # the first came with the prompt
        "drafted_tokens": 0,
        "accepted_tokens": 0,
    }


def test_best_of_keeps_the_likeliest_per_token_of_each_prompt() -> None:
    fold = CompletionFold(ENVELOPE, ["", ""], tries=3, keep=1, logprobs=False)
    for index, (count, total) in enumerate([(2, -4.0), (4, -4.0), (1, -3.0), (1, -0.5), (1, -0.1), (0, 0.0)]):
        fold.delta(index, Delta(index, f"try {index}", None, finish(5, count, total)))
    reply = fold.reply()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1]
    assert reply["choices"][0]["text"] == "try 1"
    assert reply["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize("text", ["\n\n", "\r", "data: [DONE]", "\u2028", '"\\', "\x00", "🙂"])
def test_text_cannot_break_out_of_its_event(text: str) -> None:
    stream = ChatStream(ENVELOPE, 1, include_usage=False)
    sent = stream.delta(0, Delta(0, text))
    assert sent.count(b"\n") == 2
    assert b"\r" not in sent
    assert json.loads(sent.removeprefix(b"data: "))["choices"][0]["delta"] == {"content": text}


def test_delta_without_text_or_logprobs_sends_nothing() -> None:
    assert ChatStream(ENVELOPE, 1, include_usage=False).delta(0, Delta(0, "")) == b""


def test_frame_and_end_of_a_stream() -> None:
    assert frame({"a": "é"}) == 'data: {"a":"é"}\n\n'.encode()
    assert DONE == b"data: [DONE]\n\n"
