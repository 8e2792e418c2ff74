"""Two lanes under load, through the official client: judged by the order of events, never by the clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from .conftest import Serve
from .serving import MODEL, RunningServer

KEYS = ("--api-key", "sesame", "--api-key", "barley", "--background-api-key", "rye")
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]


def request(word: str, max_tokens: int, **more: Any) -> dict[str, Any]:
    """A question that is answered greedily, at a known length."""
    messages = [{"role": "user", "content": f"Write about {word}."}]
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": max_tokens}
    return body | {"stream": True, "extra_body": {"ignore_eos": True}} | more


@dataclass
class Crowd:
    """Many requests, and what happened in which order."""

    client: openai.AsyncOpenAI
    events: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    tiers: set[tuple[str, str | None]] = field(default_factory=set)

    async def ask(self, name: str, body: dict[str, Any], key: str = "none") -> None:
        """Stream an answer to its end; its first text and its end are events."""
        self.texts[name] = ""
        async with await self.client.with_options(api_key=key).chat.completions.create(**body) as stream:
            self.events.append(("accepted", name))
            async for chunk in stream:
                self.tiers.add((name, chunk.service_tier))
                text = chunk.choices[0].delta.content if chunk.choices else None
                if text and not self.texts[name]:
                    self.events.append(("first", name))
                self.texts[name] += text or ""
        self.events.append(("end", name))

    async def happens(self, event: str, times: int) -> None:
        """Wait until an event has happened so often."""
        while sum(kind == event for kind, _ in self.events) < times:
            await asyncio.sleep(0.005)

    def when(self, event: str, name: str) -> int:
        return self.events.index((event, name))


async def test_interactive_request_is_answered_before_the_queue_of_the_background(serve_with: Serve) -> None:
    server = serve_with("--parallel", "2")
    async with server.async_sdk() as client:
        crowd = Crowd(client)
        work = [asyncio.create_task(crowd.ask(word, request(word, 80, service_tier="flex"))) for word in WORDS]
        await crowd.happens("first", 2)
        await crowd.happens("accepted", len(WORDS))
        started = {name for event, name in crowd.events if event == "first"}
        await crowd.ask("question", request("questions", 5))
        await asyncio.gather(*work)
    queued = set(WORDS) - started
    assert queued
    assert all(crowd.when("end", "question") < crowd.when("first", word) for word in queued)
    assert all(crowd.when("end", "question") < crowd.when("end", word) for word in started)
    assert {tier for name, tier in crowd.tiers if name == "question"} == {"default"}
    assert {tier for name, tier in crowd.tiers if name != "question"} == {"flex"}


async def test_text_of_one_that_gave_way_goes_on_where_it_was(serve_with: Serve) -> None:
    server = serve_with("--parallel", "1")
    async with server.async_sdk() as client:
        crowd = Crowd(client)
        body = request("the sea", 60, stream_options={"include_usage": True}, logprobs=True)
        await crowd.ask("undisturbed", body)
        work = asyncio.create_task(crowd.ask("disturbed", body | {"service_tier": "flex"}))
        await crowd.happens("first", 2)
        await crowd.ask("question", request("questions", 5))
        assert ("end", "disturbed") not in crowd.events
        written = len(crowd.texts["disturbed"])
        await work
    mine, theirs = crowd.texts["disturbed"], crowd.texts["undisturbed"]
    assert mine[: written + 20] == theirs[: written + 20]  # logits that are nearly equal may swap, but not so soon


async def test_key_with_many_requests_does_not_hold_up_another(serve_with: Serve) -> None:
    server = serve_with("--parallel", "1", *KEYS)
    async with server.async_sdk() as client:
        crowd = Crowd(client)
        many = [asyncio.create_task(crowd.ask(word, request(word, 30), key="sesame")) for word in WORDS]
        await crowd.happens("accepted", len(WORDS))
        started = {name for event, name in crowd.events if event == "first"}
        await crowd.ask("few", request("few", 5), key="barley")
        await asyncio.gather(*many)
    assert len(started) < len(WORDS)
    before = [name for event, name in crowd.events[: crowd.when("first", "few")] if event == "first"]
    assert len(set(before) - started) <= 2  # those that ended and began while it was on its way


async def test_full_background_leaves_room_for_others(serve_with: Serve) -> None:
    server = serve_with("--parallel", "1", "--queue-size", "1")
    async with server.async_sdk() as client:
        crowd = Crowd(client)
        work = [asyncio.create_task(crowd.ask(word, request(word, 60, service_tier="flex"))) for word in WORDS[:2]]
        await crowd.happens("accepted", 2)
        with pytest.raises(openai.InternalServerError) as caught:
            await crowd.ask("one too many", request("cats", 5, service_tier="flex"))
        assert caught.value.code == "queue_full"
        await crowd.ask("question", request("cats", 5))
        assert not any(("end", word) in crowd.events for word in WORDS[1:2])
        await asyncio.gather(*work)


async def test_key_bound_to_the_background_stays_there(serve_with: Serve) -> None:
    server = serve_with(*KEYS)
    async with server.async_sdk() as client:
        crowd = Crowd(client)
        await crowd.ask("bound", request("cats", 3, extra_headers={"X-Priority": "interactive"}), key="rye")
        await crowd.ask("free", request("cats", 3), key="barley")
        await crowd.ask("asked", request("cats", 3, extra_headers={"X-Priority": "background"}), key="barley")
    assert crowd.tiers == {("bound", "flex"), ("free", "default"), ("asked", "flex")}
    assert not any(key in server.words for key in ("sesame", "barley", "rye"))


@pytest.mark.parametrize(
    ("asked", "served"),
    [(None, "default"), *((tier, "default") for tier in ("auto", "default", "fast", "priority")), ("flex", "flex")],
)
def test_reply_says_which_tier_served_it(client: openai.OpenAI, asked: str | None, served: str) -> None:
    given: Any = {} if asked is None else {"service_tier": asked}
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=2, **given
    )
    assert reply.service_tier == served


def test_unknown_tier_and_priority_are_refused_by_name(client: openai.OpenAI, server: RunningServer) -> None:
    hi: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(openai.BadRequestError) as tier:
        client.chat.completions.create(**hi, extra_body={"service_tier": "scale"})
    assert tier.value.param == "service_tier"
    with pytest.raises(openai.BadRequestError) as priority:
        client.completions.create(model=MODEL, prompt="Hi", extra_headers={"X-Priority": "high"})
    assert priority.value.param == "X-Priority"
    assert client.completions.create(
        model=MODEL, prompt="Hi", max_tokens=1, extra_headers={"X-Priority": "background"}
    ).choices
