"""Requests that nobody should send: each gets an OpenAI error that names the field, and harms nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from .serving import MODEL

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]
UNSUPPORTED, INVALID = "unsupported_parameter", "invalid_value"


@dataclass(frozen=True)
class Case:
    """What is sent, and what has to come back. `change` is laid over a body that is fine."""

    change: dict[str, Any]
    param: str | None
    code: str = INVALID
    path: str = CHAT

    @property
    def body(self) -> dict[str, Any]:
        fine = {"messages": HI} if self.path == CHAT else {"prompt": "Hi"} if self.path == TEXT else {}
        return {key: value for key, value in ({"model": MODEL} | fine | self.change).items() if value is not ...}


def text(change: dict[str, Any], param: str, code: str = INVALID) -> Case:
    return Case(change, param, code, TEXT)


def content(value: Any, param: str, code: str = INVALID) -> Case:
    return Case({"messages": [{"role": "user", "content": value}]}, param, code)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}
TOOL = {"type": "function", "function": {"name": "a", "parameters": {}}}
BAD_TOOL = {"type": "function", "function": {"name": "a", "parameters": {"properties": {"b": {"type": "sting"}}}}}

CASES: dict[str, Case] = {
    "messages missing": Case({"messages": ...}, "messages"),
    "messages empty": Case({"messages": []}, "messages"),
    "messages a string": Case({"messages": "Hi"}, "messages"),
    "messages null": Case({"messages": None}, "messages"),
    "model missing": Case({"model": ...}, "model"),
    "model a number": Case({"model": 4}, "model"),
    "message a string": Case({"messages": ["Hi"]}, "messages[0]"),
    "message without role": Case({"messages": [*HI, {"content": "Hi"}]}, "messages[1]"),
    "message without content": Case({"messages": [{"role": "user"}]}, "messages[0].content"),
    "message with unknown role": Case({"messages": [{"role": "king", "content": "Hi"}]}, "messages[0]"),
    "message with unknown field": Case({"messages": [*HI, {**HI[0], "mood": "good"}]}, "messages[1].mood", UNSUPPORTED),
    "tool message without call id": Case({"messages": [{"role": "tool", "content": "4"}]}, "messages[0].tool_call_id"),
    "tool call without function": Case(
        {"messages": [*HI, {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]}]},
        "messages[1].tool_calls[0].function",
    ),
    "content a number": content(5, "messages[0].content"),
    "content null": content(None, "messages[0].content"),
    "content with an image": content([{"type": "text", "text": "?"}, IMAGE], "messages[0].content[1]", UNSUPPORTED),
    "content with audio": content([{"type": "input_audio", "input_audio": {}}], "messages[0].content[0]", UNSUPPORTED),
    "content with a file": content([{"type": "file", "file": {}}], "messages[0].content[0]", UNSUPPORTED),
    "content part of unknown type": content([{"type": "smell", "text": "?"}], "messages[0].content[0].type"),
    "content part without text": content([{"type": "text"}], "messages[0].content[0].text"),
    "content with half a surrogate pair": content("a\ud800b", "messages[0].content"),
    "content part with half a surrogate pair": content(
        [{"type": "text", "text": "\udfff"}], "messages[0].content[0].text"
    ),
    "temperature a string": Case({"temperature": "0.5"}, "temperature"),
    "temperature true": Case({"temperature": True}, "temperature"),
    "temperature 3": Case({"temperature": 3}, "temperature"),
    "temperature negative": Case({"temperature": -0.1}, "temperature"),
    "temperature not a number": Case({"temperature": float("nan")}, "temperature"),
    "temperature infinite": Case({"temperature": float("inf")}, "temperature"),
    "temperature of 400 digits": Case({"temperature": 10**400}, "temperature"),
    "top_p 2": Case({"top_p": 2}, "top_p"),
    "top_k of 80 bits": Case({"top_k": 2**80}, "top_k"),
    "min_p 2": Case({"min_p": 2}, "min_p"),
    "presence_penalty 3": Case({"presence_penalty": 3}, "presence_penalty"),
    "frequency_penalty -3": Case({"frequency_penalty": -3}, "frequency_penalty"),
    "mirostat 3": Case({"mirostat": 3}, "mirostat"),
    "seed a string": Case({"seed": "one"}, "seed"),
    "n 0": Case({"n": 0}, "n"),
    "n 1000": Case({"n": 1000}, "n"),
    "n 1.5": Case({"n": 1.5}, "n"),
    "max_tokens 0": Case({"max_tokens": 0}, "max_tokens"),
    "max_tokens -1": Case({"max_tokens": -1}, "max_tokens"),
    "max_tokens a string": Case({"max_tokens": "5"}, "max_tokens"),
    "max_tokens 1.5": Case({"max_tokens": 1.5}, "max_tokens"),
    "max_tokens of 70 bits": Case({"max_tokens": 2**70}, "max_tokens"),
    "max_completion_tokens 0": Case({"max_completion_tokens": 0}, "max_completion_tokens"),
    "max_completion_tokens of 70 bits": Case({"max_completion_tokens": 2**70}, "max_completion_tokens"),
    "stop of 17 strings": Case({"stop": [str(n) for n in range(17)]}, "stop"),
    "stop empty": Case({"stop": ""}, "stop"),
    "stop with an empty string": Case({"stop": ["a", ""]}, "stop"),
    "stop a number": Case({"stop": 5}, "stop"),
    "stop with a number": Case({"stop": ["a", 5]}, "stop[1]"),
    "stop with half a surrogate pair": Case({"stop": "\ud800"}, "stop"),
    "logit_bias a list": Case({"logit_bias": [1]}, "logit_bias"),
    "logit_bias with a word as key": Case({"logit_bias": {"word": 1}}, "logit_bias"),
    "logit_bias with a word as value": Case({"logit_bias": {"5": "much"}}, "logit_bias.5"),
    "logit_bias 101": Case({"logit_bias": {"5": 101}}, "logit_bias"),
    "logit_bias outside the vocabulary": Case({"logit_bias": {"49152": 1}}, "logit_bias"),
    "logit_bias of a negative token": Case({"logit_bias": {"-1": 1}}, "logit_bias"),
    "logit_bias of a token of 70 bits": Case({"logit_bias": {str(2**70): 1}}, "logit_bias"),
    "logprobs a number": Case({"logprobs": 5}, "logprobs"),
    "top_logprobs without logprobs": Case({"top_logprobs": 2}, "top_logprobs"),
    "top_logprobs 21": Case({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "stream a string": Case({"stream": "yes"}, "stream"),
    "stream_options without stream": Case({"stream_options": {"include_usage": True}}, "stream_options"),
    "stream_options with unknown field": Case(
        {"stream": True, "stream_options": {"speed": 2}}, "stream_options.speed", UNSUPPORTED
    ),
    "padding wanted": Case(
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options.include_obfuscation",
        UNSUPPORTED,
    ),
    "unknown field": Case({"temprature": 1}, "temprature", UNSUPPORTED),
    "field of half a surrogate pair": Case({"\ud800": 1}, None),
    "tools a word": Case({"tools": "get_time"}, "tools"),
    "tool a word": Case({"tools": ["get_time"]}, "tools[0]"),
    "tool without a function": Case({"tools": [{"type": "function"}]}, "tools[0].function"),
    "tool without a name": Case({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    "tool of another type": Case({"tools": [{"type": "custom"}]}, "tools[0].type", UNSUPPORTED),
    "tool with parameters that cannot be enforced": Case(
        {"tools": [BAD_TOOL], "tool_choice": "required"}, "tools[0].function.parameters"
    ),
    "two tools of one name": Case({"tools": [TOOL, TOOL]}, "tools"),
    "tool_choice required without tools": Case({"tool_choice": "required"}, "tool_choice"),
    "tool_choice of no tool": Case(
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice"
    ),
    "functions without a name": Case({"functions": [{}]}, "functions[0].name"),
    "functions and tools": Case({"functions": [{"name": "a"}], "tools": [TOOL]}, "functions"),
    "reasoning_effort unknown": Case({"reasoning_effort": "very"}, "reasoning_effort"),
    "reasoning_budget of a model that does not think": Case({"reasoning_budget": 5}, "reasoning_budget", UNSUPPORTED),
    "chat_template_kwargs unknown": Case({"chat_template_kwargs": {"mood": 1}}, "chat_template_kwargs", UNSUPPORTED),
    "response_format that cannot be enforced": Case({"response_format": SCHEMA}, "response_format"),
    "response_format of no known type": Case({"response_format": {"type": "xml"}}, "response_format"),
    "two grammars": Case({"regex": "a", "choice": ["a"]}, "regex"),
    "modalities with audio": Case({"modalities": ["text", "audio"]}, "modalities", UNSUPPORTED),
    "audio": Case({"audio": {"voice": "alloy", "format": "mp3"}}, "audio", UNSUPPORTED),
    "metadata": Case({"metadata": {"k": "x" * 513}}, "metadata"),
    "service_tier unknown": Case({"service_tier": "scale"}, "service_tier"),
    "service_tier a number": Case({"service_tier": 1}, "service_tier"),
    "prediction of no known type": Case({"prediction": {"type": "text", "content": "a"}}, "prediction.type"),
    "web_search_options": Case({"web_search_options": {}}, "web_search_options", UNSUPPORTED),
    "continue_final_message after the user's": Case({"continue_final_message": True}, "continue_final_message"),
    "context exceeded": content("word " * 2000, "messages", "context_length_exceeded"),
    "model unknown": Case({"model": "gpt-4o"}, "model", "model_not_found"),
    "model of half a surrogate pair": Case({"model": "\ud800"}, "model", "model_not_found"),
    "prompt missing": text({"prompt": ...}, "prompt"),
    "prompt null": text({"prompt": None}, "prompt"),
    "prompt empty": text({"prompt": ""}, "prompt"),
    "prompt an empty list": text({"prompt": []}, "prompt"),
    "prompt with an empty list": text({"prompt": [[]]}, "prompt"),
    "prompt of text and tokens": text({"prompt": ["a", [1]]}, "prompt[1]"),
    "prompt of tokens and text": text({"prompt": [[1], "a"]}, "prompt[0]"),
    "prompt of fractions": text({"prompt": [1.5]}, "prompt[0]"),
    "prompt of truth values": text({"prompt": [True]}, "prompt[0]"),
    "prompt of 65 prompts": text({"prompt": ["a"] * 65}, "prompt"),
    "prompt with a token outside the vocabulary": text({"prompt": [1, 49152]}, "prompt"),
    "prompt with a negative token": text({"prompt": [-1]}, "prompt"),
    "prompt with a token of 32 bits": text({"prompt": [2**31]}, "prompt"),
    "prompt with a token of 70 bits": text({"prompt": [[1], [2**70]]}, "prompt"),
    "prompt with half a surrogate pair": text({"prompt": "\udc00"}, "prompt"),
    "prompt over the context": text({"prompt": "word " * 2000}, "prompt", "context_length_exceeded"),
    "one prompt of two over the context": text({"prompt": ["a", "word " * 2000]}, "prompt", "context_length_exceeded"),
    "best_of less than n": text({"n": 3, "best_of": 2}, "best_of"),
    "best_of streamed": text({"best_of": 2, "stream": True}, "best_of"),
    "best_of 65": text({"best_of": 65}, "best_of"),
    "completion of no tokens without echo": text({"max_tokens": 0}, "max_tokens"),
    "completion logprobs true": text({"logprobs": True}, "logprobs"),
    "completion logprobs 21": text({"logprobs": 21}, "logprobs"),
    "suffix": text({"suffix": "the end"}, "suffix", UNSUPPORTED),
    "messages for completions": text({"messages": HI}, "messages", UNSUPPORTED),
    "completion model unknown": text({"model": "davinci-002"}, "model", "model_not_found"),
    "nothing to tokenize": Case({}, "text", path="/v1/tokenize"),
    "text and messages to tokenize": Case({"text": "a", "messages": HI}, "text", path="/v1/tokenize"),
    "messages to tokenize with an option of texts": Case(
        {"messages": HI, "parse_special": True}, "messages", path="/v1/tokenize"
    ),
    "nothing to detokenize": Case({}, "tokens", path="/v1/detokenize"),
    "text to detokenize": Case({"tokens": "a"}, "tokens", path="/v1/detokenize"),
    "token outside the vocabulary to detokenize": Case({"tokens": [49152]}, "tokens", path="/v1/detokenize"),
    "token of 70 bits to detokenize": Case({"tokens": [2**70]}, "tokens[0]", path="/v1/detokenize"),
}


def assert_still_answers(http: httpx.Client) -> None:
    reply = http.post(CHAT, json={"model": MODEL, "messages": HI, "max_tokens": 1})
    assert reply.status_code == 200, reply.text


def assert_openai_error(reply: httpx.Response) -> dict[str, Any]:
    """The error object, in OpenAI's shape and nothing else."""
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("req_")
    body = reply.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["code"], str)
    return error


