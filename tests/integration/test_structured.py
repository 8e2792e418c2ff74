"""Answers that keep to a schema or a grammar, asked for with the official `openai` package."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from pydantic import BaseModel

from schemas import Schema, deep, schema

from .serving import MODEL, SAME, RunningServer

PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["human", "robot"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
SAMPLERS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "hot": {"temperature": 2, "top_p": 1, "extra_body": {"top_k": 0, "min_p": 0}},
    "top_p": {"temperature": 1, "top_p": 0.5, "extra_body": {"top_k": 0}},
    "mirostat": {"extra_body": {"mirostat": 2}},
    "mirostat 1": {"extra_body": {"mirostat": 1}},
    "typical": {"extra_body": {"typical_p": 0.5, "top_k": 0}},
    "penalties": {
        "temperature": 0,
        "presence_penalty": 2,
        "frequency_penalty": 2,
        "extra_body": {"repeat_penalty": 1.9},
    },
    "dry": {"extra_body": {"dry_multiplier": 5.0}},
    "xtc": {"extra_body": {"xtc_probability": 1.0, "xtc_threshold": 0.01}},
    "bias": {"logit_bias": {"2": 100}},  # the token that ends an answer
    "no end": {"extra_body": {"ignore_eos": True}},
}


def ask(**more: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "Tell me of a person."}
    return {"model": MODEL, "messages": [question], "max_tokens": 200, "seed": 5, **more}


def by(given: Schema, *, strict: bool | None = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": given, "strict": strict}}


def content(reply: Any, index: int = 0) -> str:
    return str(reply.choices[index].message.content)


@pytest.mark.parametrize("name", SAMPLERS)
def test_schema_is_kept_with_every_sampler(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(**ask(response_format=by(PERSON), **SAMPLERS[name]))
    jsonschema.validate(json.loads(content(reply)), PERSON)
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("strict", [True, False, None])
def test_schema_is_kept_strict_or_not(client: openai.OpenAI, strict: bool | None) -> None:
    reply = client.chat.completions.create(**ask(response_format=by(PERSON, strict=strict), temperature=1.5))
    jsonschema.validate(json.loads(content(reply)), PERSON)


def test_sdk_parses_a_model(client: openai.OpenAI) -> None:
    class Person(BaseModel):
        name: str
        age: int

    request = ask(temperature=0, max_tokens=60, response_format=Person, **SAME)
    message = client.chat.completions.parse(**request).choices[0].message
    assert isinstance(message.parsed, Person)
    with client.chat.completions.stream(**request) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == message.parsed


def test_object_is_any_object(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        **ask(response_format={"type": "json_object"}, temperature=0, max_tokens=400)
    )
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content(reply)), dict)
    assert content(reply).startswith("{")


def test_text_asks_for_nothing(client: openai.OpenAI) -> None:
    plain = content(client.chat.completions.create(**ask(temperature=0, max_tokens=10, **SAME)))
    assert (
        content(
            client.chat.completions.create(
                **ask(temperature=0, max_tokens=10, response_format={"type": "text"}, **SAME)
            )
        )
        == plain
    )


def test_every_choice_keeps_the_schema(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ask(response_format=by(PERSON), n=3, temperature=1.5))
    answers = [content(reply, index) for index in range(3)]
    for answer in answers:
        jsonschema.validate(json.loads(answer), PERSON)
    assert len(set(answers)) > 1


def test_streamed_text_is_the_plain_one(client: openai.OpenAI) -> None:
    request = ask(response_format=by(PERSON), temperature=0, **SAME)
    chunks = list(client.chat.completions.create(stream=True, **request))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == content(client.chat.completions.create(**request))


def test_logprobs_are_those_before_the_grammar(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        **ask(temperature=0, logprobs=True, top_logprobs=3, extra_body={"choice": ["zebra", "yes"]})
    )
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert "".join(entry.token for entry in logprobs.content) == content(reply)
    first = logprobs.content[0]
    assert first.token not in [other.token for other in first.top_logprobs]
    assert first.logprob < first.top_logprobs[0].logprob


def test_answer_that_is_cut_says_so(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ask(response_format=by(deep(9)), max_tokens=7, temperature=0))
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage
    assert reply.usage.completion_tokens == 7


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"regex": r"[0-9]{3}-[a-c]{2}"}, r"\d{3}-[a-c]{2}"),
        ({"choice": ["yes", "no", 'may"be']}, r'yes|no|may"be'),
        ({"grammar": 'root ::= greeting ", " [a-z]{3}\ngreeting ::= "Hello" | "Bye"'}, r"(Hello|Bye), [a-z]{3}"),
        ({"lark": 'start: "<" WORD ">"\nWORD: /[a-z]{2,4}/'}, r"<[a-z]{2,4}>"),
    ],
)
def test_grammars_of_other_kinds_are_kept(client: openai.OpenAI, given: dict[str, Any], pattern: str) -> None:
    for temperature in (0, 1.5):
        reply = client.chat.completions.create(**ask(temperature=temperature, extra_body=given))
        assert re.fullmatch(pattern, content(reply))
        assert reply.choices[0].finish_reason == "stop"
    completion = client.completions.create(model=MODEL, prompt="It is", max_tokens=40, extra_body=given)
    assert re.fullmatch(pattern, completion.choices[0].text)


def test_many_schemas_at_once_do_not_meet(client: openai.OpenAI) -> None:
    random = Random(3)
    given = [schema(random) for _ in range(24)]

    def answer(one: Schema) -> tuple[str, str]:
        reply = client.chat.completions.create(**ask(response_format=by(one), temperature=1.0, max_tokens=120))
        return content(reply), reply.choices[0].finish_reason

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, given))
    for one, (text, reason) in zip(given, answers, strict=True):
        assert reason in ("stop", "length")
        if reason == "stop":
            jsonschema.validate(json.loads(text), one)
    assert sum(reason == "stop" for _, reason in answers) > 8


def test_streams_of_different_schemas_do_not_meet(client: openai.OpenAI) -> None:
    given = [{"type": "array", "items": {"const": f"word {n}"}, "minItems": 2, "maxItems": 2} for n in range(8)]

    def answer(one: Schema) -> str:
        chunks = client.chat.completions.create(stream=True, temperature=1.5, **ask(response_format=by(one)))
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, given))
    assert [json.loads(text) for text in answers] == [[f"word {n}"] * 2 for n in range(8)]


def test_completion_keeps_a_schema(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model=MODEL, prompt="JSON: ", max_tokens=100, temperature=1.5, extra_body={"response_format": by(PERSON)}
    )
    jsonschema.validate(json.loads(reply.choices[0].text), PERSON)


def test_keywords_that_ask_for_nothing_are_said(client: openai.OpenAI) -> None:
    given = {"type": "boolean", "nullable": True}
    reply = client.chat.completions.with_raw_response.create(**ask(response_format=by(given)))
    assert reply.headers["x-localchat-ignored"] == "response_format.json_schema.schema#/nullable"


@pytest.mark.parametrize("temperature", [0, 1])
def test_grammar_holds_where_all_that_it_allows_is_banned(
    client: openai.OpenAI, http: httpx.Client, temperature: float
) -> None:
    [token] = http.post("/v1/tokenize", json={"model": MODEL, "text": "a"}).json()["tokens"]
    reply = client.chat.completions.create(
        **ask(logit_bias={str(token): -100}, temperature=temperature, extra_body={"regex": "a"})
    )
    assert content(reply) == "a"
    assert reply.choices[0].finish_reason == "stop"


def _nested(levels: int) -> Schema:
    inner: Schema = {"type": "integer"}
    for _ in range(levels):
        inner = {"type": "array", "items": inner}
    return inner


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": by(_nested(150))},
        {"response_format": by({"type": "string", "format": "date", "allOf": 5})},
        {"response_format": by({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})},
        {"extra_body": {"grammar": "root ::= missing"}},
        {"extra_body": {"grammar": "root ::= " + "(" * 3000}},
        {"extra_body": {"grammar": 'root ::= "a"\n' * 20000}},
        {"extra_body": {"lark": "start: r0\n" + "".join(f'r{n}: "a" r{n + 1}\n' for n in range(20000))}},
        {"extra_body": {"regex": "(" * 4000}},
    ],
    ids=["nested", "allOf", "loop", "missing rule", "open parentheses", "many rules", "long chain", "open groups"],
)
def test_hostile_grammars_end_nothing_but_themselves(
    client: openai.OpenAI, server: RunningServer, more: dict[str, Any]
) -> None:
    worker = server.worker
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ask(**more))
    assert server.worker == worker


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"response_format": by({"properties": {"a": {"not": {}}}})}, "#/properties/a, keyword 'not'"),
        ({"extra_body": {"regex": "(?=a)"}}, "look-around"),
        ({"extra_body": {"grammar": "root ::= ["}}, "not GBNF"),
        ({"extra_body": {"lark": "start"}}, "cannot be enforced"),
        ({"extra_body": {"choice": []}}, "1 to 1000"),
        ({"extra_body": {"choice": ["a"], "regex": "b"}}, "send one of them"),
        ({"extra_body": {"regex": "b"}, "response_format": {"type": "json_object"}}, "send one of them"),
    ],
)
def test_what_cannot_be_enforced_is_refused_before_anything_runs(
    client: openai.OpenAI, more: dict[str, Any], words: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**ask(stream=stream, **more))
        assert words in caught.value.message
        assert caught.value.param in (*more, *more.get("extra_body", ()))


def test_schema_without_a_name_is_refused(http: httpx.Client) -> None:
    body = ask(response_format={"type": "json_schema", "json_schema": {"schema": {}}})
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert "name" in reply.json()["error"]["param"]
