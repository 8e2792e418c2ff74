"""Texts that the grammars of calls allow are calls, with arguments that keep their schemas."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
import pytest

from localchat.chat.answer import CallArguments, CallStart
from localchat.chat.calling import constrain
from localchat.chat.output_parser import CallParser
from localchat.chat.tool_formats import FORMATS, ToolFormat
from localchat.chat.tools import Tool, ToolUse
from localchat.constraint import Constraint
from localchat.engine.seam import Matcher
from localchat.engine.triggered import Triggered
from localchat.errors import InvalidRequest
from localchat.llama.grammar import Grammars
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary

PATIENCE = 60
TOOLS = (
    Tool(
        name="get_weather",
        parameters={
            "type": "object",
            "properties": {
                "city": {"enum": ["Paris", "Rome"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        param="tools[0].function.parameters",
    ),
    Tool(name="get_time"),
)


@pytest.fixture(scope="module")
def vocabulary(embedded_model_path: Path) -> Vocabulary:
    return Model(embedded_model_path).vocabulary


@pytest.fixture(scope="module")
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary)


def write(matcher: Matcher, vocabulary: Vocabulary, seed: int) -> str:
    """Tokens drawn from what is allowed, of which those that bring JSON to its end are preferred at last."""
    random, data = Random(seed), b""
    for step in range(600):
        if matcher.is_complete:
            break
        allowed = [int(token) for token in np.flatnonzero(matcher.allowed())]
        if any(token in vocabulary.end_tokens for token in allowed) and (step > PATIENCE or random.random() < 0.5):
            break
        tokens = [token for token in allowed if token not in vocabulary.end_tokens]
        if step > PATIENCE:
            closing = [token for token in tokens if set(vocabulary.piece(token)) <= set(b'"}]')]
            tokens = closing or tokens
        token = random.choice(tokens)
        data += vocabulary.piece(token, special=True)
        matcher.accept(token)
    else:
        raise AssertionError(f"no end: {data!r}")
    return data.decode("utf-8", "replace")


def calls_of(format: ToolFormat, text: str) -> list[tuple[str, dict[str, object]]]:
    """The calls of a text that has nothing else."""
    parser = CallParser(format.syntax, [tool.name for tool in TOOLS], live=True)
    deltas = [*parser.feed(text), *parser.finish()]
    assert all(isinstance(delta, CallStart | CallArguments) for delta in deltas), text
    names = [delta.name for delta in deltas if isinstance(delta, CallStart)]
    arguments = [
        "".join(d.text for d in deltas if isinstance(d, CallArguments) and d.index == i) for i in range(len(names))
    ]
    return [(name, json.loads(text)) for name, text in zip(names, arguments, strict=True)]


def constraint_of(format: ToolFormat, **use: object) -> Constraint:
    constraint = constrain(format, ToolUse(tools=TOOLS, **use), None)  # type: ignore[arg-type]
    assert constraint is not None
    return constraint


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("parallel", [True, False])
def test_calls_that_must_be_are_valid(
    format: ToolFormat, parallel: bool, grammars: Grammars, vocabulary: Vocabulary
) -> None:
    constraint = constraint_of(format, must_call=True, parallel=parallel)
    for seed in range(4):
        calls = calls_of(format, write(grammars.matcher(constraint), vocabulary, seed))
        assert calls
        assert parallel or len(calls) == 1
        for name, arguments in calls:
            [tool] = [tool for tool in TOOLS if tool.name == name]
            jsonschema.validate(arguments, tool.schema)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_only_what_is_allowed_is_called(format: ToolFormat, grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint = constraint_of(format, must_call=True, allowed=("get_time",), parallel=False)
    assert calls_of(format, write(grammars.matcher(constraint), vocabulary, 1)) == [("get_time", {})]


@pytest.mark.parametrize("format", [format for format in FORMATS if format.is_guarded], ids=lambda format: format.name)
def test_grammar_holds_behind_a_trigger(format: ToolFormat, grammars: Grammars, vocabulary: Vocabulary) -> None:
    constraint = constraint_of(format)
    matcher = Triggered(
        grammars.matcher(constraint), constraint.triggers, vocabulary, vocabulary.tokenize, repeats=constraint.repeats
    )
    said = f"Let me see. {constraint.triggers[0]}"
    for token in vocabulary.tokenize(said):
        assert not matcher.is_awake
        matcher.accept(token)
    assert matcher.is_awake
    behind = b""
    random = Random(3)
    for step in range(300):
        if not matcher.is_awake:
            break
        tokens = [int(token) for token in np.flatnonzero(matcher.allowed())]
        closing = [token for token in tokens if set(vocabulary.piece(token)) <= set(b'"}]')]
        token = random.choice(closing if closing and step > PATIENCE else tokens)
        if token in vocabulary.end_tokens:
            break
        behind += vocabulary.piece(token, special=True)
        matcher.accept(token)
    calls = calls_of(format, constraint.triggers[0] + behind.decode("utf-8", "replace"))
    assert calls
    assert all(isinstance(arguments, dict) for _, arguments in calls)


def test_tag_that_is_a_token_is_written_as_that_token(grammars: Grammars, vocabulary: Vocabulary) -> None:
    [tag] = vocabulary.tokenize("<file_sep>", parse_special=True)
    matcher = grammars.matcher(Constraint("lark", 'start: "<file_sep>" "x"', "tools", tags=("<file_sep>",)))
    assert list(np.flatnonzero(matcher.allowed())) == [tag]


def test_schema_that_cannot_be_enforced_is_named(grammars: Grammars) -> None:
    tool = Tool(name="f", parameters={"properties": {"a": {"type": "sting"}}}, param="tools[3].function.parameters")
    constraint = constrain(FORMATS[-1], ToolUse(tools=[tool], must_call=True), None)
    assert constraint is not None
    with pytest.raises(
        InvalidRequest, match=r"^tools\[3\]\.function\.parameters cannot be enforced at #/properties/a"
    ) as raised:
        grammars.matcher(constraint)
    assert raised.value.param == "tools[3].function.parameters"


def test_answer_is_calls_or_keeps_its_format(grammars: Grammars, vocabulary: Vocabulary) -> None:
    words = Constraint("json_schema", '{"enum": [7]}', "response_format")
    constraint = constrain(FORMATS[-1], ToolUse(tools=TOOLS), words)
    assert constraint is not None
    texts = {write(grammars.matcher(constraint), vocabulary, seed)[:5] for seed in range(12)}
    assert texts == {"7", "<tool"}


def test_grammar_and_tools_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="regex and tools cannot hold at once"):
        constrain(FORMATS[-1], ToolUse(tools=TOOLS), Constraint("regex", "a+", "regex"))
