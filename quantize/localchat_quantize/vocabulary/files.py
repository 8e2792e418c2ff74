"""What the tokenizer files of a checkpoint say, whichever of them say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.vocabulary.vocabulary import ADDED_SCORE, TokenType

MOST_TOKENS = 1 << 22

_ROLES = {
    "bos": "bos_token",
    "eos": "eos_token",
    "unknown": "unk_token",
    "padding": "pad_token",
    "seperator": "sep_token",
    "cls": "cls_token",
    "mask": "mask_token",
}
"""GGUF's name for a special token (the second e of the separator is theirs) and the tokenizer files' name."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in a text before the text is split."""

    text: str
    special: bool

    @property
    def type(self) -> TokenType:
        """A special one is read only where the text may hold special tokens."""
        return TokenType.CONTROL if self.special else TokenType.USER_DEFINED


class TokenizerFiles:
    """The tokenizer of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.folder = checkpoint.folder
        self.model_config = checkpoint.config
        self._read = checkpoint.json
        self.config: Mapping[str, Any] = checkpoint.json("tokenizer_config.json") or {}
        self.fast: Mapping[str, Any] | None = checkpoint.json("tokenizer.json")
        """tokenizer.json: a tokenizer in full, where there is one."""

    def path(self, *names: str) -> Path | None:
        """The first of these files that exists."""
        return next((path for path in map(self.folder.joinpath, names) if path.is_file()), None)

    @cached_property
    def class_name(self) -> str:
        """The tokenizer's class, as in `LlamaTokenizer`; empty if no file says."""
        return str(self.config.get("tokenizer_class") or "").removesuffix("Fast")

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Special tokens by GGUF's name for what they are for."""
        named = self._read("special_tokens_map.json") or {}
        found = {}
        for role, key in _ROLES.items():
            text = _text(self.config.get(key)) or _text(named.get(key))
            if text:
                found[role] = text
        return found

    @cached_property
    def added(self) -> Mapping[int, AddedToken]:
        """Added tokens by id."""
        named = self._read("special_tokens_map.json") or {}
        extra = [*_listed(named), *_listed(self.config)]
        special = {*self.texts.values(), *filter(None, map(_text, extra))}
        found = {}
        for text, id in (self._read("added_tokens.json") or {}).items():
            found[int(id)] = AddedToken(text, text in special)
        for id, told in (self.config.get("added_tokens_decoder") or {}).items():
            found[int(id)] = AddedToken(told["content"], bool(told.get("special")) or told["content"] in special)
        for told in (self.fast or {}).get("added_tokens") or ():
            found[told["id"]] = AddedToken(told["content"], bool(told.get("special")) or told["content"] in special)
        return found

    @cached_property
    def chat_templates(self) -> Mapping[str, str]:
        """Chat templates by name."""
        path = self.path("chat_template.jinja")
        if path:
            return {"default": path.read_text(encoding="utf-8")}
        told = (self._read("chat_template.json") or {}).get("chat_template") or self.config.get("chat_template")
        if isinstance(told, str):
            return {"default": told}
        return {entry["name"]: entry["template"] for entry in told or ()}

    def special(self, tokens: Iterable[str], fallback: Mapping[str, int] | None = None) -> dict[str, int]:
        """Ids of special tokens: by their texts, then as `fallback` says, then as config.json does."""
        ids = {text: id for id, text in enumerate(tokens)}
        found = {role: ids[text] for role, text in self.texts.items() if text in ids}
        for role in ("bos", "eos", "padding"):
            told = self.model_config.get(f"{role.replace('padding', 'pad')}_token_id")
            id = (fallback or {}).get(role, told)
            if role not in found and isinstance(id, int) and 0 <= id < len(ids):
                found[role] = id
        ends = (self._read("generation_config.json") or {}).get("eos_token_id")
        others = [id for id in ends if id != found.get("eos")] if isinstance(ends, list) else []
        if others:
            found["eot"] = others[0]
        return found

    def adds(self, bos: bool, eos: bool) -> tuple[bool, bool]:
        """Whether BOS and EOS are put around a text; `bos` and `eos` are what the tokenizer's class does by itself."""
        template = _single_template((self.fast or {}).get("post_processor"))
        if template is not None:
            bos = bool(template) and template[0] == self.texts.get("bos", self.texts.get("cls"))
            eos = bool(template) and template[-1] == self.texts.get("eos", self.texts.get("seperator"))
        told_bos, told_eos = self.config.get("add_bos_token"), self.config.get("add_eos_token")
        return bos if told_bos is None else bool(told_bos), eos if told_eos is None else bool(told_eos)


def with_added(
    tokens: list[str], types: list[TokenType], added: Mapping[int, AddedToken], scores: list[float] | None = None
) -> None:
    """Put the added tokens in their places, in place; ids that no token has get a filler."""
    last = max([len(tokens) - 1, *added])
    check_count(last + 1)
    for id in range(len(tokens), last + 1):
        tokens.append(f"[PAD{id}]")
        types.append(TokenType.UNUSED)
        if scores is not None:
            scores.append(ADDED_SCORE)
    for id, token in added.items():
        if types[id] not in (TokenType.UNKNOWN, TokenType.BYTE):
            tokens[id], types[id] = token.text, token.type


def check_count(tokens: int) -> None:
    """Raise ValueError for more tokens than any model has: making that many would take all memory."""
    if tokens > MOST_TOKENS:
        raise ValueError(f"{tokens} tokens")


def _text(token: Any) -> str:
    """A special token is told as its text, or as an object that has it."""
    return str(token.get("content") or "") if isinstance(token, Mapping) else str(token or "")


def _listed(told: Mapping[str, Any]) -> list[Any]:
    lists = (told.get("additional_special_tokens"), told.get("extra_special_tokens"))
    return [token for found in lists if found for token in (found.values() if isinstance(found, Mapping) else found)]


def _single_template(processor: Mapping[str, Any] | None) -> list[str] | None:
    """What a post-processor makes of a single text: special tokens, and an empty string for the text."""
    if processor is None:
        return None
    kind = processor["type"]
    if kind == "Sequence":
        found = (_single_template(part) for part in processor["processors"])
        return next((template for template in found if template is not None), None)
    if kind == "TemplateProcessing":
        return [piece.get("SpecialToken", {}).get("id", "") for piece in processor["single"]]
    if kind in ("RobertaProcessing", "BertProcessing"):
        return [processor["cls"][0], "", processor["sep"][0]]
    return None
