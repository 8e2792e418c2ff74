"""Vocabularies, fitted to their models."""

from __future__ import annotations

import pytest

from localchat.errors import WeightsError
from localchat_quantize.vocabulary import TokenType, Vocabulary

NORMAL, CONTROL, DEFINED, UNUSED = TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED


def vocabulary(*tokens: tuple[str, TokenType], **more: object) -> Vocabulary:
    return Vocabulary("llama", [text for text, _ in tokens], [kind for _, kind in tokens], **more)  # type: ignore[arg-type]


def test_rows_without_a_token_get_one() -> None:
    fitted = vocabulary(("a", NORMAL), scores=[1.0]).fitted(3)
    assert fitted.tokens == ["a", "[PAD1]", "[PAD2]"]
    assert fitted.types == [NORMAL, UNUSED, UNUSED]
    assert fitted.scores is not None
    assert len(fitted.scores) == 3


def test_added_tokens_that_the_model_never_had_are_dropped() -> None:
    fitted = vocabulary(("a", NORMAL), ("[PAD]", CONTROL), special={"bos": 0, "padding": 1}).fitted(1)
    assert (fitted.tokens, fitted.special) == (["a"], {"bos": 0})


def test_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(WeightsError, match="tokenizer of 2 tokens, model of 1; take the tokenizer files of this model"):
        vocabulary(("a", NORMAL), ("b", NORMAL)).fitted(1)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([("a", NORMAL), ("a", DEFINED)], ["[UNUSED0]", "a"]),
        ([("a", CONTROL), ("a", NORMAL)], ["a", "[UNUSED1]"]),
        ([("a", CONTROL), ("a", CONTROL), ("a", DEFINED)], ["a", "[UNUSED1]", "[UNUSED2]"]),
    ],
)
def test_no_text_is_there_twice(tokens: list[tuple[str, TokenType]], expected: list[str]) -> None:
    assert vocabulary(*tokens).fitted(len(tokens)).tokens == expected


def test_metadata() -> None:
    found = vocabulary(
        ("a", NORMAL),
        pre="gpt-2",
        merges=["a b"],
        special={"bos": 0},
        add_bos=True,
        more={"add_space_prefix": False},
        chat_templates={"default": "x", "tool_use": "y"},
    ).metadata()
    assert found == {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a"],
        "tokenizer.ggml.token_type": [1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": "x",
        "tokenizer.chat_template.tool_use": "y",
    }
