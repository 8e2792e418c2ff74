"""The body and the reply of `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from localchat.api.schemas.policy import Body, Ignored
from localchat.api.schemas.sampling import check_token_id
from localchat.api.schemas.types import KeepAlive, Text
from localchat.errors import InvalidRequest

MAX_INPUTS = 2048


class EmbeddingRequest(Body):
    """Texts to embed. Every field OpenAI documents is here: honoured, refused or ignored."""

    model: str = Field(description="An id of GET /v1/models whose model is made for embeddings.")
    input: Text | list[Text] | list[int] | list[list[int]] = Field(
        description=f"Text, token ids, or up to {MAX_INPUTS} of either; what is too long is refused."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64 is float32, least significant byte first."
    )
    dimensions: int | None = Field(
        None, ge=1, description="The first so many numbers, at length 1 again: for models that were trained for that."
    )
    keep_alive: KeepAlive = None
    user: Annotated[str | None, Ignored("nothing is kept of who asks")] = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """The texts, one or many. Raises InvalidRequest."""
        given = self.input
        many = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        if not many or len(many) > MAX_INPUTS:
            raise InvalidRequest(f"input must hold 1 to {MAX_INPUTS} texts, not {len(many)}", param="input")
        for index, one in enumerate(many):
            if not one:
                param = "input" if len(many) == 1 else f"input[{index}]"
                raise InvalidRequest(f"{param} is empty, so there is nothing to embed", param=param)
            for token in one if isinstance(one, list) else ():
                check_token_id(token, "input")
        return many  # type: ignore[return-value]


class Embedding(BaseModel):
    """The vector of one text, at length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Token counts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(BaseModel):
    """The reply of `POST /v1/embeddings`."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
