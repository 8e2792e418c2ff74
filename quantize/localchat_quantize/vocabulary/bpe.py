"""Byte-level byte pair encoding: GPT-2's and all that came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localchat.errors import WeightsError
from localchat_quantize.vocabulary.files import TokenizerFiles, with_added
from localchat_quantize.vocabulary.pretokenizer import name_pre_tokenizer
from localchat_quantize.vocabulary.vocabulary import TokenType, Vocabulary

_ADD_BOTH = frozenset({"RobertaTokenizer", "LongformerTokenizer", "BartTokenizer"})


def is_byte_level(tokenizer: Mapping[str, Any] | None) -> bool:
    """Whether a tokenizer.json merges bytes, as opposed to characters."""
    if tokenizer is None or tokenizer["model"].get("type", "BPE") != "BPE":
        return False
    return any(kind == "ByteLevel" for kind in _kinds(tokenizer.get("pre_tokenizer") or {}))


def read_bpe(files: TokenizerFiles) -> Vocabulary:
    """From tokenizer.json, or from vocab.json and merges.txt."""
    if is_byte_level(files.fast):
        assert files.fast is not None
        pre = name_pre_tokenizer(files.fast)
        ids, merges = files.fast["model"]["vocab"], files.fast["model"]["merges"]
    else:
        pre, (ids, merges) = "gpt-2", _read_pair(files)
    tokens, types = _by_id(ids)
    with_added(tokens, types, files.added)
    both = files.class_name in _ADD_BOTH
    add_bos, add_eos = files.adds(both, both)
    special = files.special(tokens)
    return Vocabulary(
        "gpt2",
        tokens,
        types,
        pre,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        special=special,
        add_bos=add_bos and "bos" in special,
        add_eos=add_eos and "eos" in special,
        chat_templates=files.chat_templates,
    )


def _by_id(ids: Mapping[str, int]) -> tuple[list[str], list[TokenType]]:
    size = max(ids.values()) + 1
    tokens, types = [f"[PAD{id}]" for id in range(size)], [TokenType.UNUSED] * size
    for text, id in ids.items():
        tokens[id], types[id] = text, TokenType.NORMAL
    return tokens, types


def _read_pair(files: TokenizerFiles) -> tuple[Mapping[str, int], Sequence[str]]:
    vocab, merges = files.path("vocab.json"), files.path("merges.txt")
    if vocab is None or merges is None:
        raise WeightsError(f"{files.folder} has vocab.json or merges.txt without the other; fetch both")
    return _read_ids(vocab), [
        line for line in merges.read_text(encoding="utf-8").split("\n") if line and not line.startswith("#version")
    ]


def _read_ids(path: Path) -> Mapping[str, int]:
    try:
        ids: Mapping[str, int] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON ({error}); fetch it again") from error
    return ids


def _kinds(told: Mapping[str, Any]) -> list[str]:
    return [told.get("type", ""), *(kind for part in told.get("pretokenizers") or () for kind in _kinds(part))]