@pytest.mark.parametrize("case", [pytest.param(case, id=name.replace(" ", "-")) for name, case in CASES.items()])
def test_wrong_field_is_named(http: httpx.Client, case: Case) -> None:
    # json.dumps spells NaN and half surrogate pairs; httpx's own encoder would not let them out.
    reply = http.post(case.path, content=json.dumps(case.body), headers={"content-type": "application/json"})
    assert reply.status_code == (404 if case.code == "model_not_found" else 400), reply.text
    error = assert_openai_error(reply)
    assert (error["param"], error["code"]) == (case.param, case.code)
    assert_still_answers(http)


BODIES: dict[str, bytes] = {
    "broken JSON": b'{"model": "a", ',
    "no JSON": b"hello",
    "a string": b'"hello"',
    "a list": b"[]",
    "null": b"null",
    "empty": b"",
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "a tower of brackets": b"[" * 100_000,
    "a number of 5000 digits": b'{"n": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("path", [CHAT, TEXT, "/v1/tokenize"])
@pytest.mark.parametrize("body", [pytest.param(body, id=name.replace(" ", "-")) for name, body in BODIES.items()])
def test_body_that_is_no_json_object_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    reply = http.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert assert_openai_error(reply)["param"] is None
    assert_still_answers(http)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_body_of_another_type_is_refused_and_the_right_one_named(http: httpx.Client, kind: str | None) -> None:
    body = json.dumps({"model": MODEL, "messages": HI, "max_tokens": 1}).encode()
    reply = http.post(CHAT, content=body, headers={"content-type": kind} if kind else {})
    assert reply.status_code == 400
    assert "application/json" in assert_openai_error(reply)["message"]


def test_body_of_20_mb_is_refused_by_its_length(http: httpx.Client) -> None:
    reply = http.post(CHAT, content=b" " * (20 * 2**20), headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert assert_openai_error(reply)["code"] == "body_too_large"
    assert_still_answers(http)


def test_body_of_20_mb_is_refused_though_its_length_was_not_told(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 2**20

    reply = http.post(CHAT, content=pieces(), headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert assert_openai_error(reply)["code"] == "body_too_large"
    assert_still_answers(http)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PUT", CHAT, 405, "method_not_allowed"),
        ("GET", TEXT, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", f"/v1/models/{MODEL}", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/models/gpt-4o", 404, "model_not_found"),
        ("GET", "/v1/models/owner/name", 404, "model_not_found"),
    ],
)
def test_wrong_path_or_method(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    reply = http.request(method, path)
    assert reply.status_code == status
    assert assert_openai_error(reply)["code"] == code


def test_errors_leave_the_connection_open(http: httpx.Client) -> None:
    replies = [http.post(CHAT, json={"model": MODEL}) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [400] * 3
    assert "close" not in {reply.headers.get("connection") for reply in replies}


def test_one_prompt_refused_late_ends_the_whole_request(http: httpx.Client) -> None:
    """The first prompt is being answered already when the second has been found too long."""
    prompts = ["Once upon a time", "lorem ipsum dolor " * 100_000]
    body = {"model": MODEL, "prompt": prompts, "max_tokens": 300, "ignore_eos": True}
    reply = http.post(TEXT, json=body, timeout=20)
    assert reply.status_code == 400
    assert assert_openai_error(reply)["code"] == "context_length_exceeded"
    assert_still_answers(http)
