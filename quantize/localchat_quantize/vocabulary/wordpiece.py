"""WordPiece: BERT's."""

from __future__ import annotations

from localchat.errors import WeightsError
from localchat_quantize.vocabulary.files import TokenizerFiles
from localchat_quantize.vocabulary.vocabulary import TokenType, Vocabulary

_DEFAULTS = {"unknown": "[UNK]", "seperator": "[SEP]", "padding": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_WORD_START = "▁"


def read_wordpiece(files: TokenizerFiles) -> Vocabulary:
    """From tokenizer.json, or from vocab.txt."""
    pieces = _pieces(files)
    texts = _DEFAULTS | dict(files.texts)
    special = {role: pieces.index(text) for role, text in texts.items() if text in pieces}
    if not {"cls", "seperator", "unknown"} <= special.keys():
        raise WeightsError(f"{files.folder}: the vocabulary lacks one of {', '.join(_DEFAULTS.values())}")
    control = {id for id, token in files.added.items() if token.special} | set(special.values())
    types = [TokenType.CONTROL if id in control else TokenType.NORMAL for id in range(len(pieces))]
    types[special["unknown"]] = TokenType.UNKNOWN
    tokens = [text if id in control else _spelled(text) for id, text in enumerate(pieces)]
    lowercase, strip_accents = _normalizer(files)
    special["bos"], special["eos"] = special["cls"], special["seperator"]
    return Vocabulary(
        "bert",
        tokens,
        types,
        special=special,
        add_bos=True,
        add_eos=True,
        more={
            "add_sep_token": True,
            "token_type_count": int(files.model_config.get("type_vocab_size", 2)),
            "normalizer.lowercase": lowercase,
            "normalizer.strip_accents": strip_accents,
        },
    )


def _pieces(files: TokenizerFiles) -> list[str]:
    if files.fast:
        ids: dict[str, int] = files.fast["model"]["vocab"]
        return sorted(ids, key=ids.__getitem__)
    path = files.path("vocab.txt")
    assert path is not None
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _spelled(piece: str) -> str:
    """llama.cpp marks where a word starts, WordPiece where it goes on."""
    return piece[2:] if piece.startswith("##") and len(piece) > 2 else _WORD_START + piece


def _normalizer(files: TokenizerFiles) -> tuple[bool, bool]:
    told = ((files.fast or {}).get("normalizer")) or {}
    lowercase = bool(told.get("lowercase", files.config.get("do_lower_case", True)))
    strip = told.get("strip_accents", files.config.get("strip_accents"))
    return lowercase, lowercase if strip is None else bool(strip)
