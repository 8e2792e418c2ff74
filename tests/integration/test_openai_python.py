"""The official `openai` package for Python against a real server."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict, Field

from .serving import CTX, MODEL, SAME, RunningServer

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Name three colours of the rainbow."}]
GREEDY: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 40}
ENDING: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
SEEDED: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 1.2, "seed": 42, "max_tokens": 40}


def tokenize(http: httpx.Client, **body: Any) -> list[int]:
    reply = http.post("/v1/tokenize", json={"model": MODEL, **body})
    assert reply.status_code == 200, reply.text
    tokens: list[int] = reply.json()["tokens"]
    return tokens


def text_of(client: openai.OpenAI, **request: Any) -> str:
    return str(client.chat.completions.create(**request).choices[0].message.content)


def chunks_of(client: openai.OpenAI, **request: Any) -> list[ChatCompletionChunk]:
    return list(client.chat.completions.create(stream=True, **request))


def joined(chunks: Iterable[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


# Chat: plain


def test_plain_chat_has_every_field_that_the_sdk_types(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**GREEDY)
    assert reply.id.startswith("chatcmpl-")
    assert (reply.object, reply.model) == ("chat.completion", MODEL)
    assert reply.created > 1_700_000_000
    assert reply.system_fingerprint
    assert reply.system_fingerprint.startswith("fp_")
    [choice] = reply.choices
    assert (choice.index, choice.message.role, choice.message.refusal) == (0, "assistant", None)
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert choice.logprobs is None


def test_every_reply_has_a_request_id(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(**{**GREEDY, "max_tokens": 1})._request_id
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.request_id


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_token_limit_ends_the_answer_by_length(client: openai.OpenAI, name: str) -> None:
    request: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, name: 5}
    reply = client.chat.completions.create(**request)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage
    assert reply.usage.completion_tokens == 5


def test_smaller_of_both_token_limits_holds(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**{**GREEDY, "max_tokens": 9, "max_completion_tokens": 3})
    assert reply.usage
    assert reply.usage.completion_tokens == 3


def test_answer_that_ends_by_itself_says_stop(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ENDING)
    assert reply.choices[0].finish_reason == "stop"
    assert "<|im_end|>" not in str(reply.choices[0].message.content)


def test_two_choices_have_texts_of_their_own(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**{**SEEDED, "n": 2, "max_tokens": 24})
    assert [choice.index for choice in reply.choices] == [0, 1]
    first, second = (choice.message.content for choice in reply.choices)
    assert first != second


def test_usage_counts_the_prompt_once_and_every_choice(client: openai.OpenAI, http: httpx.Client) -> None:
    reply = client.chat.completions.create(**{**SEEDED, "n": 2, "max_tokens": 4}, extra_body={"ignore_eos": True})
    assert reply.usage
    assert reply.usage.prompt_tokens == len(tokenize(http, messages=QUESTION))
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8


def test_usage_counts_the_token_that_ends_the_answer(client: openai.OpenAI, http: httpx.Client) -> None:
    reply = client.chat.completions.create(**ENDING, logprobs=True)
    logprobs = reply.choices[0].logprobs
    assert reply.usage
    assert logprobs
    assert logprobs.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == len(logprobs.content) + 1


def test_repeated_prompt_is_found_in_the_cache(client: openai.OpenAI) -> None:
    # Long enough that computing it again would cost more than what goes where its slot is taken.
    request = {**GREEDY, "messages": [{"role": "user", "content": "Say which of these is a fruit: " + "plum, " * 200}]}
    first = client.chat.completions.create(**request)
    again = client.chat.completions.create(**request)
    assert first.usage
    assert again.usage
    assert again.usage.prompt_tokens_details
    assert again.usage.prompt_tokens_details.cached_tokens == first.usage.prompt_tokens - 1


def test_stop_string_ends_the_text_before_itself(client: openai.OpenAI) -> None:
    whole = text_of(client, **GREEDY, **SAME)
    stop = whole[11:17]  # wherever tokens begin and end
    reply = client.chat.completions.create(**GREEDY, **SAME, stop=[stop, "never in there"])
    assert reply.choices[0].message.content == whole[: whole.index(stop)]
    assert reply.choices[0].finish_reason == "stop"


def test_stop_string_that_is_a_control_token_ends_the_text_too(client: openai.OpenAI, http: httpx.Client) -> None:
    [token] = tokenize(http, text="<|im_start|>", parse_special=True, add_special=False)
    request = GREEDY | {"logit_bias": {str(token): 100}, "max_tokens": 3}
    ends = [client.chat.completions.create(**request, stop=stop).choices[0] for stop in ("<|im_start|>", "never said")]
    assert [(end.message.content, end.finish_reason) for end in ends] == [("", "stop"), ("", "length")]


def test_stop_string_is_never_streamed_not_even_its_beginning(client: openai.OpenAI) -> None:
    whole = text_of(client, **GREEDY, **SAME)
    stop = whole[11:17]
    chunks = chunks_of(client, **GREEDY, **SAME, stop=stop)
    assert joined(chunks) == whole[: whole.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_logprobs_spell_the_text_and_say_how_likely_it_was(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs
    entries = choice.logprobs.content
    assert entries
    assert b"".join(bytes(entry.bytes or ()) for entry in entries).decode() == choice.message.content
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (top.logprob for top in entry.top_logprobs), reverse=True
        )
        assert entry.top_logprobs[0].token == entry.token  # greedy


def test_logprobs_without_top_have_no_alternatives(client: openai.OpenAI) -> None:
    logprobs = client.chat.completions.create(**{**GREEDY, "max_tokens": 3}, logprobs=True).choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert [entry.top_logprobs for entry in logprobs.content] == [[], [], []]


def test_logit_bias_bans_a_token(client: openai.OpenAI, http: httpx.Client) -> None:
    request = {**GREEDY, "max_tokens": 1}
    first = text_of(client, **request)
    [token] = tokenize(http, text=first)
    assert text_of(client, **request, logit_bias={str(token): -100}) != first


def test_field_without_effect_is_listed_in_a_header(client: openai.OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(
        **{**GREEDY, "max_tokens": 1}, user="somebody", metadata={"a": "b"}
    )
    assert reply.headers["x-localchat-ignored"] == "metadata,user"


# Chat: streamed


def test_role_comes_first_and_finish_reason_last(client: openai.OpenAI) -> None:
    chunks = chunks_of(client, **GREEDY)
    choices = [chunk.choices[0] for chunk in chunks]
    assert [choice.delta.role for choice in choices] == ["assistant", *[None] * (len(choices) - 1)]
    assert {choice.finish_reason for choice in choices[:-1]} == {None}
    assert choices[-1].finish_reason in ("stop", "length")
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("request_body", [GREEDY | SAME, SEEDED | SAME], ids=["temperature 0", "fixed seed"])
def test_stream_joined_is_the_plain_answer(client: openai.OpenAI, request_body: dict[str, Any]) -> None:
    text_of(client, **request_body)  # from here on, the cache holds the same for everybody who asks
    plain = text_of(client, **request_body)
    assert joined(chunks_of(client, **request_body)) == plain
    assert text_of(client, **request_body) == plain


def test_streamed_choices_are_told_apart(client: openai.OpenAI) -> None:
    chunks = chunks_of(client, **{**SEEDED, "n": 2, "max_tokens": 12})
    assert joined(chunks, 0)
    assert joined(chunks, 1)
    for index in (0, 1):
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert [choice.delta.role for choice in choices].count("assistant") == 1
        assert [choice.finish_reason is None for choice in choices] == [True] * (len(choices) - 1) + [False]


def test_usage_chunk_comes_last_without_choices_when_asked_for(client: openai.OpenAI, http: httpx.Client) -> None:
    chunks = chunks_of(client, **GREEDY, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.prompt_tokens == len(tokenize(http, messages=QUESTION))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


def test_no_usage_chunk_unless_asked_for(client: openai.OpenAI) -> None:
    for options in ({}, {"stream_options": {"include_usage": False}}):
        chunks = chunks_of(client, **{**GREEDY, "max_tokens": 3}, **options)
        assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_raw_stream_is_data_lines_up_to_done(http: httpx.Client) -> None:
    body = {**GREEDY, "max_tokens": 3, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-store"
        lines = [line for line in reply.iter_lines() if line]
    assert all(line.startswith("data: {") for line in lines[:-1])
    assert lines[-1] == "data: [DONE]"


def test_streamed_logprobs_are_those_of_the_plain_answer(client: openai.OpenAI) -> None:
    request = {**GREEDY, **SAME, "logprobs": True, "top_logprobs": 2}
    text_of(client, **request)
    plain = client.chat.completions.create(**request).choices[0].logprobs
    streamed = [
        entry
        for chunk in chunks_of(client, **request)
        for entry in (chunk.choices[0].logprobs.content or () if chunk.choices[0].logprobs else ())
    ]
    assert plain
    assert plain.content
    assert [entry.token for entry in streamed] == [entry.token for entry in plain.content]
    assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in plain.content])


def test_stream_helper_gathers_the_completion(client: openai.OpenAI) -> None:
    text_of(client, **ENDING, **SAME)
    with client.chat.completions.stream(**ENDING, **SAME, stream_options={"include_usage": True}) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert events.count("content.done") == 1
    assert events.count("content.delta") > 3
    assert final.choices[0].message.content == text_of(client, **ENDING, **SAME)
    assert final.usage


def test_left_stream_does_not_disturb_the_next_request(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        assert len(list(itertools.islice(stream, 4))) == 4
    assert text_of(client, **GREEDY)


# Chat: asynchronous


async def test_async_plain_streamed_and_helper_agree(server: RunningServer) -> None:
    async with server.async_sdk() as client:
        await client.chat.completions.create(**ENDING, **SAME)
        plain = (await client.chat.completions.create(**ENDING, **SAME)).choices[0].message.content
        stream = await client.chat.completions.create(**ENDING, **SAME, stream=True)
        assert joined([chunk async for chunk in stream]) == plain
        async with client.chat.completions.stream(**ENDING, **SAME) as helper:
            final = await helper.get_final_completion()
        assert final.choices[0].message.content == plain


class Colour(BaseModel):
    """A colour."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=12)


