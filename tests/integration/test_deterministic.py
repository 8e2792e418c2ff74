"""`deterministic: true`: the same text and the same probabilities, whatever else the server does."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from .serving import MODEL, RunningServer

LONG = "Here is a list of words: " + ", ".join(f"word {number}" for number in range(30))


def request(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{LONG}. Tell a story with them."}]
    return {"model": MODEL, "messages": messages, "max_tokens": 12, "logprobs": True, "top_logprobs": 2, **more}


async def answer(client: openai.AsyncOpenAI, **more: Any) -> Any:
    reply = await client.chat.completions.create(**request(**more))
    assert reply.choices[0].logprobs
    assert reply.usage
    assert reply.usage.prompt_tokens_details
    assert reply.usage.prompt_tokens_details.cached_tokens == 0
    entries = reply.choices[0].logprobs.content or []
    return reply.choices[0].message.content, [(entry.token, entry.logprob) for entry in entries]


async def noise(client: openai.AsyncOpenAI, number: int, stop: asyncio.Event) -> None:
    """Requests of all lengths, one after the other."""
    turn = 0
    while not stop.is_set():
        turn += 1
        content = f"{number} {turn} " + "noise " * ((number * 37 + turn * 11) % 90)
        messages: Any = [{"role": "user", "content": content}]
        await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=3 + (number + turn) % 17)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.0}])
async def test_same_text_and_probabilities_at_any_load(server: RunningServer, sampling: dict[str, Any]) -> None:
    async with server.async_sdk() as client:
        more = {**sampling, "extra_body": {"deterministic": True}}
        alone = await answer(client, **more)
        stop = asyncio.Event()
        crowd = [asyncio.create_task(noise(client, number, stop)) for number in range(3)]
        try:
            for _ in range(2):
                assert await answer(client, **more) == alone
            together = await asyncio.gather(*[answer(client, **more) for _ in range(2)])
            assert together == [alone] * 2
        finally:
            stop.set()
            await asyncio.gather(*crowd)
        assert await answer(client, **more) == alone


async def test_shared_buffer_refuses_it(serve_with: Any) -> None:
    server = serve_with("--kv-unified")
    with server.sdk() as client, pytest.raises(openai.BadRequestError, match="share a KV buffer") as caught:
        client.chat.completions.create(**request(extra_body={"deterministic": True}))
    assert caught.value.param == "deterministic"
