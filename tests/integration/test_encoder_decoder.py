"""A tiny T5 behind a real server: what is asked of it, alone and many at once, and what is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tiny_models import build

from .serving import RunningServer, serve, until

MODEL = "tiny-t5"
CTX = 1024
MAX_TOKENS = 24
NEAR_TIE = 0.05
"""Of two tokens closer than this, the likelier one may change with who else is there: GELU is a table of 16 bits."""

SENTENCES = (
    "a",
    "Hello there!",
    "How are they about this, and which of them said so?",
    "They were all in that system when it was said. " * 4,
    "What is it that you will not say? " * 12,
    "one two three four five six seven " * 20,
    "When they have said it, nobody will ask what it was.",
)
CONTROL = ("<pad>", "<unk>", "</s>")
ABSENT = 7
CANDIDATES = tuple(opening + sentence for opening in ("", "Say: ", "well, ", "is it true? ") for sentence in SENTENCES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("t5")
    build(folder / "t5.gguf", "t5", context_length=CTX, seed=5)
    registry = folder / "registry.toml"
    registry.write_text(
        f'[[model]]\nid = "{MODEL}"\ntitle = "Tiny T5"\ntemplate = "flan-t5"\n'
        '[[model.quant]]\nname = "F32"\nsource = { kind = "path", path = "t5.gguf" }\n'
    )
    flags = ("--registry", str(registry), "--model", MODEL, "--parallel", "4", "--threads", "2")
    with serve(folder, folder, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with server.sdk() as made:
        yield made


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.http() as made:
        yield made


def complete(client: openai.OpenAI, source: str, **options: Any) -> openai.types.Completion:
    settings = {"temperature": 0, "max_tokens": MAX_TOKENS, **options}
    reply: openai.types.Completion = client.completions.create(model=MODEL, prompt=source, **settings)
    return reply


def surely(client: openai.OpenAI, source: str) -> str:
    """What is written from a source when nobody else asks, as far as no two tokens are nearly as likely."""
    choice = complete(client, source, logprobs=2).choices[0]
    assert choice.logprobs is not None
    sure = ""
    for token, top in zip(choice.logprobs.tokens or (), choice.logprobs.top_logprobs or (), strict=True):
        first, second = sorted(top.values(), reverse=True)[:2]
        if first - second < NEAR_TIE:
            break
        sure += "" if token in CONTROL else token
    return sure


@pytest.fixture(scope="module")
def alone(client: openai.OpenAI) -> dict[str, str]:
    """Sources of which enough is sure, and what is."""
    texts = {source: surely(client, source) for source in CANDIDATES}
    return {source: text for source, text in texts.items() if len(text) > 4}


@pytest.fixture(scope="module")
def source(alone: dict[str, str]) -> str:
    """One of them, of middle length."""
    return sorted(alone, key=len)[len(alone) // 2]


def test_answers_hang_on_their_sources(alone: dict[str, str]) -> None:
    assert len(alone) >= 10, "too many near ties"
    assert len(set(alone.values())) > len(alone) * 3 // 4
    assert len({len(source) for source in alone}) >= 6


async def test_many_at_once_get_what_each_gets_alone(server: RunningServer, alone: dict[str, str]) -> None:
    order = random.Random(7)
    asked = order.sample([*alone, *alone], 2 * len(alone))

    async def ask(client: openai.AsyncOpenAI, source: str) -> str:
        stream = await client.completions.create(
            model=MODEL, prompt=source, temperature=0, max_tokens=order.randint(4, MAX_TOKENS), stream=True
        )
        return "".join([chunk.choices[0].text async for chunk in stream])

    async with server.async_sdk() as client:
        texts = await asyncio.gather(*[ask(client, source) for source in asked])
    for source, text in zip(asked, texts, strict=True):
        sure = alone[source]
        assert text.startswith(sure) or sure.startswith(text)


async def test_leaving_while_others_write_and_sources_are_read(server: RunningServer, alone: dict[str, str]) -> None:
    long, others = "all of them said so " * 40, sorted(alone, key=len)[::2]

    async def leave(client: openai.AsyncOpenAI, tokens: int) -> None:
        stream = await client.completions.create(
            model=MODEL, prompt=long, temperature=0, max_tokens=900, stream=True, extra_body={"ignore_eos": True}
        )
        for _ in range(tokens):
            await anext(aiter(stream))
        await stream.close()

    async def ask(client: openai.AsyncOpenAI, source: str) -> str:
        reply = await client.completions.create(model=MODEL, prompt=source, temperature=0, max_tokens=MAX_TOKENS)
        return str(reply.choices[0].text)

    async with server.async_sdk() as client:
        leaving = asyncio.gather(*[leave(client, tokens) for tokens in (0, 1, 3, 0, 5, 2)])
        texts = await asyncio.gather(*[ask(client, source) for source in others])
        await leaving
    for source, text in zip(others, texts, strict=True):
        assert text.startswith(alone[source])
    with server.http() as http:
        assert until(lambda: http.get("/health").status_code == 200)


def test_chat_reads_the_conversation_as_the_family_writes_it(
    client: openai.OpenAI, alone: dict[str, str], source: str
) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": source}],
        temperature=0,
        max_tokens=MAX_TOKENS,
    )
    assert str(reply.choices[0].message.content).startswith(alone[source])


def test_usage_counts_the_source_with_its_end(client: openai.OpenAI, http: httpx.Client) -> None:
    text = http.post("/v1/tokenize", json={"model": MODEL, "text": SENTENCES[2]}).json()
    whole = http.post("/v1/tokenize", json={"model": MODEL, "text": SENTENCES[2], "add_special": True}).json()
    assert whole["tokens"] == [*text["tokens"], 1]
    usage = complete(client, SENTENCES[2], max_tokens=5, extra_body={"ignore_eos": True}).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole["count"], 5)


def test_token_ids_are_a_source_as_they_are(
    client: openai.OpenAI, http: httpx.Client, alone: dict[str, str], source: str
) -> None:
    body = {"model": MODEL, "text": source, "add_special": True}
    tokens = http.post("/v1/tokenize", json=body).json()["tokens"]
    reply = client.completions.create(model=MODEL, prompt=tokens, temperature=0, max_tokens=MAX_TOKENS)
    assert reply.choices[0].text.startswith(alone[source])


def test_choices_share_a_source(client: openai.OpenAI) -> None:
    reply = complete(client, SENTENCES[3], n=4, temperature=1.5, seed=3, logprobs=1)
    assert len({choice.text for choice in reply.choices}) == 4
    firsts = [choice.logprobs for choice in reply.choices]
    tops = [logprobs.top_logprobs[0] for logprobs in firsts if logprobs is not None and logprobs.top_logprobs]
    likeliest = [max(top.items(), key=lambda item: item[1]) for top in tops]
    assert len({token for token, _ in likeliest}) == 1
    assert [value for _, value in likeliest] == pytest.approx([likeliest[0][1]] * 4, abs=1e-2)


def test_best_of_and_several_prompts(client: openai.OpenAI) -> None:
    settings: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": 1}
    reply = client.completions.create(model=MODEL, prompt=list(SENTENCES[:3]), n=1, best_of=3, **settings)
    assert len(reply.choices) == 3


def test_stop_string(client: openai.OpenAI) -> None:
    text = complete(client, SENTENCES[4]).choices[0].text
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    choice = complete(client, SENTENCES[4], stop=stop).choices[0]
    assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_seed_repeats(client: openai.OpenAI) -> None:
    texts = {complete(client, SENTENCES[2], temperature=1, seed=11).choices[0].text for _ in range(2)}
    assert len(texts) == 1


def test_penalties_know_what_was_written_and_not_the_source(client: openai.OpenAI) -> None:
    # Penalties for all of this would lift what is not in it above everything else.
    source = [token for token in range(3, 200) if token != ABSENT] * 4

    def first(**penalties: float) -> str:
        reply = client.completions.create(
            model=MODEL, prompt=source, temperature=0, max_tokens=1, extra_body={"repeat_last_n": -1, **penalties}
        )
        return reply.choices[0].text

    assert first()
    assert first() == first(frequency_penalty=2, presence_penalty=2)


def test_longest_source_and_one_token_more(http: httpx.Client) -> None:
    def ask(count: int) -> httpx.Response:
        body = {"model": MODEL, "prompt": [5] * count, "max_tokens": 3}
        return http.post("/v1/completions", json=body)

    assert ask(CTX).status_code == 200
    refused = ask(CTX + 1)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "1025 tokens" in error["message"]
    assert "encoder reads 1024" in error["message"]


def test_text_ends_at_the_context(client: openai.OpenAI) -> None:
    reply = complete(client, "a", max_tokens=5000, extra_body={"ignore_eos": True})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == CTX - 1


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("completions", {"prompt": "Hello", "echo": True}, "echo"),
        ("completions", {"prompt": "Hello", "echo": True, "logprobs": 1, "max_tokens": 0}, "echo"),
        ("completions", {"prompt": "Hello", "suffix": "there"}, "suffix"),
        ("completions", {"prompt": ""}, "prompt"),
        ("completions", {"prompt": []}, "prompt"),
        ("completions", {"prompt": [100_000]}, "prompt"),
        (
            "chat/completions",
            {
                "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
                "continue_final_message": True,
            },
            "continue_final_message",
        ),
    ],
)
def test_what_cannot_apply_is_refused(http: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    refused = http.post(f"/v1/{path}", json={"model": MODEL, **body})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_worker_is_the_one_that_started(server: RunningServer) -> None:
    """The last test: nothing above has ended the process."""
    assert "a fresh one starts" not in server.words
    assert "ended" not in server.words