async def test_async_client_parses_models_plain_and_streamed(server: RunningServer) -> None:
    request: dict[str, Any] = {**GREEDY, "extra_body": {"deterministic": True}, "response_format": Colour}
    async with server.async_sdk() as sdk:
        plain = (await sdk.chat.completions.parse(**request)).choices[0].message.parsed
        async with sdk.chat.completions.stream(**request) as stream:
            streamed = (await stream.get_final_completion()).choices[0].message.parsed
    assert isinstance(plain, Colour)
    assert streamed == plain


# Chat: messages


def test_developer_is_another_name_for_system(client: openai.OpenAI, http: httpx.Client) -> None:
    prompts = [
        tokenize(http, messages=[{"role": role, "content": "Be brief."}, *QUESTION]) for role in ("system", "developer")
    ]
    assert prompts[0] == prompts[1]
    assert text_of(
        client, **{**GREEDY, "max_tokens": 2, "messages": [{"role": "developer", "content": "Be brief."}, *QUESTION]}
    )


def test_text_parts_are_the_same_as_a_string(http: httpx.Client) -> None:
    parts = [{"type": "text", "text": "Name three colours "}, {"type": "text", "text": "of the rainbow."}]
    assert tokenize(http, messages=[{"role": "user", "content": parts}]) == tokenize(http, messages=QUESTION)


