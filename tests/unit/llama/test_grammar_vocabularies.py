"""Grammars over vocabularies of every kind: what is shown of the tokens is what the grammar allows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
import pytest

from localchat.constraint import Constraint
from localchat.errors import EngineError, InvalidRequest
from localchat.llama.grammar import Grammars
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary
from tiny_models import build

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "n": {"type": "integer"},
        "kind": {"enum": ["a b", "x"]},
    },
    "required": ["name", "n", "kind"],
    "additionalProperties": False,
}
KINDS = {"sentence_piece": "llama", "byte_pair": "mpt", "rwkv_world": "rwkv7", "unigram": "t5"}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Model(build(tmp_path_factory.mktemp("models") / "model.gguf", request.param)).vocabulary


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary)


def write(constraint: Constraint, grammars: Grammars, vocabulary: Vocabulary, random: Random) -> str:
    """What is shown of tokens drawn at random from those allowed."""
    matcher, shown = grammars.matcher(constraint), b""
    while not matcher.is_complete:
        allowed = np.flatnonzero(matcher.allowed())
        token = int(allowed[random.randrange(allowed.size)])
        if token in vocabulary.end_tokens:
            break
        matcher.accept(token)
        shown += vocabulary.piece(token)
    return shown.decode()


def test_shown_text_keeps_a_schema(grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint = Constraint("json_schema", json.dumps(SCHEMA), "response_format")
    for seed in range(40):
        jsonschema.validate(json.loads(write(constraint, grammars, vocabulary, Random(seed))), SCHEMA)


@pytest.mark.parametrize("pattern", [" ?the [a-z]{2,9} of", "[ -~]{3,8}", "(yes|no)\\.?"])
def test_shown_text_matches_a_pattern(pattern: str, grammars: Grammars, vocabulary: Vocabulary) -> None:
    for seed in range(40):
        text = write(Constraint("regex", pattern, "regex"), grammars, vocabulary, Random(seed))
        assert re.fullmatch(pattern, text)


def test_what_no_token_spells_is_refused_or_ends_with_an_error(tmp_path: Path) -> None:
    vocabulary = Model(build(tmp_path / "model.gguf", "t5")).vocabulary
    grammars = Grammars(vocabulary)
    with pytest.raises(InvalidRequest, match="nothing that this model can write matches it"):
        grammars.matcher(Constraint("regex", "é", "regex"))
    with pytest.raises(EngineError, match="cannot be followed any further"):
        write(Constraint("regex", "aé", "regex"), grammars, vocabulary, Random(0))
