"""Trains small tokenizers and writes the files that checkpoints come with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from .texts import TRAINING

Write = Callable[[Path], None]

END = "<|endoftext|>"


@cache
def _byte_level(pre_tokenizer: str, tokens: int) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre_tokenizer]()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    return str(tokenizer.to_str())


def _split(regex: str) -> Any:
    steps = [pre_tokenizers.Split(Regex(regex), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return pre_tokenizers.Sequence(steps)


_CASELESS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

PRE_TOKENIZERS: Mapping[str, Callable[[], Any]] = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "starcoder": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]),
    "falcon": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "default": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(False),
            pre_tokenizers.Digits(False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "bloom": lambda: _split(r" ?[^(\s|[.,!?…。，、।۔،])]+"),
    "smaug-bpe": lambda: _split(_CASELESS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST),
    "qwen2": lambda: _split(_CASELESS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST),
}
"""By llama.cpp's name, made as the tokenizers of these families are."""


def byte_level(
    pre_tokenizer: str = "gpt-2",
    *,
    tokens: int = 400,
    added: Sequence[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
    ignore_merges: bool = False,
) -> Write:
    """Writes a tokenizer.json that merges bytes."""

    def write(folder: Path) -> None:
        told = json.loads(_byte_level(pre_tokenizer, tokens))
        if ignore_merges:
            told["model"]["ignore_merges"] = True
        first = max(told["model"]["vocab"].values()) + 1
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        told["added_tokens"] += [{"id": first + n, **flags, **token} for n, token in enumerate(added)]
        (folder / "tokenizer.json").write_text(json.dumps(told))
        default = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END}
        (folder / "tokenizer_config.json").write_text(json.dumps({**default, **(config or {})}))

    return write


@cache
def _trained(kind: str, tokens: int, options: tuple[tuple[str, Any], ...]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING),
        model_writer=model,
        model_type=kind,
        vocab_size=tokens,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **dict(options),
    )
    return model.getvalue()


def llama(*, tokens: int = 480, config: Mapping[str, Any] | None = None) -> Write:
    """Writes a tokenizer.model as LLaMA's: pairs of characters, bytes for what has no token."""
    options = {
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "split_digits": True,
        "character_coverage": 0.98,
    }

    def write(folder: Path) -> None:
        (folder / "tokenizer.model").write_bytes(_trained("bpe", tokens, tuple(options.items())))
        default = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**default, **(config or {})}))

    return write


def t5(*, tokens: int = 300, config: Mapping[str, Any] | None = None) -> Write:
    """Writes a spiece.model as T5's: unigrams, with compatible characters made one."""
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "character_coverage": 0.98}

    def write(folder: Path) -> None:
        (folder / "spiece.model").write_bytes(_trained("unigram", tokens, tuple(options.items())))
        default = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**default, "extra_ids": 100, **(config or {})}))

    return write


def wordpiece(*, tokens: int = 300) -> Write:
    """Writes a tokenizer.json as BERT's."""

    def write(folder: Path) -> None:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(vocab_size=tokens, special_tokens=special, show_progress=False)
        tokenizer.train_from_iterator(TRAINING, trainer)
        tokenizer.save(str(folder / "tokenizer.json"))
        told = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "pad_token": "[PAD]"}
        told |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))

    return write
