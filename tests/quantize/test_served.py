"""One command takes each architecture's checkpoint to a model that is served and streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.serving import RunningServer, serve
from localchat.cli.app import main
from localchat_quantize.convert.table import CONVERTERS
from tiny_checkpoints.case import Case
from tiny_checkpoints.cases import CASES, TOKENS
from tiny_checkpoints.encoder_decoders import ENCODER_DECODERS, EncoderDecoderCase

TWINS = {
    "llama": "llama grouped",
    "llama with biases": "llama grouped",
    "llama tied": "llama grouped",
    "llama stretched": "llama stretched as in 3.1",
    "llama of another base": "llama stretched as in 3.1",
    "gpt-2 bare": "gpt-2",
    "falcon 40b of later": "falcon 40b",
    "btlm of six heads": "btlm",
}
"""Served as that other one is; what is their own is in their logits."""

_ALL: Mapping[str, Case | EncoderDecoderCase] = {**CASES, **ENCODER_DECODERS}
SERVED = {
    re.sub(r"[^\w.+-]+", "-", name).replace("+", "-plus"): case for name, case in _ALL.items() if name not in TWINS
}
"""By the id they are served under."""

PROMPT = "The quick brown fox said to all of them: "
LENGTH = 16
WITH_TEXT = range(3, 300)
"""Tokens that have one in all of these vocabularies."""
MEMORY = "260M"
"""A worker of a tiny model takes some 50 MiB: a few are loaded at once, and all of them one after the other."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serves what the command made, by the entries that it put into the registry."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALCHAT_MODELS_DIR", str(folder / "models"))
        patch.setenv("LOCALCHAT_CONFIG", str(folder / "none.toml"))
        for name, case in SERVED.items():
            case.write(folder / "checkpoints" / name)
            quantize(folder / "checkpoints" / name, name)
    first = next(iter(SERVED))
    flags = ("--model", first, "--on-demand", "--memory", MEMORY, "--parallel", "2", "--ctx-size", "128")
    with serve(folder, folder / "models", *flags) as running:
        yield running


def quantize(checkpoint: Path, name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["quantize", str(checkpoint), "--to", "Q8_0", "--name", name, "--no-measure", "--register"])
    assert caught.value.code in (0, None), name


@pytest.mark.parametrize("model", SERVED)
def test_checkpoint_is_served_and_streams(server: RunningServer, model: str) -> None:
    # Noise ends at once, says what has no text, or one thing over and over.
    banned = {str(token): -100 for token in range(TOKENS) if token not in WITH_TEXT}
    ways = {"temperature": 0, "logit_bias": banned, "extra_body": {"repeat_penalty": 10}}
    asked: dict[str, Any] = {"model": model, "prompt": PROMPT, "max_tokens": LENGTH, **ways}
    with server.sdk() as client:
        plain = client.completions.create(**asked)
        chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    texts = [choice.text for choice in choices if choice.text]
    assert "".join(texts) == plain.choices[0].text
    assert len(set(texts)) > 2
    ends = [choice.finish_reason for choice in choices if choice.finish_reason]
    assert ends == [plain.choices[0].finish_reason] == ["length"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == LENGTH
    assert {chunk.model for chunk in chunks} == {model}


def test_every_converter_is_proved() -> None:
    """But BERT's, whose models say nothing; test_embeddings.py has those."""
    assert set(TWINS) < set(CASES)
    assert not set(TWINS) & set(TWINS.values())
    proved = [CONVERTERS[case.config["architectures"][0]] for case in SERVED.values()]
    assert [name for name, converter in CONVERTERS.items() if converter not in proved] == [
        "BertForMaskedLM",
        "BertModel",
    ]
