"""How a byte-level tokenizer splits a text, told by llama.cpp's name for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localchat.errors import WeightsError

_Step = tuple[str, ...]

_GPT2: _Step = ("gpt-2",)
_DIGIT: _Step = ("digits", "each")
_DIGITS: _Step = ("digits", "runs")
_PUNCTUATION: _Step = ("punctuation", "Contiguous")
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTIONS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTIONS + "?"
)
_LLAMA3: _Step = ("split", _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL)

_NAMES: Mapping[tuple[_Step, ...], str] = {
    (_GPT2,): "gpt-2",
    (("split", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),): "gpt-2",
    (_DIGIT, _GPT2): "starcoder",
    (_PUNCTUATION, _GPT2, ("split", "[0-9][0-9][0-9]")): "falcon",
    (_PUNCTUATION, _GPT2, _DIGITS, ("split", "[0-9][0-9][0-9]")): "default",
    (("split", r" ?[^(\s|[.,!?…。，、।۔،])]+"),): "bloom",
    (_LLAMA3,): "smaug-bpe",
    (("split", _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL),): "qwen2",
    (("split", _CASED + r"|\p{N}{1,3}" + _TAIL.replace("[\\r\\n]*", "[\\r\\n/]*", 1)),): "gpt-4o",
}


def name_pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name for what this tokenizer.json does before byte pairs are merged.

    Raises WeightsError where llama.cpp has nothing that does the same.
    """
    _check_normalizer(tokenizer.get("normalizer"))
    steps = tuple(_steps(tokenizer["pre_tokenizer"]))
    if steps == (_LLAMA3,) and tokenizer["model"].get("ignore_merges"):
        return "llama-bpe"
    if steps not in _NAMES:
        told = "; ".join(" ".join(step) for step in steps)
        raise WeightsError(f"llama.cpp has no pre-tokenizer that splits a text like this one: {told}")
    return _NAMES[steps]


def _steps(told: Mapping[str, Any]) -> list[_Step]:
    match told:
        case {"type": "Sequence", "pretokenizers": parts}:
            return [step for part in parts for step in _steps(part)]
        case {"type": "ByteLevel", "add_prefix_space": True}:
            raise WeightsError("the tokenizer puts a space before every text, which llama.cpp does not for byte pairs")
        case {"type": "ByteLevel"}:
            return [_GPT2] if told.get("use_regex", True) else []
        case {"type": "Digits"}:
            return [_DIGIT if told["individual_digits"] else _DIGITS]
        case {"type": "Punctuation"}:
            return [("punctuation", told.get("behavior", "Isolated"))]
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}:
            return [("split", regex)]
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Removed", "invert": True}:
            return [("split", regex)]
        case _:
            return [tuple(f"{key}={value}" for key, value in told.items())]


def _check_normalizer(told: Mapping[str, Any] | None) -> None:
    """NFC passes: it changes nothing in text that is composed, which text nearly always is."""
    match told:
        case None | {"type": "NFC"}:
            return
        case {"type": "Sequence", "normalizers": parts}:
            for part in parts:
                _check_normalizer(part)
        case _:
            raise WeightsError(f"the tokenizer rewrites a text first ({told['type']}), which llama.cpp does not do")
