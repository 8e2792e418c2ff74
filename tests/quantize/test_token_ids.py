"""Token ids by our files and by the models' own tokenizers, on the same texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import transformers as hf
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from localchat.llama.vocabulary import Vocabulary
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.vocabulary import read_vocabulary
from tiny_checkpoints import vocabulary as make
from tiny_checkpoints.engine import model_of_vocabulary
from tiny_checkpoints.texts import COMPARED
from tiny_checkpoints.vocabulary import Write

Encode = Callable[[str], list[int]]

ROWS = 700
SPACES = [{"content": " " * count, "special": False} for count in range(24, 1, -1)]
CHATML = [{"content": "<|im_start|>", "special": True}, {"content": "<|im_end|>", "special": True}]


def fast(folder: Path) -> Encode:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def trained(name: str) -> Callable[[Path], Encode]:
    def load(folder: Path) -> Encode:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
        return lambda text: list(processor.encode(text))

    return load


def own_class(folder: Path) -> Encode:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False))


def assert_same_ids(folder: Path, write: Write, load: Callable[[Path], Encode], texts: list[str]) -> None:
    write(folder)
    encode = load(folder)
    with closing(model_of_vocabulary(folder, ROWS)) as model:
        found = {text: model.vocabulary.tokenize(text) for text in texts}
        assert found == {text: encode(text) for text in texts}


@pytest.mark.parametrize("pre_tokenizer", sorted(make.PRE_TOKENIZERS))
def test_byte_level(tmp_path: Path, pre_tokenizer: str) -> None:
    # Digits are told in bytes there, of which one of ½ looks like it; no text that matters has such a digit.
    texts = [text.replace("½", "") if pre_tokenizer == "default" else text for text in COMPARED]
    assert_same_ids(tmp_path, make.byte_level(pre_tokenizer), fast, texts)


@pytest.mark.parametrize(
    "write",
    [
        make.byte_level(added=SPACES),
        make.byte_level(added=CHATML),
        make.byte_level("smaug-bpe", ignore_merges=True),
    ],
    ids=["runs of spaces", "markers", "no merges"],
)
def test_byte_level_variants(tmp_path: Path, write: Write) -> None:
    assert_same_ids(tmp_path, write, fast, COMPARED)


def test_vocab_and_merges(tmp_path: Path) -> None:
    """As checkpoints without a tokenizer.json have it."""
    make.byte_level()(tmp_path)
    encode = fast(tmp_path)
    told = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(told["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in told["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    with closing(model_of_vocabulary(tmp_path, ROWS)) as model:
        assert [model.vocabulary.tokenize(text) for text in COMPARED] == [encode(text) for text in COMPARED]


def test_sentencepiece_pairs(tmp_path: Path) -> None:
    assert_same_ids(tmp_path, make.llama(), trained("tokenizer.model"), COMPARED)


def test_sentencepiece_pairs_in_a_tokenizer_json(tmp_path: Path) -> None:
    """transformers puts no mark before a text that begins with white space, as SentencePiece does."""
    make.llama()(tmp_path)
    hf.AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    texts = [text for text in COMPARED if not text.startswith(" ")]
    assert_same_ids(tmp_path, lambda _: None, fast, texts)


@pytest.mark.parametrize("load", [trained("spiece.model"), own_class], ids=["SentencePiece", "transformers"])
def test_sentencepiece_unigrams(tmp_path: Path, load: Callable[[Path], Encode]) -> None:
    assert_same_ids(tmp_path, make.t5(), load, COMPARED)


def test_sentencepiece_unigrams_in_a_tokenizer_json(tmp_path: Path) -> None:
    make.t5()(tmp_path)
    hf.AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "spiece.model").unlink()
    assert_same_ids(tmp_path, lambda _: None, fast, COMPARED)


def test_wordpiece(tmp_path: Path) -> None:
    """llama.cpp does not take Korean syllables apart, and drops more of the marks of Indian scripts than BERT does."""
    texts = [text for text in COMPARED if "안녕" not in text and "नमस्ते" not in text]
    assert_same_ids(tmp_path, make.wordpiece(), fast, texts)


def special(vocabulary: Vocabulary) -> tuple[Any, ...]:
    return vocabulary.text(vocabulary.bos), vocabulary.text(vocabulary.eos), vocabulary.adds_bos


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (make.byte_level(), (make.END, make.END, False)),
        (make.byte_level(config={"add_bos_token": True}), (make.END, make.END, True)),
        (make.llama(), ("<s>", "</s>", True)),
        (make.llama(config={"add_bos_token": False}), ("<s>", "</s>", False)),
        (make.llama(config={"bos_token": "", "eos_token": ""}), ("<s>", "</s>", True)),
    ],
)
def test_special_tokens(tmp_path: Path, write: Write, expected: tuple[Any, ...]) -> None:
    write(tmp_path)
    with closing(model_of_vocabulary(tmp_path, ROWS)) as model:
        assert special(model.vocabulary) == expected


def test_markers_are_read_where_special_tokens_are(tmp_path: Path) -> None:
    make.byte_level(added=CHATML)(tmp_path)
    with closing(model_of_vocabulary(tmp_path, ROWS)) as model:
        tokens = model.vocabulary.tokenize("<|im_start|>hi<|im_end|>", parse_special=True)
        assert [model.vocabulary.text(token) for token in (tokens[0], tokens[-1])] == ["<|im_start|>", "<|im_end|>"]
        assert tokens[-1] in model.vocabulary.end_tokens
        assert model.vocabulary.size == ROWS


def test_sentinels_of_t5(tmp_path: Path) -> None:
    make.t5()(tmp_path)
    vocabulary = read_vocabulary_of(tmp_path)
    own = hf.AutoTokenizer.from_pretrained(tmp_path)
    assert [vocabulary.tokens.index(f"<extra_id_{number}>") for number in (0, 99)] == own.convert_tokens_to_ids(
        ["<extra_id_0>", "<extra_id_99>"]
    )


def read_vocabulary_of(folder: Path) -> Any:
    (folder / "config.json").write_text("{}")
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return read_vocabulary(Checkpoint(folder))
