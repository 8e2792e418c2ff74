"""The body of `POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from localchat.api.schemas.policy import Ignored, Ours
from localchat.api.schemas.sampling import StreamOptions, check_token_id
from localchat.api.schemas.structured import GrammarFields, ResponseFormat, format_constraint
from localchat.api.schemas.types import MAX_INT, KeepAlive, Text
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest

MAX_CHOICES = 64
MAX_PROMPTS = 64
MAX_LOGPROBS = 20


class CompletionRequest(GrammarFields):
    """Prompts to continue. Every field OpenAI documents is here: honoured, refused or ignored."""

    model: str = Field(description="An id of GET /v1/models.")
    prompt: Text | list[Text] | list[int] | list[list[int]] = Field(
        description=f"Text, token ids, or up to {MAX_PROMPTS} of either."
    )
    stream: bool | None = Field(None, description="Server-sent events instead of one reply.")
    stream_options: StreamOptions | None = Field(None, description="With stream only.")
    max_tokens: int | None = Field(
        None, ge=0, le=MAX_INT, description="16 where absent, as OpenAI has it; 0 needs echo."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description=f"Continuations of each prompt, up to {MAX_CHOICES}.")
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Tries, of which the n likeliest come back.")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description=f"Likeliest tokens of each position, up to {MAX_LOGPROBS}."
    )
    echo: bool | None = Field(None, description="The prompt stands before its continuation.")
    suffix: Text | None = Field(
        None, description="What comes after the gap that is filled; refused for models without infill tokens."
    )
    response_format: Annotated[ResponseFormat | None, Ours()] = Field(
        None, description="text, json_object, or json_schema, as for chat."
    )
    keep_alive: KeepAlive = None
    user: Annotated[str | None, Ignored("nothing is kept of who asks")] = None

    @property
    def constraint(self) -> Constraint | None:
        """What the text must be. Raises InvalidRequest."""
        return self.constraint_with(format_constraint(self.response_format, "response_format"))

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or many. Raises InvalidRequest."""
        prompt = self.prompt
        many = [prompt] if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else prompt
        if not many or len(many) > MAX_PROMPTS:
            raise InvalidRequest(f"prompt must hold 1 to {MAX_PROMPTS} prompts, not {len(many)}", param="prompt")
        for token in [token for one in many if isinstance(one, list) for token in one]:
            check_token_id(token, "prompt")
        return many  # type: ignore[return-value]

    @property
    def choices(self) -> int:
        """Continuations that come back of each prompt."""
        return self.n or 1

    @property
    def tries(self) -> int:
        """Continuations made of each prompt."""
        return self.best_of or self.choices

    @property
    def token_limit(self) -> int:
        """Most tokens of a continuation."""
        return 16 if self.max_tokens is None else self.max_tokens

    def check(self) -> None:
        """What one field says of another. Raises InvalidRequest."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream to be true", param="stream_options")
        if self.tries < self.choices:
            raise InvalidRequest(f"best_of ({self.best_of}) must be at least n ({self.choices})", param="best_of")
        if self.stream and self.tries > self.choices:
            raise InvalidRequest("best_of cannot be streamed: the best is known at the end", param="best_of")
        if self.suffix is not None and self.echo and self.logprobs is not None:
            raise InvalidRequest(
                "suffix with echo has no logprobs: the prompt is not what the model reads", param="echo"
            )
        if self.token_limit == 0 and not self.echo:
            raise InvalidRequest("max_tokens is 0 and echo is not set, so nothing is asked for", param="max_tokens")
