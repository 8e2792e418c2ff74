"""Prompts for filling a gap: token by token as each family was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from tiny_models import build

STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
SANTACODER = ("<fim-prefix>", "<fim-suffix>", "<fim-middle>")
QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
CODELLAMA = ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>")
DEEPSEEK = ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>")
GLM = ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>")
MISTRAL = ("[PREFIX]", "[SUFFIX]")

BEFORE, AFTER = "def there(", " what\n"
PREFIX_FIRST = [
    ("starcoder", STARCODER),
    ("gpt2", SANTACODER),
    ("qwen2", QWEN),
    ("llama", CODELLAMA),
    ("llama", DEEPSEEK),
    ("chatglm", GLM),
]


@contextmanager
def vocabulary_of(folder: Path, architecture: str, tokens: Sequence[str]) -> Iterator[Vocabulary]:
    model = Model(build(folder / "tiny.gguf", architecture, special_tokens=tokens), vocab_only=True)
    yield model.vocabulary
    model.close()


def ids(vocabulary: Vocabulary, tokens: Sequence[str]) -> list[int]:
    found = [vocabulary.control_token(token) for token in tokens]
    return [token for token in found if token is not None]


@pytest.mark.parametrize(("architecture", "tokens"), PREFIX_FIRST)
def test_gap_is_shown_with_the_prefix_first(tmp_path: Path, architecture: str, tokens: Sequence[str]) -> None:
    with vocabulary_of(tmp_path, architecture, tokens) as vocabulary:
        assert vocabulary.infill is not None
        prefix, suffix, middle = ids(vocabulary, tokens)
        assert vocabulary.infill.prompt([1, 2], [3]) == [prefix, 1, 2, suffix, 3, middle]


def test_mistral_reads_the_suffix_first_and_goes_on_from_the_prefix(tmp_path: Path) -> None:
    with vocabulary_of(tmp_path, "llama", MISTRAL) as vocabulary:
        assert vocabulary.infill is not None
        prefix, suffix = ids(vocabulary, MISTRAL)
        assert vocabulary.infill.prompt([1, 2], [3]) == [suffix, 3, prefix, 1, 2]


@pytest.mark.parametrize("tokens", [(), ("<fim_prefix>",), ("<fim_prefix>", "<fim_suffix>"), ("[PREFIX]",)])
def test_model_without_the_tokens_fills_no_gap(tmp_path: Path, tokens: Sequence[str]) -> None:
    with vocabulary_of(tmp_path, "gpt2", tokens) as vocabulary:
        assert vocabulary.infill is None


def test_suffix_of_sentencepiece_gets_no_blank_that_is_not_in_it(tmp_path: Path) -> None:
    with vocabulary_of(tmp_path, "llama", CODELLAMA) as vocabulary:
        tokens = vocabulary.tokenize_inside("there")
        assert b"".join(map(vocabulary.piece, tokens)) == b"there"
        assert b"".join(map(vocabulary.piece, vocabulary.tokenize("there"))) == b" there"


@pytest.mark.parametrize("text", ["", " what", "\n)", "caf\u00e9 \u263a", "<fim_middle>"])
@pytest.mark.parametrize("architecture", ["starcoder", "llama", "gemma", "chatglm"])
def test_text_inside_another_is_spelled_by_its_tokens(tmp_path: Path, architecture: str, text: str) -> None:
    with vocabulary_of(tmp_path, architecture, ()) as vocabulary:
        tokens = vocabulary.tokenize_inside(text)
        assert b"".join(map(vocabulary.piece, tokens)).decode() == text
