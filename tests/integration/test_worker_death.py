"""The model's process is killed: its requests get an error, the server goes on, and a fresh process takes over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from .conftest import Serve
from .serving import MODEL, RunningServer, until

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
LONG: dict[str, Any] = {
    "model": MODEL,
    "messages": MESSAGES,
    "max_tokens": 900,
    "extra_body": {"ignore_eos": True},
}


def worker_of(server: RunningServer) -> psutil.Process:
    worker = server.worker
    assert worker is not None, "there is no worker"
    return worker


def has_other_worker(server: RunningServer, than: int) -> bool:
    worker = server.worker
    return worker is not None and worker.pid != than


@contextmanager
def streaming(client: openai.OpenAI) -> Iterator[Iterator[ChatCompletionChunk]]:
    """A long stream that has begun."""
    with client.chat.completions.create(**LONG, stream=True) as stream:
        chunks = iter(stream)
        for _ in range(3):
            next(chunks)
        yield chunks


def test_stream_gets_an_error_event_that_the_sdk_raises(fresh_server: RunningServer) -> None:
    with fresh_server.sdk() as client, streaming(client) as chunks:
        worker_of(fresh_server).kill()
        with pytest.raises(openai.APIError) as caught:
            list(chunks)
    assert caught.value.code == "worker_died"
    assert caught.value.type == "server_error"
    assert "-9" in caught.value.message


def test_error_event_has_the_shape_of_openai_and_done_follows(fresh_server: RunningServer) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 900, "ignore_eos": True, "stream": True}
    with fresh_server.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        for _ in range(3):
            next(lines)
        worker_of(fresh_server).kill()
        *_, error, done = list(lines)
    assert done == "data: [DONE]"
    event = json.loads(error.removeprefix("data: "))
    assert set(event) == {"error"}
    assert set(event["error"]) == {"message", "type", "param", "code"}


def test_plain_request_gets_500(fresh_server: RunningServer) -> None:
    with fresh_server.sdk() as client, streaming(client), ThreadPoolExecutor(1) as pool:
        asked: Future[Any] = pool.submit(lambda: client.chat.completions.create(**LONG))
        first = worker_of(fresh_server)
        used = first.cpu_times().user
        until(lambda: first.cpu_times().user > used + 0.5, what="the worker's work on both")
        first.kill()
        with pytest.raises(openai.InternalServerError) as caught:
            asked.result(30)
    assert (caught.value.status_code, caught.value.code) == (500, "worker_died")


def test_next_request_is_answered_by_a_fresh_process(fresh_server: RunningServer) -> None:
    first = worker_of(fresh_server)
    with fresh_server.sdk() as client:
        with streaming(client) as chunks:
            first.kill()
            with pytest.raises(openai.APIError):
                list(chunks)
        reply = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=2)
    assert reply.choices[0].message.content
    assert worker_of(fresh_server).pid != first.pid


def test_worker_that_dies_idle_is_replaced_again_and_again(fresh_server: RunningServer) -> None:
    with fresh_server.sdk() as client:
        for _ in range(3):
            old = worker_of(fresh_server)
            old.kill()
            until(partial(has_other_worker, fresh_server, old.pid), what="a fresh worker")
            reply = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=1)
            assert reply.choices[0].message.content


def test_models_and_health_answer_all_the_while(fresh_server: RunningServer) -> None:
    states: list[str] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def watch() -> None:
        with fresh_server.http() as http:
            while not stop.is_set():
                statuses.add(http.get("/health", timeout=2).status_code)
                models = http.get("/v1/models", timeout=2)
                statuses.add(models.status_code)
                states.append(models.json()["data"][0]["state"])

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            until(lambda: "ready" in states)
            worker_of(fresh_server).kill()
            until(lambda: "loading" in states, what="loading")
            until(lambda: states[-1] == "ready", what="ready")
        finally:
            stop.set()
        watching.result(10)
    assert statuses == {200}


def test_ready_says_no_until_the_fresh_process_is_loaded(fresh_server: RunningServer) -> None:
    worker_of(fresh_server).kill()
    statuses = []

    def is_back() -> bool:
        statuses.append(httpx.get(f"{fresh_server.url}/ready", trust_env=False).status_code)
        return 503 in statuses and statuses[-1] == 200

    until(is_back, what="/ready")


def test_worker_does_not_outlive_a_killed_server(serve_with: Serve) -> None:
    server = serve_with()
    worker = worker_of(server)
    server.process.kill()
    server.process.wait()
    worker.wait(10)
