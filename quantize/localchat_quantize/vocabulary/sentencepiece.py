"""SentencePiece: byte pairs of characters (LLaMA's) and unigrams (T5's)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localchat.errors import ConfigError, WeightsError
from localchat_quantize.vocabulary.files import TokenizerFiles, check_count, with_added
from localchat_quantize.vocabulary.vocabulary import TokenType, Value, Vocabulary

_BPE, _UNIGRAM = 2, 1
_SPACE = "▁"
_ADD_EOS = frozenset({"T5Tokenizer", "MT5Tokenizer"})
_ADD_BOS = frozenset({"LlamaTokenizer", "LLaMATokenizer", "CodeLlamaTokenizer", ""})
_EXTRA_IDS = 100


def read_sentencepiece(files: TokenizerFiles, path: Path) -> Vocabulary:
    """From a trained SentencePiece model."""
    proto = _parse(path)
    tokens = [piece.piece for piece in proto.pieces]
    types = [TokenType(piece.type) for piece in proto.pieces]
    scores = [piece.score for piece in proto.pieces]
    for id, kind in enumerate(types):
        if kind is TokenType.USER_DEFINED:  # looked for in the text before spaces are marked
            tokens[id] = tokens[id].replace(_SPACE, " ")
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    if trainer.model_type not in (_BPE, _UNIGRAM):
        raise WeightsError(f"{path} splits text into words or characters, which llama.cpp does not")
    ids = {"bos": trainer.bos_id, "eos": trainer.eos_id, "padding": trainer.pad_id, "unknown": trainer.unk_id}
    more: dict[str, Value] = {
        "add_space_prefix": normalizer.add_dummy_prefix,
        "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
    }
    is_unigram = trainer.model_type == _UNIGRAM
    if is_unigram and normalizer.precompiled_charsmap:
        more["precompiled_charsmap"] = normalizer.precompiled_charsmap
    return _vocabulary(files, is_unigram, tokens, types, scores, ids, more)


def read_fast_sentencepiece(files: TokenizerFiles) -> Vocabulary:
    """From a tokenizer.json that was made of a SentencePiece model."""
    assert files.fast is not None
    model = files.fast["model"]
    steps = _steps(files.fast.get("normalizer")) + _steps(files.fast.get("pre_tokenizer"))
    more: dict[str, Value] = {"add_space_prefix": any(map(_adds_prefix, steps))}
    if model["type"] == "Unigram":
        more["remove_extra_whitespaces"] = any(map(_merges_spaces, steps))
        charsmap = next((step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"), None)
        if charsmap:
            more["precompiled_charsmap"] = base64.b64decode(charsmap)
        tokens = [piece for piece, _ in model["vocab"]]
        scores = [score for _, score in model["vocab"]]
    else:
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        scores = _scores_of_merges(tokens, model["merges"])
    unknown = model.get("unk_id") if model["type"] == "Unigram" else model["vocab"].get(model.get("unk_token"))
    types = [_type(token, id == unknown) for id, token in enumerate(tokens)]
    ids = {} if unknown is None else {"unknown": int(unknown)}
    return _vocabulary(files, model["type"] == "Unigram", tokens, types, scores, ids, more)


def _vocabulary(
    files: TokenizerFiles,
    is_unigram: bool,
    tokens: list[str],
    types: list[TokenType],
    scores: list[float],
    ids: Mapping[str, int],
    more: Mapping[str, Value],
) -> Vocabulary:
    if files.class_name == "T5Tokenizer" and not files.added:
        extra = int(files.config.get("extra_ids", _EXTRA_IDS))
        check_count(len(tokens) + extra)
        _add_sentinels(tokens, types, scores, extra)
    with_added(tokens, types, files.added, scores)
    special = files.special(tokens, {role: id for role, id in ids.items() if id >= 0})
    special |= {role: id for role, id in ids.items() if id >= 0 and role not in special}
    by_class = (not is_unigram and files.class_name in _ADD_BOS, is_unigram and files.class_name in _ADD_EOS)
    add_bos, add_eos = files.adds(*by_class)
    return Vocabulary(
        "t5" if is_unigram else "llama",
        tokens,
        types,
        scores=scores,
        special=special,
        add_bos=add_bos and "bos" in special,
        add_eos=add_eos and "eos" in special,
        more=more,
        chat_templates=files.chat_templates,
    )


def _add_sentinels(tokens: list[str], types: list[TokenType], scores: list[float], count: int) -> None:
    """T5's tokenizer class adds these by itself, the last one first."""
    for number in reversed(range(count)):
        tokens.append(f"<extra_id_{number}>")
        types.append(TokenType.CONTROL)
        scores.append(0.0)


def _parse(path: Path) -> Any:
    try:
        from sentencepiece import sentencepiece_model_pb2  # noqa: PLC0415 - an extra's, and protobuf's import is slow
    except ImportError as error:
        raise ConfigError(f"{path.name} takes sentencepiece: pip install 'localchat[quantize]'") from error
    proto: Any = vars(sentencepiece_model_pb2)["ModelProto"]()  # made at run time: no type checker sees it
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no public place
        raise WeightsError(f"{path} is no SentencePiece model ({error}); fetch it again") from error
    if not proto.pieces:
        raise WeightsError(f"{path} is no SentencePiece model: it has no pieces; fetch it again")
    return proto


def _scores_of_merges(tokens: list[str], merges: list[Any]) -> list[float]:
    """llama.cpp merges by the score of what comes out: the earliest merge that makes a token decides."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _type(token: str, is_unknown: bool) -> TokenType:
    if is_unknown:
        return TokenType.UNKNOWN
    is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _steps(told: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    parts = (told or {}).get("normalizers") or (told or {}).get("pretokenizers")
    return [step for part in parts for step in _steps(part)] if parts else [told] if told else []


def _adds_prefix(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return bool(step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True))
    return bool(step["type"] == "Prepend" and step["prepend"] == _SPACE)


def _merges_spaces(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Replace":
        return bool(step["pattern"].get("Regex") == " {2,}")
    return bool(step["type"] == "WhitespaceSplit")
