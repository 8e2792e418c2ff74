"""Tokens by id, and how text becomes them, as llama.cpp understands it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from localchat.errors import WeightsError

Value = bool | int | float | str | bytes | Sequence[str] | Sequence[int] | Sequence[float]
Metadata = dict[str, Value]
"""GGUF keys and their values; integers are written as uint32, numbers as float32."""

ADDED_SCORE = -1000.0
"""Below every score that training gives, so that no merge makes an added token."""


class TokenType(IntEnum):
    """What a token is for, in llama.cpp's numbers, which are SentencePiece's."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """`model` and `pre` are llama.cpp's names for the algorithm and for what splits a text before it."""

    model: str
    tokens: Sequence[str]
    types: Sequence[TokenType]
    pre: str | None = None
    scores: Sequence[float] | None = None
    merges: Sequence[str] = ()
    special: Mapping[str, int] = field(default_factory=dict)
    """GGUF's name for a special token, as in `bos`, and its id."""
    add_bos: bool = False
    add_eos: bool = False
    more: Mapping[str, Value] = field(default_factory=dict)
    """Further keys of this kind of vocabulary, without `tokenizer.ggml.`."""
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    """By name; the one that is used unless told otherwise is `default`."""

    def fitted(self, rows: int) -> Vocabulary:
        """With a token for each of the `rows` that the model has: fillers for those without, added ones past the end
        dropped. No text twice: llama.cpp aborts on that."""
        if len(self.tokens) > rows and any(kind is TokenType.NORMAL for kind in self.types[rows:]):
            raise WeightsError(
                f"tokenizer of {len(self.tokens)} tokens, model of {rows}; take the tokenizer files of this model"
            )
        missing = rows - len(self.tokens)
        tokens = [*self.tokens[:rows], *(f"[PAD{id}]" for id in range(len(self.tokens), rows))]
        types = [*self.types[:rows], *(TokenType.UNUSED for _ in range(missing))]
        scores = self.scores and [*self.scores[:rows], *(ADDED_SCORE * 10 for _ in range(missing))]
        special = {name: id for name, id in self.special.items() if id < rows}
        tokens, types = _distinct(tokens, types)
        return replace(self, tokens=tokens, types=types, scores=scores, special=special)

    def metadata(self) -> Metadata:
        """The keys of a GGUF file."""
        keys: Metadata = {
            "tokenizer.ggml.model": self.model,
            "tokenizer.ggml.pre": self.pre or "default",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.token_type": [int(kind) for kind in self.types],
        }
        if self.scores is not None:
            keys["tokenizer.ggml.scores"] = self.scores
        if self.merges:
            keys["tokenizer.ggml.merges"] = self.merges
        keys |= {f"tokenizer.ggml.{name}_token_id": id for name, id in self.special.items()}
        keys["tokenizer.ggml.add_bos_token"] = self.add_bos
        keys["tokenizer.ggml.add_eos_token"] = self.add_eos
        keys |= {f"tokenizer.ggml.{name}": value for name, value in self.more.items()}
        for name, template in self.chat_templates.items():
            keys["tokenizer.chat_template" + ("" if name == "default" else f".{name}")] = template
        return keys


def _distinct(tokens: list[str], types: list[TokenType]) -> tuple[list[str], list[TokenType]]:
    """An added token stands for its text before a trained one does, and the first before others of its kind."""
    owner: dict[str, int] = {}
    for id, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        other = owner.setdefault(text, id)
        if other == id:
            continue
        loser = other if types[other] is TokenType.NORMAL and kind is not TokenType.NORMAL else id
        owner[text] = id if loser == other else other
        tokens[loser], types[loser] = f"[UNUSED{loser}]", TokenType.UNUSED
    return tokens, types
