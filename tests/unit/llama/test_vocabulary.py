"""Text to tokens and back, with a real vocabulary and nothing else of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(embedded_model_path: Path) -> Iterator[Vocabulary]:
    model = Model(embedded_model_path, vocab_only=True)
    yield model.vocabulary
    model.close()


def test_vocabulary_alone_reads_and_writes(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.tokenize("<|im_start|>user\nHi!<|im_end|>", parse_special=True)
    assert tokens[0] == vocabulary.control_token("<|im_start|>")
    assert b"".join(vocabulary.piece(token) for token in tokens) == b"user\nHi!"


@pytest.mark.parametrize("text", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
def test_control_token_is_found_by_its_spelling(vocabulary: Vocabulary, text: str) -> None:
    token = vocabulary.control_token(text)
    assert token is not None
    assert vocabulary.text(token) == text


@pytest.mark.parametrize("text", ["", "Hi", " the", "<|im_end|>\n", "<|nobody|>", "###"])
def test_text_is_no_control_token(vocabulary: Vocabulary, text: str) -> None:
    assert vocabulary.control_token(text) is None
