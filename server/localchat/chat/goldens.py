"""The exact prompts of the prompt families: one file a family, in `goldens/`, checked by hand against the evidence.

`python tests/write_goldens.py` writes the files anew.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localchat.chat.messages import Message
from localchat.chat.template import ChatTemplate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).with_name("goldens")

CONTINUATION = "continuation"

_QUESTION = Message(role="user", content="What is the capital of France?")

CONVERSATIONS: Mapping[str, Sequence[Message]] = {
    "one turn": (_QUESTION,),
    "with system": (Message(role="system", content="Answer in one word."), _QUESTION),
    "several turns": (
        _QUESTION,
        Message(role="assistant", content="Paris."),
        Message(role="user", content="And of Italy?"),
    ),
    CONTINUATION: (_QUESTION, Message(role="assistant", content="The capital of France is")),
}
"""What is said in the goldens, by the name of the case."""


@dataclass(frozen=True, slots=True)
class Case:
    """The prompt that a conversation must become, and its tokens with their ids."""

    prompt: str
    tokens: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Golden:
    """What one family's prompts must be. `added` are the tokens that the family adds to the vocabulary it builds on."""

    vocabulary: str
    added: frozenset[str]
    cases: Mapping[str, Case]


def clock() -> datetime.datetime:
    """The time in all goldens."""
    return datetime.datetime(2023, 4, 15, 9, 0)


def render(template: ChatTemplate, case: str) -> str:
    """What a template makes of a golden's conversation. The template's clock should be `clock`."""
    return template.render(CONVERSATIONS[case], continue_final=case == CONTINUATION)


def read_golden(family: str) -> Golden | None:
    """The golden of a prompt family; None for one of a person's own registry."""
    path = FOLDER / f"{family}.toml"
    if not path.is_file():
        return None
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    cases = {
        name: Case(case["prompt"], tuple((id, piece) for id, piece in case.get("tokens", ())))
        for name, case in data["case"].items()
    }
    return Golden(data["vocabulary"], frozenset(data.get("added", ())), cases)