def test_earlier_tool_calls_and_their_results_are_accepted(client: openai.OpenAI, http: httpx.Client) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    messages: list[Any] = [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 31 degrees"},
    ]
    assert text_of(client, model=MODEL, messages=messages, max_tokens=4)
    reply = http.post("/v1/detokenize", json={"model": MODEL, "tokens": tokenize(http, messages=messages)})
    assert "sunny, 31 degrees" in reply.json()["text"]
    assert "weather" in reply.json()["text"]


def test_assistant_turn_can_be_continued(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "Count to ten with digits."},
        {"role": "assistant", "content": "1, 2, 3, 4,"},
    ]
    reply = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=6, extra_body={"continue_final_message": True}
    )
    assert str(reply.choices[0].message.content).startswith(" 5")


# Text completions


def complete(client: openai.OpenAI, **request: Any) -> Completion:
    reply: Completion = client.completions.create(**{"model": MODEL, "temperature": 0, "max_tokens": 4, **request})
    return reply


def test_completion_of_a_string(client: openai.OpenAI) -> None:
    reply = complete(client, prompt="The capital of France is")
    assert reply.id.startswith("cmpl-")
    assert reply.object == "text_completion"
    assert reply.choices[0].text.startswith(" Paris")
    assert reply.choices[0].finish_reason == "length"


def test_completion_has_sixteen_tokens_unless_told(client: openai.OpenAI) -> None:
    reply = client.completions.create(model=MODEL, prompt="Once upon a time", temperature=0)
    assert reply.usage
    assert reply.usage.completion_tokens == 16


def test_prompts_of_every_shape_mean_the_same(client: openai.OpenAI, http: httpx.Client) -> None:
    texts = ["The capital of France is", "Two and two is"]
    tokens = [tokenize(http, text=text) for text in texts]
    complete(client, prompt=texts)
    by_text = complete(client, prompt=texts)
    by_tokens = complete(client, prompt=tokens)
    assert [choice.index for choice in by_text.choices] == [0, 1]
    assert [choice.text for choice in by_tokens.choices] == [choice.text for choice in by_text.choices]
    assert by_tokens.usage
    assert by_tokens.usage.prompt_tokens == sum(map(len, tokens))
    assert complete(client, prompt=tokens[0]).choices[0].text == complete(client, prompt=texts[0]).choices[0].text


def test_n_completions_of_each_prompt_are_numbered_prompt_by_prompt(client: openai.OpenAI) -> None:
    reply = complete(client, prompt=["A cat", "The sea"], n=2, echo=True, temperature=1, seed=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith("A cat") for choice in reply.choices] == [True, True, False, False]
    assert reply.usage
    assert reply.usage.completion_tokens == 16


