"""The bodies of `POST /v1/tokenize` and `POST /v1/detokenize`, and their replies."""

from __future__ import annotations

from pydantic import BaseModel, Field

from localchat.api.schemas.chat import Turn
from localchat.api.schemas.policy import Body
from localchat.api.schemas.types import Text, TokenId


class TokenizeRequest(Body):
    """A text, or a conversation, to count or cut into tokens."""

    model: str = Field(description="An id of GET /v1/models.")
    text: Text | None = Field(None, description="The text; or give messages.")
    messages: list[Turn] | None = Field(None, min_length=1, description="The conversation, as chat would prompt it.")
    add_special: bool = Field(False, description="Put BOS in front of a text, where the model wants one.")
    parse_special: bool = Field(False, description="Read <|im_end|> and its like in a text as the tokens they name.")


class TokenizeReply(BaseModel):
    """Token ids."""

    model: str
    tokens: list[int]
    count: int


class DetokenizeRequest(Body):
    """Token ids to spell out."""

    model: str = Field(description="An id of GET /v1/models.")
    tokens: list[TokenId] = Field(description="Token ids.")


class DetokenizeReply(BaseModel):
    """Text."""

    model: str
    text: str
