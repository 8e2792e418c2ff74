"""What was computed is there again after a restart, and when a model comes back that had to go.

Texts are compared that go on from the same number of cached tokens: other numbers are other batches, in which llama.cpp
sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Serve
from .serving import MODEL, RunningServer, until

Start = Callable[..., RunningServer]

SYSTEM = "You are the narrator of a very long tale about a lighthouse. " * 30
STORY = "Tell me what happens on the island in winter, and do not hurry. " * 20


@pytest.fixture
def prefixes(tmp_path: Path) -> Path:
    return tmp_path / "prefixes"


@pytest.fixture
def start(serve_with: Serve, prefixes: Path) -> Callable[..., RunningServer]:
    def begin(*flags: str) -> RunningServer:
        return serve_with(
            "--ctx-size", "2048", "--speculate", "off", *flags, env={"LOCALCHAT_PREFIX_DIR": str(prefixes)}
        )

    return begin


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def ask(server: RunningServer, *messages: dict[str, str]) -> tuple[str, int, int]:
    """The answer, how many tokens of the prompt were cached, and how many it has."""
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 12, "ignore_eos": True}
    with server.http() as client:
        reply = client.post("/v1/chat/completions", json=body).json()
    usage = reply["usage"]
    return (
        reply["choices"][0]["message"]["content"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["prompt_tokens"],
    )


def end(server: RunningServer) -> None:
    server.process.terminate()
    server.wait()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.prefix"))


def test_a_conversation_goes_on_after_a_restart(start: Start, prefixes: Path) -> None:
    begun = [turn("user", SYSTEM + STORY)]
    first = start()
    said, cached, _ = ask(first, *begun)
    assert cached == 0
    begun += [turn("assistant", said), turn("user", "Go on.")]
    _, cached_in_memory, length = ask(first, *begun)
    assert 0 < cached_in_memory < length
    # Of the same prompt all is there but the last token, which is computed to know what follows.
    text, _, _ = in_memory = ask(first, *begun)
    assert in_memory[1:] == (length - 1, length)
    end(first)
    assert len(files(prefixes)) == 1
    second = start()
    assert ask(second, *begun) == in_memory
    begun += [turn("assistant", text), turn("user", "And then?")]
    _, cached, longer = ask(second, *begun)
    assert length <= cached < longer


def test_what_users_share_is_there_for_the_next_one(start: Start) -> None:
    first = start()
    counts = [ask(first, turn("system", SYSTEM), turn("user", f"{name}: hello"))[1:] for name in ("Anne", "Bert")]
    assert counts[1][0] > 0.9 * counts[1][1]
    end(first)
    second = start()
    _, cached, length = ask(second, turn("system", SYSTEM), turn("user", "Who are you?"))
    assert 0.9 * length < cached < length


def test_damaged_files_serve_nobody(start: Start, prefixes: Path) -> None:
    prompt = turn("user", SYSTEM + STORY)
    first = start()
    text, _, length = ask(first, prompt)
    end(first)
    (path,) = files(prefixes)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    second = start()
    assert ask(second, prompt) == (text, 0, length)
    until(lambda: "is removed: its content is not what it was" in second.words, what="a warning")
    assert not path.exists()


@pytest.mark.parametrize("flags", [("--prefix-disk", "0"), ("--prefix-disk", "1K")])
def test_nothing_is_written_where_nothing_may_be(start: Start, prefixes: Path, flags: tuple[str, ...]) -> None:
    server = start(*flags)
    ask(server, turn("user", SYSTEM + STORY))
    end(server)
    assert files(prefixes) == []


def test_a_model_that_was_unloaded_finds_its_prefixes_again(start: Start, prefixes: Path) -> None:
    server = start("--keep-alive", "1s")
    prompt = turn("user", SYSTEM + STORY)
    ask(server, prompt)
    in_memory = ask(server, prompt)
    until(lambda: server.worker is None, what="the end of the worker")
    assert len(files(prefixes)) == 1
    assert ask(server, prompt) == in_memory
