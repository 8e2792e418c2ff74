"""What tokenizer files say, and where they say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.vocabulary import TokenType, Vocabulary, read_vocabulary
from localchat_quantize.vocabulary.pretokenizer import name_pre_tokenizer

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
FAST: dict[str, Any] = {
    "pre_tokenizer": BYTE_LEVEL,
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}, "merges": ["a b"]},
}


def read(folder: Path, *, model: dict[str, Any] | None = None, **files: Any) -> Vocabulary:
    """The vocabulary of a folder with these files; `tokenizer` stands for tokenizer.json."""
    (folder / "config.json").write_text(json.dumps(model or {}))
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / (name.replace("__", ".") if "__" in name else f"{name}.json")).write_text(text)
    return read_vocabulary(Checkpoint(folder))


def fast(**more: Any) -> dict[str, Any]:
    return {**FAST, **more}


def test_fast_tokenizer(tmp_path: Path) -> None:
    found = read(tmp_path, tokenizer=FAST, tokenizer_config={"bos_token": "<s>", "eos_token": {"content": "</s>"}})
    assert (found.model, found.pre, found.tokens) == ("gpt2", "gpt-2", ["<s>", "</s>", "a", "b", "ab"])
    assert found.special == {"bos": 0, "eos": 1}
    assert (found.add_bos, found.add_eos, found.merges) == (False, False, ["a b"])


def test_merges_as_lists(tmp_path: Path) -> None:
    assert read(tmp_path, tokenizer=fast(model={**FAST["model"], "merges": [["a", "b"]]})).merges == ["a b"]


def test_vocab_and_merges(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n# #\n")
    found = read(tmp_path, vocab=FAST["model"]["vocab"])
    assert (found.tokens[4], found.pre, found.merges) == ("ab", "gpt-2", ["a b", "# #"])


def test_half_of_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has vocab\.json or merges\.txt without the other"):
        read(tmp_path, vocab=FAST["model"]["vocab"])


def test_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no tokenizer: no tokenizer\.json"):
        read(tmp_path)


def test_kind_that_llama_cpp_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tokenizer\.json is of the kind WordLevel"):
        read(tmp_path, tokenizer={"model": {"type": "WordLevel", "vocab": {}}})


def test_broken_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"are broken \(KeyError\('merges'\)\)"):
        read(tmp_path, tokenizer={"pre_tokenizer": BYTE_LEVEL, "model": {"type": "BPE", "vocab": {"a": 0}}})


def test_added_tokens_wherever_they_are(tmp_path: Path) -> None:
    added = [{"id": 5, "content": "  ", "special": False}, {"id": 6, "content": "<|im_end|>", "special": True}]
    found = read(
        tmp_path,
        tokenizer=fast(added_tokens=added),
        tokenizer_config={"added_tokens_decoder": {"7": {"content": "<x>", "special": True}}},
        added_tokens={"[PAD]": 8, "plain": 9},
        special_tokens_map={"pad_token": "[PAD]"},
    )
    assert found.tokens[5:] == ["  ", "<|im_end|>", "<x>", "[PAD]", "plain"]
    defined, control = TokenType.USER_DEFINED, TokenType.CONTROL
    assert found.types[5:] == [defined, control, control, control, defined]
    assert found.special["padding"] == 8


def test_ids_that_no_token_has_are_filled(tmp_path: Path) -> None:
    found = read(tmp_path, tokenizer=fast(added_tokens=[{"id": 7, "content": "<x>", "special": True}]))
    assert found.tokens[5:] == ["[PAD5]", "[PAD6]", "<x>"]
    assert found.types[5] is TokenType.UNUSED


def test_special_tokens_that_only_the_model_names(tmp_path: Path) -> None:
    assert read(tmp_path, tokenizer=FAST, model={"bos_token_id": 0, "eos_token_id": 1}).special == {"bos": 0, "eos": 1}


def test_empty_special_token_is_none(tmp_path: Path) -> None:
    """As in the first conversions of LLaMA."""
    found = read(tmp_path, tokenizer=FAST, tokenizer_config={"bos_token": ""}, model={"bos_token_id": 0})
    assert found.special == {"bos": 0}


def test_further_ends_of_a_reply(tmp_path: Path) -> None:
    found = read(
        tmp_path, tokenizer=FAST, tokenizer_config={"eos_token": "</s>"}, generation_config={"eos_token_id": [1, 4]}
    )
    assert (found.special["eos"], found.special["eot"]) == (1, 4)


TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("processor", "config", "expected"),
    [
        (None, {}, (False, False)),
        ({"type": "ByteLevel"}, {}, (False, False)),
        (TEMPLATE, {}, (True, False)),
        ({"type": "Sequence", "processors": [{"type": "ByteLevel"}, TEMPLATE]}, {}, (True, False)),
        ({"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 1]}, {}, (True, True)),
        (TEMPLATE, {"add_bos_token": False, "add_eos_token": True}, (False, True)),
        (None, {"tokenizer_class": "RobertaTokenizerFast"}, (True, True)),
    ],
)
def test_what_is_put_around_a_text(tmp_path: Path, processor: Any, config: Any, expected: tuple[bool, bool]) -> None:
    found = read(tmp_path, tokenizer=fast(post_processor=processor), tokenizer_config={**NAMES, **config})
    assert (found.add_bos, found.add_eos) == expected


NAMED = [{"name": "default", "template": "x"}, {"name": "rag", "template": "y"}]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config": {"chat_template": "x"}}, {"default": "x"}),
        ({"tokenizer_config": {"chat_template": NAMED}}, {"default": "x", "rag": "y"}),
        ({"chat_template": {"chat_template": "x"}}, {"default": "x"}),
        ({"chat_template__jinja": "x"}, {"default": "x"}),
        ({}, {}),
    ],
)
def test_chat_templates(tmp_path: Path, files: Any, expected: Any) -> None:
    assert read(tmp_path, tokenizer=FAST, **files).chat_templates == expected


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ({"type": "ByteLevel", "add_prefix_space": True}, "puts a space before every text"),
        ({"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}, BYTE_LEVEL]}, "type=UnicodeScripts; gpt-2"),
        (
            {"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": False},
            r"splits a text like this one: split \[a-z\]\+",
        ),
    ],
)
def test_unknown_pre_tokenizer_is_named(steps: Any, complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint):
        name_pre_tokenizer(fast(pre_tokenizer=steps))


def test_normalizers() -> None:
    assert name_pre_tokenizer(fast(normalizer={"type": "NFC"})) == "gpt-2"
    assert name_pre_tokenizer(fast(normalizer={"type": "Sequence", "normalizers": []})) == "gpt-2"
    with pytest.raises(WeightsError, match=r"rewrites a text first \(Lowercase\)"):
        name_pre_tokenizer(fast(normalizer={"type": "Lowercase"}))