def test_streamed_completion_joined_is_the_plain_one(client: openai.OpenAI) -> None:
    request: dict[str, Any] = {"prompt": "Once upon a time", "echo": True, "max_tokens": 20}
    complete(client, **request)
    plain = complete(client, **request).choices[0]
    stream = client.completions.create(
        model=MODEL, temperature=0, stream=True, stream_options={"include_usage": True}, **request
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * (len(chunks) - 1), plain.finish_reason]
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 20


def test_echo_with_logprobs_and_no_tokens_scores_the_prompt(client: openai.OpenAI, http: httpx.Client) -> None:
    prompt = "The capital of France is Paris"
    reply = complete(client, prompt=prompt, echo=True, logprobs=2, max_tokens=0)
    [choice] = reply.choices
    assert choice.text == prompt
    assert choice.finish_reason == "length"
    logprobs = choice.logprobs
    assert logprobs
    assert logprobs.tokens
    assert logprobs.token_logprobs
    assert logprobs.top_logprobs
    assert "".join(logprobs.tokens) == prompt
    assert len(logprobs.tokens) == len(tokenize(http, text=prompt)) == len(logprobs.token_logprobs)
    assert logprobs.token_logprobs[0] is None
    assert all(value < 0 for value in logprobs.token_logprobs[1:])
    assert logprobs.text_offset == [0, *itertools.accumulate(len(token) for token in logprobs.tokens[:-1])]
    assert logprobs.top_logprobs[0] is None
    assert all(len(top) == 2 for top in logprobs.top_logprobs[1:])
    assert reply.usage
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(logprobs.tokens), 0)


def test_echo_with_logprobs_scores_prompt_and_continuation(client: openai.OpenAI) -> None:
    [choice] = complete(client, prompt="The capital of France is", echo=True, logprobs=0, max_tokens=3).choices
    assert choice.logprobs
    assert choice.logprobs.tokens
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset
    assert choice.logprobs.text_offset[-1] == len(choice.text) - len(choice.logprobs.tokens[-1])


def test_best_of_keeps_the_likeliest(client: openai.OpenAI) -> None:
    request = {"prompt": "My favourite animal is", "temperature": 1.5, "seed": 11, "logprobs": 0, "max_tokens": 8}
    extra = {"ignore_eos": True}
    all_three = complete(client, **request, n=3, extra_body=extra)
    best = complete(client, **request, best_of=3, n=1, extra_body=extra)
    assert best.choices[0].text == max(all_three.choices, key=lambda choice: _mean(choice.logprobs)).text
    assert best.usage
    assert best.usage.completion_tokens == 24  # what was not kept was made all the same


def _mean(logprobs: Any) -> float:
    values: Sequence[float] = logprobs.token_logprobs
    return sum(values) / len(values)


# Models and tokens


def test_models_are_listed_with_their_context(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "localchat")
    assert client.models.retrieve(MODEL) == model
    assert model.model_extra
    assert model.model_extra["context_length"] == model.model_extra["max_model_len"] == CTX


@pytest.mark.parametrize("text", ["Hello, world", "", "  spaces\n\tand tabs", "Grüße, 你好 🙂‍↔️", "<|im_end|>"])
def test_tokens_spell_the_text_again(http: httpx.Client, text: str) -> None:
    tokens = tokenize(http, text=text)
    reply = http.post("/v1/detokenize", json={"model": MODEL, "tokens": tokens})
    assert reply.json() == {"model": MODEL, "text": text}


def test_special_tokens_of_a_text_are_read_only_when_asked(http: httpx.Client) -> None:
    assert len(tokenize(http, text="<|im_end|>", parse_special=True)) == 1
    assert len(tokenize(http, text="<|im_end|>")) > 1


def test_tokenize_says_which_fields_had_no_effect(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Hi", "name": "Ann"}]
    reply = http.post("/v1/tokenize", json={"model": MODEL, "messages": messages})
    assert reply.headers["x-localchat-ignored"] == "messages[0].name"


# Errors


def test_unknown_model_is_not_found_and_the_known_are_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**{**GREEDY, "model": "gpt-4o"})
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert MODEL in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4o", prompt="x")


def test_prompt_over_the_context_names_both_numbers(client: openai.OpenAI, http: httpx.Client) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert str(len(tokenize(http, messages=messages))) in caught.value.message
    assert str(CTX) in caught.value.message


def test_answer_is_cut_where_the_context_ends(client: openai.OpenAI, http: httpx.Client) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 980}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, extra_body={"ignore_eos": True})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage
    assert reply.usage.total_tokens == CTX


def test_error_of_a_streamed_request_is_raised_before_the_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**{**GREEDY, "temperature": 3}, stream=True)


def test_refused_field_is_a_bad_request_that_names_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**GREEDY, reasoning_effort="high")
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "reasoning_effort")
