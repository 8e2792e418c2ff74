"""Token ids where vocabularies are as large as they come: those of real models, put back into tokenizer files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, models

from localchat.hardware import read_header
from localchat.hardware.header import GgufArray
from localchat.registry import load_registry
from localchat_quantize.vocabulary import TokenType
from tiny_checkpoints.engine import model_of_vocabulary
from tiny_checkpoints.texts import COMPARED
from tiny_checkpoints.vocabulary import PRE_TOKENIZERS
from vocabularies import vocabulary_file

FAMILIES = {"dlite-v2": "gpt-2", "mpt-instruct": "gpt-2", "falcon-instruct": "falcon", "starchat": "starcoder"}
"""A family, and what splits a text in its tokenizer."""


def told_by(family: str) -> Mapping[str, Any]:
    metadata = read_header(vocabulary_file(family, load_registry().templates[family])).metadata
    names = ("tokens", "token_type", "merges", "scores")
    found = {name: metadata.get(f"tokenizer.ggml.{name}") for name in names}
    return {name: value.read() for name, value in found.items() if isinstance(value, GgufArray)}


@pytest.mark.parametrize(("family", "pre_tokenizer"), FAMILIES.items(), ids=FAMILIES)
def test_byte_level(tmp_path: Path, family: str, pre_tokenizer: str) -> None:
    told = told_by(family)
    ids = {text: id for id, text in enumerate(told["tokens"])}
    tokenizer = Tokenizer(models.BPE(ids, [tuple(merge.split(" ", 1)) for merge in told["merges"]]))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre_tokenizer]()
    for text, kind in zip(told["tokens"], told["token_type"], strict=True):
        if kind == TokenType.USER_DEFINED:
            tokenizer.add_tokens([AddedToken(text, normalized=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with closing(model_of_vocabulary(tmp_path, len(ids) + 30)) as model:
        found = {text: model.vocabulary.tokenize(text) for text in COMPARED}
        assert found == {text: tokenizer.encode(text, add_special_tokens=False).ids for text in COMPARED}


def test_sentencepiece_pairs(tmp_path: Path) -> None:
    told = told_by("llama2-chat")
    proto: Any = vars(sentencepiece_model_pb2)["ModelProto"]()
    for text, score, kind in zip(told["tokens"], told["scores"], told["token_type"], strict=True):
        proto.pieces.add(piece=text, score=score, type=kind)
    proto.trainer_spec.model_type, proto.trainer_spec.byte_fallback = 2, True
    proto.normalizer_spec.name, proto.normalizer_spec.remove_extra_whitespaces = "identity", False
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
    with closing(model_of_vocabulary(tmp_path, 32032)) as model:
        found = {text: model.vocabulary.tokenize(text) for text in COMPARED}
        assert found == {text: processor.encode(text) for text in COMPARED}
        assert model.vocabulary.adds_bos
