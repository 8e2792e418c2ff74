"""The bodies of `POST /v1/responses` and `POST /v1/responses/input_tokens`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from localchat.api.schemas.items import Item, refuse_other_items
from localchat.api.schemas.policy import Body, Ignored, Ours, Refused
from localchat.api.schemas.response_tools import ResponseToolFields
from localchat.api.schemas.structured import GrammarFields, JsonObjectFormat, JsonSchema, TextFormat, format_constraint
from localchat.api.schemas.types import MAX_INT, KeepAlive, Metadata, Text
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest, UnsupportedField
from localchat.sampling_params import MAX_LOGPROBS, MAX_STOPS

_NO_SUMMARY = "thoughts come whole, in a reasoning item's content"
LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
_OTHER_INCLUDES = frozenset(
    [
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    ]
)


class FlatJsonSchemaFormat(JsonSchema):
    """JSON that a schema describes; unlike in chat, its fields stand beside `type`."""

    type: Literal["json_schema"]


class TextOptions(Body):
    """What the text of an answer is like."""

    format: Annotated[TextFormat | JsonObjectFormat | FlatJsonSchemaFormat, Field(discriminator="type")] | None = Field(
        None, description="text, json_object, or json_schema."
    )
    verbosity: Annotated[str | None, Refused("no model here takes it", harmless=("medium",))] = None


class ReasoningOptions(Body):
    """How the model thinks before it answers."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="For templates that know degrees; none turns thoughts off."
    )
    summary: Annotated[str | None, Ignored(_NO_SUMMARY)] = None
    generate_summary: Annotated[str | None, Ignored(_NO_SUMMARY)] = None
    context: Annotated[str | None, Refused("the template decides which thoughts it shows", harmless=("auto",))] = None
    mode: Annotated[str | None, Refused("models here have one mode", harmless=("standard",))] = None


class ResponseStreamOptions(Body):
    """What a stream tells besides text."""

    include_obfuscation: Annotated[bool | None, Refused("no padding is ever sent", harmless=(False,))] = None


class TalkFields(ResponseToolFields):
    """What is said, and what the model may do about it."""

    model: str = Field(description="An id of GET /v1/models.")
    input: Text | list[Item] = Field(
        description="Text; or messages, function_call, function_call_output, reasoning and item_reference items."
    )
    instructions: Text | None = Field(None, description="A system message; it holds for this response alone.")
    previous_response_id: Text | None = Field(None, description="The kept response that the conversation goes on from.")
    text: TextOptions | None = Field(None, description="`format` says what the text must be.")
    reasoning: ReasoningOptions | None = Field(None, description="How the model thinks.")
    truncation: Annotated[str | None, Refused("nothing is cut unasked", harmless=("disabled",))] = None
    conversation: Annotated[str | dict[str, Any] | None, Refused("conversations go on by previous_response_id")] = None

    _other_items = field_validator("input", mode="before")(refuse_other_items)

    @field_validator("input")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if not value:
            raise ValueError("there must be something to answer")
        return value


class InputTokensRequest(TalkFields):
    """What would be said to a model, to be counted."""

    personality: Annotated[str | None, Refused("models here have none")] = None


