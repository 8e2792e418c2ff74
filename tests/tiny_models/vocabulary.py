"""Small vocabularies of every kind that llama.cpp reads: each spells any text of printable ASCII, most any bytes."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gguf import TokenType

_TEXT = (
    "the of and to in is that it for was on are with as you this be at have not they by from or an what can how when "
    "there which say all were we will said each about out up them some hello user assistant system human"
)
_WORDS = _TEXT.split()
_CHARACTERS = string.ascii_letters + string.digits + string.punctuation
_SPACE = "\u2581"  # SentencePiece's mark of a word's beginning


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens and how text becomes them; `special` gives ids by their role, as GGUF spells it."""

    model: str
    pre: str | None = None
    tokens: Sequence[str]
    types: Sequence[TokenType]
    special: Mapping[str, int]
    scores: Sequence[float] | None = None
    merges: Sequence[str] | None = None
    flags: Mapping[str, bool] = field(default_factory=dict)
    token_types: int | None = None


def byte_pair(
    extra: Sequence[str],
    *,
    pre: str,
    control: Sequence[str] = ("<|endoftext|>",),
    add_bos: bool | None = None,
    **special: str,
) -> Vocabulary:
    """Byte-level BPE as GPT-2 has it; `special` gives tokens by their role, EOS and BOS being the first by default."""
    letters = list(_letters_of_bytes().values())
    merges = list(dict.fromkeys(merge for word in _WORDS for merge in _merges("\u0120" + word)))
    texts = [*control, *letters, *(merge.replace(" ", "") for merge in merges), *extra]
    types = [TokenType.CONTROL if text in (*control, *extra) else TokenType.NORMAL for text in texts]
    roles = {"bos": control[0], "eos": control[0]} | special
    return Vocabulary(
        model="gpt2",
        pre=pre,
        tokens=texts,
        types=types,
        merges=merges,
        special={role: texts.index(text) for role, text in roles.items()},
        flags={} if add_bos is None else {"add_bos_token": add_bos},
    )


def sentence_piece(
    extra: Sequence[str],
    *,
    control: Sequence[str] = ("<unk>", "<s>", "</s>"),
    add_bos: bool = True,
    space_prefix: bool = True,
    **special: str,
) -> Vocabulary:
    """Pieces with scores and a token for each byte, as LLaMA has them."""
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    pieces = _pieces()
    texts = [*control, *octets, *pieces, *extra]
    unknown = TokenType.UNKNOWN
    types = [unknown if text == "<unk>" else TokenType.CONTROL for text in control]
    types += [TokenType.BYTE] * 256 + [TokenType.NORMAL] * len(pieces) + [TokenType.CONTROL] * len(extra)
    roles = {"bos": "<s>", "eos": "</s>", "unknown": "<unk>"} | special
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=texts,
        types=types,
        scores=[0.0] * (len(control) + 256) + [-float(rank) for rank in range(len(pieces))] + [0.0] * len(extra),
        special={role: texts.index(text) for role, text in roles.items()},
        flags={"add_bos_token": add_bos, "add_eos_token": False, "add_space_prefix": space_prefix},
    )


def rwkv_world(extra: Sequence[str]) -> Vocabulary:
    """Bytes and words, the longest match wins; written as Python writes bytes."""
    spelled = [bytes([octet]) for octet in range(256)] + [f" {word}".encode() for word in _WORDS] + [b"\n\n"]
    texts = ["<s>", *(repr(token)[2:-1] for token in spelled), *extra]
    types = [TokenType.CONTROL, *[TokenType.NORMAL] * len(spelled), *[TokenType.CONTROL] * len(extra)]
    special = {"bos": 0, "eos": 0, "eot": len(spelled)}
    return Vocabulary(model="rwkv", tokens=texts, types=types, special=special)


def unigram(extra: Sequence[str]) -> Vocabulary:
    """Pieces of which the likeliest sequence wins, as T5 has them."""
    pieces = _pieces()
    texts = ["<pad>", "</s>", "<unk>", *pieces, *extra]
    types = [TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN]
    types += [TokenType.NORMAL] * len(pieces) + [TokenType.CONTROL] * len(extra)
    return Vocabulary(
        model="t5",
        pre="default",
        tokens=texts,
        types=types,
        scores=[0.0, 0.0, 0.0, *(-2.0 - 0.01 * rank for rank in range(len(pieces))), *[0.0] * len(extra)],
        special={"padding": 0, "eos": 1, "unknown": 2},
        flags={"add_bos_token": False, "add_eos_token": True, "add_space_prefix": True},
    )


def word_piece(extra: Sequence[str]) -> Vocabulary:
    """Words and their endings, as BERT has them."""
    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*(_SPACE + piece for piece in (*characters, *_WORDS)), *characters]
    special = {"padding": 0, "unknown": 1, "cls": 2, "bos": 2, "seperator": 3, "eos": 3, "mask": 4}
    return Vocabulary(
        model="bert",
        pre="jina-v2-en",
        tokens=[*control, *pieces, *extra],
        types=[TokenType.CONTROL] * len(control) + [TokenType.NORMAL] * len(pieces) + [TokenType.CONTROL] * len(extra),
        special=special,
        token_types=2,
    )


def _letters_of_bytes() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [octet for octet in range(256) if octet not in visible]
    return {octet: chr(octet) for octet in visible} | {octet: chr(256 + rank) for rank, octet in enumerate(hidden)}


def _merges(word: str) -> Iterable[str]:
    """What joins the letters of a word from left to right."""
    return (f"{word[:end]} {word[end]}" for end in range(1, len(word)))


def _pieces() -> list[str]:
    """Words, the beginnings they are joined from, and single characters; the likeliest first."""
    beginnings = [(_SPACE + word)[:end] for word in _WORDS for end in range(2, len(word) + 2)]
    return list(dict.fromkeys([*beginnings, _SPACE, *_CHARACTERS]))
