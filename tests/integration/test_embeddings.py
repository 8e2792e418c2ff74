"""`/v1/embeddings` with the official `openai` package, over a real MiniLM."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from localchat.hub.progress import SilentProgress
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from minilm import minilm_checkpoint

from .serving import MODEL, RunningServer, serve

MINILM = "all-minilm-l6-v2"
WIDTH = 384
TEXTS = ["A cat sits on the mat.", "Ein Satz auf Deutsch, etwas länger als der erste.", "x", "def f(x): return x + 1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, embedded_model_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("minilm")
    file = folder / "minilm.gguf"
    plan_conversion(Checkpoint(minilm_checkpoint())).write(file, "F16", SilentProgress())
    (folder / MODEL).mkdir()
    shutil.copy(embedded_model_path, folder / MODEL)
    registry = folder / "registry.toml"
    registry.write_text(
        f'[[model]]\nid = "{MINILM}"\ntitle = "MiniLM"\ntemplate = "none"\n'
        '[[model.quant]]\nname = "F16"\nsource = { kind = "path", path = "minilm.gguf" }\n'
    )
    flags = ("--registry", str(registry), "--model", MINILM, "--model", MODEL, "--ctx-size", "1024")
    with serve(folder, embedded_model_path.parents[1], *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with server.sdk() as made:
        yield made


@pytest.fixture(scope="module")
def reference() -> Any:
    """MiniLM by transformers: the mean of all tokens' states, at length 1."""
    torch, hf = pytest.importorskip("torch"), pytest.importorskip("transformers")
    own = hf.AutoModel.from_pretrained(minilm_checkpoint()).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(minilm_checkpoint())

    def embed(text: str) -> Any:
        with torch.no_grad():
            mean = own(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    return embed


def embed(client: openai.OpenAI, input: Any, **more: Any) -> list[Any]:
    reply = client.embeddings.create(model=MINILM, input=input, **more)
    assert [one.index for one in reply.data] == list(range(len(reply.data)))
    return [np.array(one.embedding) for one in reply.data]


def test_vectors_are_the_models_own(client: openai.OpenAI, reference: Any) -> None:
    for text, vector in zip(TEXTS, embed(client, TEXTS), strict=True):
        assert vector @ reference(text) > 1 - 1e-3
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_floats_and_base64_are_the_same(client: openai.OpenAI, server: RunningServer) -> None:
    as_floats = embed(client, TEXTS, encoding_format="float")
    assert np.allclose(as_floats, embed(client, TEXTS), atol=1e-3)  # the SDK asks for base64 and spells it out
    with server.http() as http:
        reply = http.post("/v1/embeddings", json={"model": MINILM, "input": "x", "encoding_format": "base64"}).json()
    spelled = np.frombuffer(base64.b64decode(reply["data"][0]["embedding"]), "<f4")
    assert np.allclose(spelled, as_floats[2], atol=1e-3)


def test_token_ids_are_taken_as_they_are(client: openai.OpenAI) -> None:
    [text] = embed(client, "a cat")
    [tokens] = embed(client, [101, 1037, 4937, 102])
    assert text @ tokens == pytest.approx(1, abs=1e-4)
    assert len(embed(client, [[101, 1037, 102], [101, 4937, 102]])) == 2


def test_usage_counts_every_text(client: openai.OpenAI) -> None:
    reply = client.embeddings.create(model=MINILM, input=["a cat", "a"])
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (4 + 3, 7)


def test_fewer_dimensions_are_the_first_ones_at_length_1(client: openai.OpenAI) -> None:
    [whole], [cut] = embed(client, "a cat"), embed(client, "a cat", dimensions=64)
    assert len(cut) == 64
    assert np.allclose(cut, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-4)
    with pytest.raises(openai.BadRequestError, match="dimensions is 400, and this model's vectors have 384"):
        embed(client, "a cat", dimensions=400)


def test_many_texts_are_what_they_are_alone(client: openai.OpenAI) -> None:
    texts = [f"text {number} " + "word " * (number % 40) for number in range(150)]
    together = embed(client, texts)
    for number in (0, 39, 77, 149):
        [alone] = embed(client, texts[number])
        assert alone @ together[number] > 1 - 1e-3


async def test_calls_at_once_do_not_meet(server: RunningServer) -> None:
    async with server.async_sdk() as client:

        async def ask(number: int) -> Any:
            reply = await client.embeddings.create(model=MINILM, input=[f"{number} " * (number + 1)] * (number % 3 + 1))
            return [np.array(one.embedding) for one in reply.data]

        together = await asyncio.gather(*[ask(number) for number in range(24)])
        for number in (0, 11, 23):
            for vector in together[number]:
                assert vector @ (await ask(number))[0] > 1 - 1e-3


def test_text_that_is_too_long_is_refused_with_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        embed(client, ["short", "cat " * 600])
    assert "input[1] has 602 tokens, and this model reads 512 at once" in caught.value.message
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input[1]")


@pytest.mark.parametrize("input", ["", [], ["a", ""], [[]], [10**6], ["a"] * 2049])
def test_input_that_is_none_is_refused(client: openai.OpenAI, input: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        embed(client, input)
    assert str(caught.value.param).startswith("input")


def test_model_that_makes_vectors_writes_no_text_and_the_other_way_round(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="makes embeddings and writes no text"):
        client.chat.completions.create(model=MINILM, messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError, match="makes embeddings and writes no text"):
        client.completions.create(model=MINILM, prompt="Hi")
    with pytest.raises(openai.BadRequestError, match="writes text and makes no embeddings"):
        client.embeddings.create(model=MODEL, input="Hi")


def test_field_without_effect_is_named(server: RunningServer) -> None:
    with server.http() as http:
        reply: httpx.Response = http.post("/v1/embeddings", json={"model": MINILM, "input": "x", "user": "me"})
    assert reply.headers["x-localchat-ignored"] == "user"