class ResponseRequest(TalkFields, GrammarFields):
    """Something to respond to. Every field OpenAI documents is here: honoured, refused or ignored."""

    stream: bool | None = Field(None, description="Server-sent events instead of one reply.")
    stream_options: ResponseStreamOptions | None = Field(None, description="With stream only.")
    background: bool | None = Field(None, description="Reply at once; the response is polled, followed or cancelled.")
    store: bool | None = Field(None, description="Kept unless this is false, or the server keeps nothing.")
    metadata: Metadata | None = Field(None, description="Up to 16 pairs, kept with the response.")
    max_output_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Most tokens of the answer, thoughts too."
    )
    max_tool_calls: int | None = Field(None, ge=1, description="Of built-in tools, of which there are none.")
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS, description="Likeliest tokens of each position.")
    include: list[str] | None = Field(None, description=f"{LOGPROBS}; {_ENCRYPTED} is ignored, others are refused.")
    service_tier: Literal["auto", "default", "fast", "flex", "priority"] | None = Field(
        None, description="flex runs in the background, all others do not; the reply says flex or default."
    )
    keep_alive: KeepAlive = None

    reasoning_budget: Annotated[int | None, Ours()] = Field(
        None, ge=0, le=MAX_INT, description="Most tokens of thoughts; then they are ended."
    )
    chat_template_kwargs: Annotated[dict[str, Any] | None, Ours()] = Field(
        None, description="Variables of the chat template; one that it does not know is refused."
    )
    presence_penalty: Annotated[float | None, Ours()] = Field(None, description="-2 to 2.")
    frequency_penalty: Annotated[float | None, Ours()] = Field(None, description="-2 to 2.")
    logit_bias: Annotated[dict[str, float] | None, Ours()] = Field(
        None, description="Token id to -100…100; -100 bans the token."
    )
    seed: Annotated[int | None, Ours()] = Field(
        None, description="Same seed, same request, alone on the machine: same text."
    )
    stop: Annotated[Text | list[Text] | None, Ours()] = Field(
        None, description=f"Up to {MAX_STOPS} strings; none is part of the text."
    )

    prompt: Annotated[dict[str, Any] | None, Refused("prompts are not kept here; send instructions and input")] = None
    context_management: Annotated[list[Any] | None, Refused("nothing is cut unasked", harmless=([],))] = None
    background_options: Annotated[dict[str, Any] | None, Refused("all run as soon as they can")] = None
    moderation: Annotated[dict[str, Any] | None, Refused("nothing here moderates")] = None
    access_programs: Annotated[dict[str, Any] | None, Refused("there are none here")] = None
    image: Annotated[dict[str, Any] | None, Refused("no model here takes images")] = None
    user: Annotated[str | None, Ignored("nothing is kept of who asks")] = None
    safety_identifier: Annotated[str | None, Ignored("nothing is kept of who asks")] = None
    prompt_cache_key: Annotated[str | None, Ignored("equal beginnings are found without it")] = None
    prompt_cache_retention: Annotated[str | None, Ignored("prompts are kept while there is room")] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, Ignored("prompts are kept while there is room")] = None

    def ignored(self, prefix: str = "") -> Iterator[str]:
        """As any body; and what is included without effect."""
        yield from super().ignored(prefix)
        if _ENCRYPTED in (self.include or ()):
            yield f"{prefix}include[{_ENCRYPTED}]"

    @property
    def constraint(self) -> Constraint | None:
        """What the text must be. Raises InvalidRequest."""
        format = self.text.format if self.text else None
        if isinstance(format, FlatJsonSchemaFormat):
            return self.constraint_with(Constraint("json_schema", json.dumps(format.schema_), "text.format"))
        return self.constraint_with(format_constraint(format, "text.format"))

    @property
    def wanted_logprobs(self) -> int | None:
        """How many alternatives to report, or None for no logprobs."""
        return (self.top_logprobs or 0) if self.top_logprobs or LOGPROBS in (self.include or ()) else None

    def check(self, *, can_store: bool) -> None:
        """What one field says of another, and of the server. Raises InvalidRequest."""
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream to be true", param="stream_options")
        check_includes(self.include or ())
        if self.store and not can_store:
            raise UnsupportedField("store is not supported: the server keeps nothing (--store off)", param="store")
        if self.background and (self.store is False or not can_store):
            raise InvalidRequest("background needs the response to be stored", param="background")


def check_includes(names: list[str] | tuple[str, ...]) -> None:
    """Raises InvalidRequest for what cannot be included."""
    for name in names:
        if name in _OTHER_INCLUDES:
            raise UnsupportedField(f"include: {name} is not supported: there are no such items here", param="include")
        if name not in (LOGPROBS, _ENCRYPTED):
            raise InvalidRequest(f"include: {name!r} is unknown; {LOGPROBS} can be included", param="include")
