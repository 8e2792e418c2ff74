"""The body of `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from localchat.api.encoders.message import Shape
from localchat.api.schemas.media import refuse_media
from localchat.api.schemas.policy import Body, Ignored, Ours, Refused
from localchat.api.schemas.sampling import StreamOptions
from localchat.api.schemas.structured import GrammarFields, ResponseFormat, format_constraint
from localchat.api.schemas.tools import ToolFields
from localchat.api.schemas.types import MAX_INT, KeepAlive, Metadata, Text
from localchat.chat.messages import Message
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest, UnsupportedField
from localchat.sampling_params import MAX_LOGPROBS

MAX_N = 64
_NAME = Ignored("templates have no place for it")


class TextPart(Body):
    """A piece of a message's text."""

    type: Literal["text"]
    text: Text = Field(description="The words.")
    prompt_cache_breakpoint: Annotated[dict[str, Any] | None, Ignored("equal beginnings are found without it")] = None


class RefusalPart(Body):
    """How a model declined: words as any."""

    type: Literal["refusal"]
    refusal: Text = Field(description="The words.")

    @property
    def text(self) -> str:
        """The words."""
        return self.refusal


Content = Text | list[TextPart]
Said = Text | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]]
_CONTENT = "Text, or text parts, which are joined."


def _joined(content: Content | Said | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


class _Turn(Body):
    content: Content = Field(description=_CONTENT)

    _media = field_validator("content", mode="before", check_fields=False)(refuse_media)

    @property
    def text(self) -> str:
        """The words, parts joined."""
        return _joined(self.content)


class SystemTurn(_Turn):
    """Instructions; `developer` is OpenAI's newer name for `system`."""

    role: Literal["system", "developer"]
    name: Annotated[str | None, _NAME] = None

    def to_message(self) -> Message:
        """The turn as templates take it."""
        return Message(role="system", content=self.text)


class UserTurn(_Turn):
    """What the user says."""

    role: Literal["user"]
    name: Annotated[str | None, _NAME] = None

    def to_message(self) -> Message:
        """The turn as templates take it."""
        return Message(role="user", content=self.text)


class FunctionCall(Body):
    """The function an earlier turn called, and its arguments as JSON text."""

    name: Text = Field(description="The function's.")
    arguments: Text = Field(description="JSON text.")


class ToolCall(Body):
    """A call in an earlier turn."""

    id: Text = Field(description="Which its result names.")
    type: Literal["function"]
    function: FunctionCall = Field(description="What was called.")


class AssistantTurn(_Turn):
    """What the model said before."""

    role: Literal["assistant"]
    content: Said | None = Field(None, description=_CONTENT)  # type: ignore[assignment]
    name: Annotated[str | None, _NAME] = None
    refusal: Annotated[str | None, Ignored("local models have no refusal channel")] = None
    tool_calls: list[ToolCall] | None = Field(None, description="What it called.")
    function_call: FunctionCall | None = Field(None, description="Older form of tool_calls.")
    reasoning_content: Annotated[Text | None, Ours()] = Field(
        None, description="What it thought; for templates that have a place for it."
    )
    audio: Annotated[dict[str, Any] | None, Refused("no model here hears or speaks")] = None

    def to_message(self) -> Message:
        """The turn as templates take it."""
        calls = [call.model_dump() for call in self.tool_calls or ()]
        if self.function_call is not None:  # what came of it names the function, and no id
            function = self.function_call.model_dump()
            calls.append({"id": self.function_call.name, "type": "function", "function": function})
        return Message(role="assistant", content=self.text, tool_calls=calls, reasoning=self.reasoning_content)


class ToolTurn(_Turn):
    """What a tool returned."""

    role: Literal["tool"]
    tool_call_id: Text = Field(description="The call that it answers.")

    def to_message(self) -> Message:
        """The turn as templates take it."""
        return Message(role="tool", content=self.text, tool_call_id=self.tool_call_id)


class FunctionTurn(_Turn):
    """What a function returned: the older form of a tool's turn."""

    role: Literal["function"]
    name: Text = Field(description="The function's.")

    def to_message(self) -> Message:
        """The turn as templates take it."""
        return Message(role="tool", content=self.text, tool_call_id=self.name)


Turn = Annotated[SystemTurn | UserTurn | AssistantTurn | ToolTurn | FunctionTurn, Field(discriminator="role")]


class Prediction(Body):
    """A text that the answer is expected to be much like, such as a file of which little is to change."""

    type: Literal["content"]
    content: Content = Field(description=_CONTENT)

    @property
    def text(self) -> str:
        """The words, parts joined."""
        return _joined(self.content)


class ChatRequest(GrammarFields, ToolFields):
    """A conversation to answer. Every field OpenAI documents is here: honoured, refused or ignored."""

    messages: list[Turn] = Field(min_length=1, description="Roles system, developer, user, assistant, tool, function.")
    model: str = Field(description="An id of GET /v1/models.")
    stream: bool | None = Field(None, description="Server-sent events instead of one reply.")
    stream_options: StreamOptions | None = Field(None, description="With stream only.")
    max_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Most tokens of an answer; the context is the limit."
    )
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Newer name of max_tokens; the smaller holds."
    )
    n: int | None = Field(None, ge=1, le=MAX_N, description=f"Answers, up to {MAX_N}.")
    logprobs: bool | None = Field(None, description="Log-probabilities before any sampler.")
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS, description="Likeliest tokens; needs logprobs.")
    continue_final_message: Annotated[bool | None, Ours()] = Field(
        None, description="The answer goes on from the last message, which is the assistant's."
    )
    truncation: Annotated[Literal["auto", "disabled"] | None, Ours()] = Field(
        None, description="auto drops the oldest turns of a conversation that is too long, and the reply says which."
    )

    prediction: Prediction | None = Field(
        None, description="What the answer is expected to be much like: it comes faster where it is."
    )
    service_tier: Literal["auto", "default", "fast", "flex", "priority"] | None = Field(
        None, description="flex runs in the background, all others do not; the reply says flex or default."
    )
    keep_alive: KeepAlive = None

    response_format: ResponseFormat | None = Field(None, description="text, json_object, or json_schema.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        None, description="For templates that know degrees; none turns thoughts off."
    )
    reasoning_budget: Annotated[int | None, Ours()] = Field(
        None, ge=0, le=MAX_INT, description="Most tokens of thoughts; then they are ended."
    )
    chat_template_kwargs: Annotated[dict[str, Any] | None, Ours()] = Field(
        None, description="Variables of the chat template; one that it does not know is refused."
    )
    verbosity: Annotated[str | None, Refused("no model here takes it", harmless=("medium",))] = None
    modalities: Annotated[list[str] | None, Refused("answers are text", harmless=(["text"],))] = None
    audio: Annotated[dict[str, Any] | None, Refused("answers are text")] = None
    web_search_options: Annotated[dict[str, Any] | None, Refused("nothing here searches the web")] = None
    moderation: Annotated[dict[str, Any] | None, Refused("nothing here moderates")] = None
    store: bool | None = Field(None, description="Kept for GET /v1/chat/completions.")
    metadata: Metadata | None = Field(None, description="Up to 16 pairs, kept with the answer; ignored without store.")

    user: Annotated[str | None, Ignored("nothing is kept of who asks")] = None
    safety_identifier: Annotated[str | None, Ignored("nothing is kept of who asks")] = None
    prompt_cache_key: Annotated[str | None, Ignored("equal beginnings are found without it")] = None
    prompt_cache_retention: Annotated[str | None, Ignored("prompts are kept while there is room")] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, Ignored("prompts are kept while there is room")] = None

    def ignored(self, prefix: str = "") -> Iterator[str]:
        """As any body; and metadata of what is not kept."""
        yield from super().ignored(prefix)
        if self.metadata and not self.store:
            yield f"{prefix}metadata"

    @property
    def constraint(self) -> Constraint | None:
        """What the text must be. Raises InvalidRequest."""
        return self.constraint_with(format_constraint(self.response_format, "response_format"))

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer."""
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        return min(limits, default=None)

    @property
    def wanted_logprobs(self) -> int | None:
        """How many alternatives to report, or None for no logprobs. Raises InvalidRequest."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def shape(self) -> Shape:
        """How the answer tells of calls."""
        return Shape.FUNCTIONS if self.functions else Shape.TOOLS

    def check(self, *, can_store: bool) -> None:
        """What one field says of another, and of the server. Raises InvalidRequest."""
        if self.store and not can_store:
            raise UnsupportedField("store is not supported: the server keeps nothing (--store off)", param="store")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream to be true", param="stream_options")
        if self.continue_final_message and not isinstance(self.messages[-1], AssistantTurn):
            raise InvalidRequest(
                "continue_final_message needs the last message to be the assistant's", param="continue_final_message"
            )


class ChatUpdate(Body):
    """What changes of a kept chat completion."""

    metadata: Metadata | None = Field(description="Instead of what it had.")
