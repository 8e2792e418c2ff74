"""Several models in one server: together, on demand, by another name, for a while, and as their licenses allow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tiny_models import build

from .conftest import Serve
from .serving import RunningServer, run, until

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENTRY = """
[[model]]
id = "{id}"
title = "{id}"
license = "{license}"
commercial = {{ use = "{use}", why = "{why}" }}
quant = [{{ name = "F32", source = {{ kind = "path", path = "{path}" }} }}]
"""
FLAGS = ("--ctx-size", "512", "--parallel", "2")

Start = Callable[..., RunningServer]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Three tiny models; `free` may be used commercially, `gift` may not, and of `found` nobody knows."""
    verdicts = {
        "free": ("MIT", "yes", "MIT allows it"),
        "gift": ("CC-BY-NC-4.0", "no", "NonCommercial clause of CC-BY-NC-4.0"),
        "found": ("none", "unknown", "nobody has read it"),
    }
    entries: list[str] = []
    for id, (license, use, why) in verdicts.items():
        path = build(tmp_path / f"{id}.gguf", "qwen2", chat_template=CHATML, seed=len(entries))
        entries.append(ENTRY.format(id=id, license=license, use=use, why=why, path=path))
    file = tmp_path / "models.toml"
    file.write_text("".join(entries))
    return file


@pytest.fixture
def start(serve_with: Serve, registry: Path) -> Start:
    return lambda *flags: serve_with("--registry", str(registry), *FLAGS, *flags)


def ask(client: openai.OpenAI, model: str, **extra: Any) -> str:
    messages: Any = [{"role": "user", "content": "Hi"}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=3, extra_body=extra).model


def state(server: RunningServer, model: str) -> str:
    with server.http() as http:
        return str(http.get(f"/v1/models/{model}").json()["state"])


def test_two_models_answer_in_one_server(start: Start) -> None:
    server = start("--model", "free", "--model", "gift")
    with server.sdk() as client:
        assert [ask(client, id) for id in ("free", "gift", "free")] == ["free", "gift", "free"]
        listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"free", "gift"}
    assert [getattr(listed[id], "commercial") for id in ("free", "gift")] == ["yes", "no"]  # noqa: B009
    assert [getattr(listed[id], "license") for id in ("free", "gift")] == ["MIT", "CC-BY-NC-4.0"]  # noqa: B009


def test_without_on_demand_other_models_are_not_found(start: Start) -> None:
    server = start("--model", "free")
    with server.sdk() as client, pytest.raises(openai.NotFoundError) as caught:
        ask(client, "gift")
    assert caught.value.code == "model_not_found"
    assert "these are: free" in caught.value.message


def test_on_demand_a_model_of_the_registry_is_loaded_by_its_first_request(start: Start) -> None:
    server = start("--model", "free", "--on-demand")
    assert state(server, "gift") == "unloaded"
    with server.sdk() as client:
        assert ask(client, "gift") == "gift"
    assert state(server, "gift") == "ready"


@pytest.mark.parametrize("name", ["/etc/passwd", "./x.gguf", "hf:a/b/c.gguf", "nobody"])
def test_requests_name_ids_alone(start: Start, name: str) -> None:
    server = start("--model", "free", "--on-demand")
    with server.sdk() as client, pytest.raises(openai.NotFoundError):
        ask(client, name)


def test_alias_is_answered_by_the_model_that_it_stands_for(start: Start) -> None:
    server = start("--model", "free", "--alias", "gpt-4o-mini=free")
    with server.sdk() as client:
        assert ask(client, "gpt-4o-mini") == "free"
        listed = {model.id: getattr(model, "alias_of") for model in client.models.list()}  # noqa: B009
    assert listed == {"free": None, "gpt-4o-mini": "free"}


def test_keep_alive_of_a_request_unloads_and_the_next_one_loads_again(start: Start) -> None:
    server = start("--model", "free")
    with server.sdk() as client:
        ask(client, "free", keep_alive=0)
        until(lambda: state(server, "free") == "unloaded", what="unloaded")
        assert server.worker is None
        assert ask(client, "free", keep_alive="10m") == "free"
    assert state(server, "free") == "ready"


@pytest.mark.parametrize(("model", "reason"), [("gift", "NonCommercial clause"), ("found", "nobody has read it")])
def test_commercial_server_does_not_start_with_such_a_model(
    tmp_path: Path, registry: Path, model: str, reason: str
) -> None:
    ended = run(tmp_path, "serve", "--port", "0", "--registry", registry, "--model", model, "--commercial")
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_commercial_server_refuses_such_a_model_on_demand(start: Start) -> None:
    server = start("--model", "free", "--on-demand", "--commercial")
    with server.sdk() as client:
        assert ask(client, "free") == "free"
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, "gift")
    assert caught.value.status_code == 403
    assert "NonCommercial clause" in caught.value.message


def test_cap_that_holds_one_model_serves_two_in_turn(start: Start) -> None:
    server = start("--model", "free", "--on-demand", "--memory", "80M")
    with server.sdk() as client:
        for id, other in (("free", "gift"), ("gift", "free"), ("free", "gift")):
            assert ask(client, id) == id
            assert (state(server, id), state(server, other)) == ("ready", "unloaded")


def test_stream_is_complete_although_its_models_memory_is_wanted(start: Start) -> None:
    server = start("--model", "free", "--on-demand", "--memory", "80M")
    messages: Any = [{"role": "user", "content": "Hi"}]
    with server.sdk() as client, ThreadPoolExecutor(1) as pool:
        stream = client.chat.completions.create(
            model="free",
            messages=messages,
            max_tokens=450,
            extra_body={"ignore_eos": True},
            stream=True,
            stream_options={"include_usage": True},
        )
        with stream as chunks:
            next(iter(chunks))
            asked = pool.submit(ask, client, "gift")
            *_, last = chunks
        assert last.usage
        assert last.usage.completion_tokens == 450
        assert asked.result(30) == "gift"


def test_model_too_large_for_the_cap_is_refused_with_the_sum(tmp_path: Path, registry: Path) -> None:
    ended = run(tmp_path, "serve", "--port", "0", "--registry", registry, "--model", "free", "--memory", "20M", *FLAGS)
    assert ended.returncode == 1
    assert "weights" in ended.stderr
    assert "--force" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
