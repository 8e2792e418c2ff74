"""Completions with a suffix: what the model reads is exactly what it was trained to fill gaps by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tiny_models import build

from .serving import RunningServer, serve

BEFORE, AFTER = "def what(are, ", "):\n    of"
GAP = f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>"


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningServer]:
    """A server of a tiny StarCoder."""
    folder = tmp_path_factory.mktemp("infill")
    path = build(folder / "coder.gguf", "starcoder")
    with serve(folder, models_dir, "--model", str(path), "--ctx-size", "256") as server:
        yield server


@pytest.fixture(scope="module")
def sdk(coder: RunningServer) -> Iterator[openai.OpenAI]:
    with coder.sdk() as made:
        yield made


def tokens_of(coder: RunningServer, text: str, *, special: bool = False) -> list[int]:
    with coder.http() as http:
        body = {"model": "coder", "text": text, "parse_special": special}
        reply: list[int] = http.post("/v1/tokenize", json=body).json()["tokens"]
    return reply


def complete(sdk: openai.OpenAI, **fields: Any) -> Any:
    return sdk.completions.create(model="coder", temperature=0, max_tokens=8, **fields)


@pytest.mark.parametrize("as_tokens", [False, True], ids=["text", "tokens"])
def test_gap_is_filled_as_the_same_tokens_are_continued(
    coder: RunningServer, sdk: openai.OpenAI, as_tokens: bool
) -> None:
    prompt = tokens_of(coder, GAP, special=True)
    expected = complete(sdk, prompt=prompt)
    filled = complete(sdk, prompt=tokens_of(coder, BEFORE) if as_tokens else BEFORE, suffix=AFTER)
    assert filled.usage.prompt_tokens == len(prompt)
    assert filled.choices[0].text == expected.choices[0].text


def test_special_tokens_that_the_code_spells_out_are_text(coder: RunningServer, sdk: openai.OpenAI) -> None:
    written = "<fim_suffix>"
    filled = complete(sdk, prompt=written, suffix=written)
    assert filled.usage.prompt_tokens == 3 + 2 * len(tokens_of(coder, written)) > 5


def test_streamed_gap_says_the_same(sdk: openai.OpenAI) -> None:
    plain = complete(sdk, prompt=BEFORE, suffix=AFTER)
    chunks = list(complete(sdk, prompt=BEFORE, suffix=AFTER, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text


def test_echo_gives_the_prefix_back(sdk: openai.OpenAI) -> None:
    filled = complete(sdk, prompt=BEFORE, suffix=AFTER, echo=True)
    assert filled.choices[0].text.startswith(BEFORE)


def test_logprobs_of_an_echoed_prefix_are_refused(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(sdk, prompt=BEFORE, suffix=AFTER, echo=True, logprobs=0)
    assert caught.value.param == "echo"


def test_gap_that_is_too_long_is_refused_with_numbers(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"prompt has \d{3} tokens.*holds 256") as caught:
        complete(sdk, prompt="what " * 200, suffix="are " * 100)
    assert caught.value.code == "context_length_exceeded"


def test_model_without_infill_tokens_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="smollm2-135m-instruct has no infill tokens") as caught:
        client.completions.create(model="smollm2-135m-instruct", prompt="a", suffix="b")
    assert caught.value.param == "suffix"


def test_empty_suffix_asks_such_a_model_for_nothing(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="smollm2-135m-instruct", prompt="The cat", suffix="", max_tokens=2)
    assert reply.choices[0].finish_reason == "length"
