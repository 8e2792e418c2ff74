"""Ten models of ten architectures in one server, under a memory cap that holds three of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import openai
import psutil
import pytest

from localchat.registry import load_registry
from tiny_models import build

from .serving import RunningServer, serve

SEED = 20261125
MIB = 1 << 20
CAP = 210 * MIB
"""A worker of a tiny model takes some 60 MiB, nearly all of it the interpreter."""
WORKERS = 3
CONTEXT = 1024

PEOPLE, TURNS = 12, 6
"""How many talk at once, and how often each asks some model something."""

# Architecture → prompt family. The last two bring a template of their own.
FAMILIES = {
    "llama": "vicuna-v1.1",
    "mpt": "mpt-chatml",
    "gptneox": "oasst-endoftext",
    "gpt2": "camel-writer",
    "bloom": "bloomz",
    "falcon": "falcon-instruct",
    "starcoder": "starchat",
    "phi2": "gpt4all-j",
    "qwen2": "gguf",
    "mamba": "gguf",
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CANDIDATES = (
    "Hello there!",
    "What is it that you will not say?",
    "How are they about this, and which of them said so?",
    "They were all in.",
    "When can we have some?",
    "1 + 1 =",
)
QUESTIONS = 3
"""How many each model is asked of the candidates."""
NEAR_TIE = 0.02
"""Logits change by some thousandths with the sequences that share a step, and with what is left in the KV cache."""


class Ask(NamedTuple):
    """A question to a model."""

    model: str
    question: str


class Reply(NamedTuple):
    """What came back."""

    model: str
    text: str
    finish: str | None


@dataclass
class Watch:
    """Looks at the workers of a server, again and again, until it is told to stop or the server has ended."""

    server: psutil.Process
    peak: int = 0
    most: int = 0
    seen: set[psutil.Process] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # the server has ended
            while not self._stop.wait(0.02):
                sizes = {worker: size for worker in self.server.children() if (size := _size(worker))}
                self.peak = max(self.peak, sum(sizes.values()))
                self.most = max(self.most, len(sizes))
                self.seen |= sizes.keys()


def _size(process: psutil.Process) -> int:
    """The resident memory of a worker; 0 of what has ended, or has not become one since it was forked."""
    try:
        return int(process.memory_info().rss) if "localchat.worker.process" in process.cmdline() else 0
    except psutil.Error:
        return 0


@dataclass(frozen=True)
class Storm:
    """What was asked, what came back, and what the machine looked like meanwhile."""

    expected: dict[Ask, str]
    replies: list[tuple[Ask, Reply]]
    watch: Watch
    states: set[str]
    words: str
    exit_code: int


def write_models(folder: Path) -> Path:
    """Ten files and the registry that names them."""
    families = load_registry().templates
    entries = []
    for seed, (architecture, family) in enumerate(FAMILIES.items()):
        has_own = family not in families
        build(
            folder / f"{architecture}.gguf",
            architecture,
            chat_template=CHATML if has_own else None,
            special_tokens=("<|im_start|>", "<|im_end|>") if has_own else families[family].special_tokens,
            context_length=CONTEXT,
            seed=seed,
        )
        entries.append(
            f'[[model]]\nid = "tiny-{architecture}"\ntitle = "Tiny"\ntemplate = "{family}"\n'
            f'[[model.quant]]\nname = "F32"\nsource = {{ kind = "path", path = "{architecture}.gguf" }}\n'
        )
    registry = folder / "registry.toml"
    registry.write_text("\n".join(entries))
    return registry


def messages(question: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": question}]


def decided_answer(client: openai.OpenAI, ask: Ask) -> str | None:
    """What a model answers when nobody else asks; None where two tokens were nearly as likely."""
    reply = client.chat.completions.create(
        model=ask.model,
        messages=messages(ask.question),
        temperature=0,
        max_tokens=16,
        logprobs=True,
        top_logprobs=2,
    )
    assert reply.model == ask.model
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    for token in logprobs.content or ():
        first, second = token.top_logprobs
        if first.logprob - second.logprob < NEAR_TIE:
            return None
    return reply.choices[0].message.content


def answers_alone(server: RunningServer) -> dict[Ask, str]:
    """Some questions to each model, and the answers."""
    expected: dict[Ask, str] = {}
    with server.sdk() as client:
        for architecture in FAMILIES:
            asks = [Ask(f"tiny-{architecture}", question) for question in CANDIDATES]
            answers = {ask: text for ask in asks if (text := decided_answer(client, ask)) is not None}
            expected |= dict(list(answers.items())[:QUESTIONS])
    return expected


async def ask_plainly(client: openai.AsyncOpenAI, ask: Ask) -> Reply:
    reply = await client.chat.completions.create(
        model=ask.model, messages=messages(ask.question), temperature=0, max_tokens=16
    )
    return Reply(reply.model, reply.choices[0].message.content or "", reply.choices[0].finish_reason)


async def ask_for_a_stream(client: openai.AsyncOpenAI, ask: Ask) -> Reply:
    stream = await client.chat.completions.create(
        model=ask.model, messages=messages(ask.question), temperature=0, max_tokens=16, stream=True
    )
    text, names, finish = "", set[str](), None
    async for chunk in stream:
        names.add(chunk.model)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    (name,) = names
    return Reply(name, text, finish)


async def talk_all_at_once(server: RunningServer, asks: Sequence[Ask]) -> list[tuple[Ask, Reply]]:
    """Each person asks one thing after the other, of whichever model."""
    turns = list(itertools.islice(itertools.cycle(asks), PEOPLE * TURNS))
    random.Random(SEED).shuffle(turns)

    async def person(number: int) -> list[tuple[Ask, Reply]]:
        way = ask_for_a_stream if number % 2 else ask_plainly
        return [(ask, await way(client, ask)) for ask in turns[number::PEOPLE]]

    async with server.async_sdk() as client:
        return [pair for pairs in await asyncio.gather(*map(person, range(PEOPLE))) for pair in pairs]


@contextlib.contextmanager
def watching_states(server: RunningServer) -> Iterator[set[str]]:
    """The states that `/v1/models` tells meanwhile; fails when it does not answer."""
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        with server.http() as http:
            while not stop.wait(0.1):
                models = http.get("/v1/models").raise_for_status().json()["data"]
                seen.update(model["state"] for model in models if model["id"].startswith("tiny-"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("ten")
    registry = write_models(folder)
    flags = ("--registry", str(registry), "--model", "tiny-llama", "--on-demand", "--memory", f"{CAP // MIB}M")
    with serve(folder, folder, *flags, "--parallel", "2") as server, Watch(psutil.Process(server.process.pid)) as watch:
        expected = answers_alone(server)
        with watching_states(server) as states:
            replies = asyncio.run(talk_all_at_once(server, list(expected)))
        server.process.send_signal(signal.SIGINT)
        yield Storm(expected, replies, watch, states, server.words, server.wait())


def test_every_model_was_asked_and_no_two_say_the_same(storm: Storm) -> None:
    asked = Counter(ask.model for ask in storm.expected)
    assert set(asked) == {f"tiny-{architecture}" for architecture in FAMILIES}
    assert min(asked.values()) >= 2, "too many answers hang on a near tie"
    for (ask, text), (other, same) in itertools.combinations(storm.expected.items(), 2):
        assert ask.model == other.model or text != same


def test_no_request_is_lost_and_each_gets_the_answer_that_its_model_gives_alone(storm: Storm) -> None:
    assert len(storm.replies) == PEOPLE * TURNS
    wrong = [
        (ask, reply)
        for ask, reply in storm.replies
        if (reply.model, reply.text) != (ask.model, storm.expected[ask]) or reply.finish not in ("length", "stop")
    ]
    assert wrong == []


def test_models_come_and_go(storm: Storm) -> None:
    assert storm.states == {"ready", "loading", "unloaded"}
    assert len(storm.watch.seen) > 2 * len(FAMILIES), "each was loaded once before the storm, and some again in it"
    assert storm.watch.most <= WORKERS


def test_the_workers_memory_stays_below_the_cap(storm: Storm) -> None:
    assert 0 < storm.watch.peak <= CAP


def test_nothing_is_left_after_the_stop(storm: Storm) -> None:
    assert storm.exit_code == 0
    assert not [worker for worker in storm.watch.seen if worker.is_running()]
    assert "Traceback" not in storm.words
