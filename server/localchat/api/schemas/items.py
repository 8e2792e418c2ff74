"""What the input of a response is made of: messages, calls of functions, what these gave, thoughts."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from localchat.api.schemas.media import refuse_media
from localchat.api.schemas.policy import Body, Ignored, Refused
from localchat.api.schemas.types import Text
from localchat.errors import UnsupportedField

Json = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]

_NO_PLACE = "templates have no place for it"


def new_id(prefix: str) -> str:
    """A fresh id, which nobody can guess."""
    return f"{prefix}_{secrets.token_hex(24)}"


class InputText(Body):
    """A piece of what a user or the application says."""

    type: Literal["input_text"]
    text: Text = Field(description="What is said.")
    prompt_cache_breakpoint: Annotated[Json | None, Ignored("equal beginnings are found without it")] = None


class OutputText(Body):
    """A piece of what the model said."""

    type: Literal["output_text"]
    text: Text = Field(description="What was said.")
    annotations: Annotated[list[Any] | None, Ignored(_NO_PLACE, harmless=([],))] = None
    logprobs: Annotated[list[Any] | None, Ignored(_NO_PLACE, harmless=([],))] = None


class RefusalPart(Body):
    """How a model declined."""

    type: Literal["refusal"]
    refusal: Text = Field(description="What was said.")


Part = Annotated[InputText | OutputText | RefusalPart, Field(discriminator="type")]
PART_KINDS = ("input_text", "output_text", "refusal")


class MessageItem(Body):
    """A turn. `type` may be left out, as may `id`."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | list[Part] = Field(description="Text, or parts of it: input_text, output_text, refusal.")
    id: Text | None = Field(None, description="Under which it is listed.")
    status: Status | None = Field(None, description="As it was given.")
    phase: Annotated[str | None, Ignored(_NO_PLACE)] = None

    _media = field_validator("content", mode="before")(refuse_media)

    def to_item(self) -> Json:
        """As it is listed."""
        kind = "output_text" if self.role == "assistant" else "input_text"
        content = self.content
        texts = (
            [kind_and_text(kind, content)] if isinstance(content, str) else [_listed(kind, part) for part in content]
        )
        return {
            "id": self.id or new_id("msg"),
            "type": "message",
            "role": self.role,
            "status": self.status or "completed",
            "content": texts,
        }


class FunctionCallItem(Body):
    """A function that the model called, and its arguments as JSON text."""

    type: Literal["function_call"]
    call_id: Text = Field(description="The id that its output names.")
    name: Text = Field(description="The function's name.")
    arguments: Text = Field(description="JSON text.")
    id: Text | None = Field(None, description="Under which it is listed.")
    status: Status | None = Field(None, description="As it was given.")
    namespace: Annotated[Text | None, Refused("functions here have no namespaces")] = None
    caller: Annotated[Json | None, Refused("only the model calls", harmless=({"type": "direct"},))] = None
    async_: Annotated[bool | None, Refused("calls are answered in turn", harmless=(False,))] = Field(
        None, alias="async"
    )

    def to_item(self) -> Json:
        """As it is listed."""
        return {
            "id": self.id or new_id("fc"),
            "type": "function_call",
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
            "status": self.status or "completed",
        }


class FunctionOutputItem(Body):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: Text = Field(description="The call that it answers.")
    output: Text | list[InputText] = Field(description="Text, or parts of it.")
    id: Text | None = Field(None, description="Under which it is listed.")
    status: Status | None = Field(None, description="As it was given.")
    name: Annotated[Text | None, Ignored("the call has it")] = None
    namespace: Annotated[Text | None, Refused("functions here have no namespaces")] = None
    caller: Annotated[Json | None, Refused("only the model calls", harmless=({"type": "direct"},))] = None

    _media = field_validator("output", mode="before")(refuse_media)

    def to_item(self) -> Json:
        """As it is listed."""
        output = self.output
        return {
            "id": self.id or new_id("fco"),
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": output if isinstance(output, str) else [_listed("input_text", part) for part in output],
            "status": self.status or "completed",
        }


class SummaryText(Body):
    """A piece of a summary of thoughts."""

    type: Literal["summary_text"]
    text: Text = Field(description="What it says.")


class ReasoningText(Body):
    """A piece of thoughts."""

    type: Literal["reasoning_text"]
    text: Text = Field(description="What was thought.")


class ReasoningItem(Body):
    """What the model thought before it said something."""

    type: Literal["reasoning"]
    id: Text | None = Field(None, description="Under which it is listed.")
    summary: list[SummaryText] | None = Field(None, description="Kept; the model sees thoughts and no summaries.")
    content: list[ReasoningText] | None = Field(None, description="The thoughts.")
    encrypted_content: Annotated[str | None, Ignored("thoughts are in content, and not encrypted")] = None
    status: Status | None = Field(None, description="As it was given.")

    def to_item(self) -> Json:
        """As it is listed."""
        return {
            "id": self.id or new_id("rs"),
            "type": "reasoning",
            "summary": [part.model_dump() for part in self.summary or ()],
            "content": [part.model_dump() for part in self.content or ()],
            "status": self.status or "completed",
        }


class ItemReference(Body):
    """An item of a kept response, by its id."""

    type: Literal["item_reference"] | None = None
    id: Text = Field(description="Under which it is listed.")


def _kind(value: Any) -> str | None:
    """The tag of an item that may do without a type."""
    if not isinstance(value, dict):
        return getattr(value, "type", None) or "item_reference"
    kind = value.get("type")
    if kind is None:
        return "item_reference" if "id" in value and "role" not in value else "message"
    return kind if isinstance(kind, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_kind),
]
ITEM_KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def refuse_other_items(value: Any) -> Any:
    """Items that OpenAI's servers know and this one does not, by name."""
    for index, item in enumerate(value if isinstance(value, list) else []):
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind not in ITEM_KINDS:
            names = ", ".join(ITEM_KINDS)
            raise UnsupportedField(
                f"input[{index}]: {kind!r} items are not supported; these are: {names}", param="input"
            )
    return value


def kind_and_text(kind: str, text: str) -> Json:
    """A piece of text as it is listed."""
    if kind == "input_text":
        return {"type": kind, "text": text}
    return {"type": kind, "text": text, "annotations": [], "logprobs": []}


def _listed(kind: str, part: InputText | OutputText | RefusalPart) -> Json:
    return part.model_dump() if isinstance(part, RefusalPart) else kind_and_text(kind, part.text)
