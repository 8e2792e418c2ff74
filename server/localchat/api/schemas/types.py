"""Types of fields that may travel to a worker: what JSON can spell and a worker's message cannot is refused here."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

MAX_INT = 2**31 - 1
"""llama.cpp's tokens and positions have 32 bits."""


def _no_half_character(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


Text = Annotated[str, AfterValidator(_no_half_character)]
TokenId = Annotated[int, Field(ge=0, le=MAX_INT)]
