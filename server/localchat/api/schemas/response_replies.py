"""What `/v1/responses` sends: OpenAI's objects, with our extensions where they say so."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from localchat.api.schemas.replies import Timings

Json = dict[str, Any]


class InputDetails(BaseModel):
    """How the input's tokens came about."""

    cached_tokens: int = Field(description="Tokens that were in the KV cache already.")
    cache_write_tokens: int = Field(description="The others, which are in it now.")


class OutputDetails(BaseModel):
    """What the output's tokens are."""

    reasoning_tokens: int = Field(description="Tokens of thoughts.")


class ResponseUsage(BaseModel):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int
    timings: Timings = Field(description="Our extension.")


class ResponseFault(BaseModel):
    """Why a response failed."""

    code: str
    message: str
    type: str | None = None
    param: str | None = None


class ResponseReply(BaseModel):
    """A response, whole or as far as it is."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseFault | None
    incomplete_details: Json | None
    model: str
    system_fingerprint: str | None = Field(description="Our extension.")
    background: bool
    store: bool = Field(description="Whether it is kept.")
    instructions: str | None
    previous_response_id: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    output: list[Json] = Field(description="message, reasoning and function_call items.")
    parallel_tool_calls: bool
    reasoning: Json
    service_tier: Literal["default", "flex"] = Field(description="flex: it ran in the background lane.")
    temperature: float | None
    top_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    text: Json
    tool_choice: str | Json
    tools: list[Json]
    top_logprobs: int
    truncation: Literal["disabled", "auto"]
    usage: ResponseUsage | None
    prompt_cache_key: None
    safety_identifier: None
    user: None


class DeletedReply(BaseModel):
    """What was deleted."""

    id: str
    object: str
    deleted: bool


class InputTokensReply(BaseModel):
    """How many tokens an input has."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class ItemListReply(BaseModel):
    """A part of a list of items."""

    object: Literal["list"] = "list"
    data: list[Json]
    first_id: str | None
    last_id: str | None
    has_more: bool
