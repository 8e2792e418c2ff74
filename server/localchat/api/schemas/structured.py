"""The fields that say what the text of an answer must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from localchat.api.schemas.policy import Body, Ignored, Ours
from localchat.api.schemas.sampling import SamplingFields
from localchat.api.schemas.types import Text
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest
from localchat.json_schema import meaningless, pointer

MAX_CHOICES = 1000
MOST_IGNORED = 16


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Body):
    """A schema by a name. Every answer keeps it, `strict` or not."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="Letters, digits, _ and -; up to 64.")
    schema_: dict[str, Any] = Field(
        {}, alias="schema", description="What cannot be enforced is refused, with its place."
    )
    strict: bool | None = Field(None, description="Schemas are enforced either way.")
    description: Annotated[str | None, Ignored("the prompt says what is wanted")] = None

    def ignored(self, prefix: str = "") -> Iterator[str]:
        """The fields without effect, and the first of the schema's keywords that ask for nothing."""
        yield from super().ignored(prefix)
        for path in islice(meaningless(self.schema_), MOST_IGNORED):
            # A header holds neither every character nor commas within its parts; RFC 6901 has them percent-encoded.
            yield f"{prefix}schema{quote(pointer(path), safe='#/~$')}"


class JsonSchemaFormat(Body):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: JsonSchema = Field(description="The schema, by a name.")


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class GrammarFields(SamplingFields):
    """What the text of an answer must be, in ways that OpenAI's API does not have; one of them."""

    grammar: Annotated[Text | None, Ours()] = Field(None, description="A grammar in llama.cpp's GBNF.")
    lark: Annotated[Text | None, Ours()] = Field(None, description="A grammar in llguidance's dialect of Lark.")
    regex: Annotated[Text | None, Ours()] = Field(None, description="What the whole text matches; no look-around.")
    choice: Annotated[list[Text] | None, Ours()] = Field(None, description="The text is one of these.")

    def constraint_with(self, other: Constraint | None = None) -> Constraint | None:
        """What the text must be, by these fields or by another. Raises InvalidRequest."""
        given = [name for name in ("grammar", "lark", "regex", "choice") if getattr(self, name) is not None]
        names = [*given, *([other.param] if other else [])]
        if len(names) > 1:
            raise InvalidRequest(f"{' and '.join(names)} cannot hold at once: send one of them", param=names[0])
        if self.grammar is not None:
            return Constraint("gbnf", self.grammar, "grammar")
        if self.lark is not None:
            return Constraint("lark", self.lark, "lark")
        if self.regex is not None:
            return Constraint("regex", self.regex, "regex")
        return other if self.choice is None else _one_of(self.choice)


def format_constraint(format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None, param: str) -> Constraint | None:
    """What a response format asks of the text."""
    match format:
        case JsonObjectFormat():
            return Constraint("json_schema", '{"type":"object"}', param)
        case JsonSchemaFormat():
            return Constraint("json_schema", json.dumps(format.json_schema.schema_), param)
    return None


def _one_of(texts: list[str]) -> Constraint:
    if not 0 < len(texts) <= MAX_CHOICES or "" in texts:
        raise InvalidRequest(f"choice must hold 1 to {MAX_CHOICES} texts, none of them empty", param="choice")
    return Constraint("lark", f"start: {' | '.join(map(json.dumps, texts))}", "choice")
