"""Types of fields that may travel to a worker: what JSON can spell and a worker's message cannot is refused here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from localchat.api.schemas.policy import Ours
from localchat.quantities import parse_duration

MAX_INT = 2**31 - 1
"""llama.cpp's tokens and positions have 32 bits."""


def _no_half_character(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


Text = Annotated[str, AfterValidator(_no_half_character)]


def _duration(value: Any) -> float | None:
    return None if value is None else parse_duration(value)


KeepAlive = Annotated[
    float | None,
    BeforeValidator(_duration),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}),
    Ours(),
    Field(description="How long the model stays loaded unused: 10m, seconds, 0 for not at all, -1 for ever."),
]
TokenId = Annotated[int, Field(ge=0, le=MAX_INT)]


def _few_and_short(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > 16:
        raise ValueError(f"at most 16 pairs are allowed, not {len(metadata)}")
    for key, value in metadata.items():
        if not 0 < len(key) <= 64 or len(value) > 512:
            raise ValueError("keys have 1 to 64 characters, and values at most 512")
    return metadata


Metadata = Annotated[dict[Text, Text], AfterValidator(_few_and_short)]
"""A person's own notes on what is kept; OpenAI's limits."""
