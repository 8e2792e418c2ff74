"""What comes back: OpenAI's objects, with our extensions where they say so."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What is wrong, which field, and a code to tell errors apart."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """OpenAI's shape of every error."""

    error: ErrorDetail


class PromptDetails(BaseModel):
    """How the prompt tokens came about."""

    cached_tokens: int = Field(description="Tokens that were in the KV cache already.")


class CompletionDetails(BaseModel):
    """What was thought, and what became of predictions."""

    reasoning_tokens: int = Field(description="Tokens of thoughts, with the tags around them.")
    accepted_prediction_tokens: int = Field(description="Tokens of `prediction` that came in the answer.")
    rejected_prediction_tokens: int = Field(description="Tokens of `prediction` that did not.")


class Timings(BaseModel):
    """How long it took (our extension). A rate is null where there is nothing to divide."""

    queue_ms: float
    time_to_first_token_ms: float = Field(description="From the request's arrival in the engine, queue included.")
    prompt_per_second: float | None = Field(description="Prompt tokens computed per second.")
    tokens_per_second: float | None = Field(description="Tokens per second after the first, summed over choices.")
    drafted_tokens: int = Field(description="Tokens that were guessed ahead.")
    accepted_tokens: int = Field(description="Those of them that were right.")


class Usage(BaseModel):
    """Token counts. `completion_tokens` counts every token chosen, the one that ends the reply included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails
    timings: Timings


class CalledFunction(BaseModel):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class CalledTool(BaseModel):
    """A call that the client is to make."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """The answer. Absent are thoughts and calls that there are none of."""

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="Null where the answer only calls.")
    refusal: None = None
    reasoning_content: str | None = Field(None, description="What the model thought before it answered.")
    tool_calls: list[CalledTool] | None = None
    function_call: CalledFunction | None = Field(None, description="In answer to functions.")


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: str


class Truncation(BaseModel):
    """What was left out of a conversation that was too long."""

    dropped_messages: list[int] = Field(description="Places in `messages`, from 0.")
    dropped_tokens: int = Field(description="By how many the prompt is shorter.")


class InputTokens(BaseModel):
    """The reply of `POST /v1/chat/completions/input_tokens`."""

    object: Literal["chat.completion.input_tokens"] = "chat.completion.input_tokens"
    model: str
    input_tokens: int = Field(description="Tokens of the prompt, as `usage` would count them.")
    truncation: Truncation | None = Field(None, description="Absent unless it was asked for.")


class ChatReply(BaseModel):
    """The reply of `POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default", "flex"] = Field(description="flex: it ran in the background.")
    choices: list[ChatChoice]
    usage: Usage
    truncation: Truncation | None = Field(None, description="Absent unless it was asked for.")


class CompletionChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: str


class CompletionReply(BaseModel):
    """The reply of `POST /v1/completions`."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage


class ModelCard(BaseModel):
    """One model that is served; what is not OpenAI's is our extension."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "localchat"
    context_length: int | None = Field(description="Tokens of prompt and answer together; null until that is planned.")
    max_model_len: int | None = Field(description="The same, by vLLM's name.")
    state: Literal["unloaded", "fetching", "loading", "ready", "failed"]
    percent: int | None = Field(description="How much of a file that is being fetched has arrived, if known.")
    error: str | None = Field(description="Why it could not be loaded; the next request tries again.")
    quant: str | None = Field(description="Format of the weights; null until one is chosen.")
    license: str | None = Field(description="SPDX identifier where there is one.")
    commercial: Literal["yes", "no", "unknown"] = Field(description="Whether the license allows commercial use.")
    alias_of: str | None = Field(description="The id that this alias stands for; replies name that.")


class ModelList(BaseModel):
    """The reply of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
