"""Every field that the installed `openai` package can send is in our bodies: honoured, refused, or ignored and said."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import EmbeddingCreateParams, responses, shared_params
from openai.types import completion_create_params as text_params
from openai.types import model as openai_model
from openai.types.chat import (
    ChatCompletionAllowedToolChoiceParam,
    ChatCompletionAllowedToolsParam,
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartRefusalParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionCallOptionParam,
    ChatCompletionFunctionMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionNamedToolChoiceParam,
    ChatCompletionPredictionContentParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
    chat_completion_message_function_tool_call_param,
    completion_list_params,
    completion_update_params,
)
from openai.types.chat import completion_create_params as chat_params
from openai.types.chat.completions import message_list_params
from openai.types.responses import (
    input_item_list_params,
    input_token_count_params,
    response_input_item_param,
    response_reasoning_item_param,
    response_retrieve_params,
)
from openai.types.responses import response_create_params as response_params
from openai.types.shared_params import response_format_json_schema
from pydantic import BaseModel

from localchat.api.schemas import chat, items, lists, structured, tools
from localchat.api.schemas.chat import AssistantTurn, ChatRequest, SystemTurn, ToolTurn, UserTurn
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.embeddings import EmbeddingRequest
from localchat.api.schemas.items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputText,
    ItemReference,
    MessageItem,
    OutputText,
    ReasoningItem,
)
from localchat.api.schemas.policy import Body, Ours, policy_of
from localchat.api.schemas.replies import ModelCard
from localchat.api.schemas.response_tools import FlatAllowedTools, FlatNamedTool, FunctionTool
from localchat.api.schemas.responses import (
    FlatJsonSchemaFormat,
    InputTokensRequest,
    ReasoningOptions,
    ResponseRequest,
    ResponseStreamOptions,
    TextOptions,
)
from localchat.api.schemas.sampling import StreamOptions
from localchat.api.schemas.tokens import DetokenizeRequest, TokenizeRequest
from localchat.sampling_params import SamplingParams
from request_parts import request_parts

PAIRS: list[tuple[type[Body], list[Any]]] = [
    (ChatRequest, [chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming]),
    (CompletionRequest, [text_params.CompletionCreateParamsNonStreaming, text_params.CompletionCreateParamsStreaming]),
    (EmbeddingRequest, [EmbeddingCreateParams]),
    (StreamOptions, [ChatCompletionStreamOptionsParam]),
    (SystemTurn, [ChatCompletionSystemMessageParam, ChatCompletionDeveloperMessageParam]),
    (UserTurn, [ChatCompletionUserMessageParam]),
    (AssistantTurn, [ChatCompletionAssistantMessageParam]),
    (ToolTurn, [ChatCompletionToolMessageParam]),
    (
        ResponseRequest,
        [response_params.ResponseCreateParamsNonStreaming, response_params.ResponseCreateParamsStreaming],
    ),
    (InputTokensRequest, [input_token_count_params.InputTokenCountParams]),
    (ResponseStreamOptions, [response_params.StreamOptions]),
    (TextOptions, [responses.ResponseTextConfigParam, input_token_count_params.Text]),
    (FlatJsonSchemaFormat, [responses.ResponseFormatTextJSONSchemaConfigParam]),
    (ReasoningOptions, [shared_params.Reasoning]),
    (FunctionTool, [responses.FunctionToolParam]),
    (FlatNamedTool, [responses.ToolChoiceFunctionParam]),
    (FlatAllowedTools, [responses.ToolChoiceAllowedParam]),
    (
        MessageItem,
        [response_input_item_param.Message, responses.EasyInputMessageParam, responses.ResponseOutputMessageParam],
    ),
    (FunctionCallItem, [responses.ResponseFunctionToolCallParam]),
    (FunctionOutputItem, [response_input_item_param.FunctionCallOutput]),
    (ReasoningItem, [responses.ResponseReasoningItemParam]),
    (ItemReference, [response_input_item_param.ItemReference]),
    (InputText, [responses.ResponseInputTextParam]),
    (OutputText, [responses.ResponseOutputTextParam]),
    (items.RefusalPart, [responses.ResponseOutputRefusalParam]),
    (items.SummaryText, [response_reasoning_item_param.Summary]),
    (items.ReasoningText, [response_reasoning_item_param.Content]),
    (chat.FunctionTurn, [ChatCompletionFunctionMessageParam]),
    (chat.TextPart, [ChatCompletionContentPartTextParam]),
    (chat.RefusalPart, [ChatCompletionContentPartRefusalParam]),
    (chat.ToolCall, [ChatCompletionMessageFunctionToolCallParam]),
    (chat.FunctionCall, [chat_completion_message_function_tool_call_param.Function]),
    (chat.Prediction, [ChatCompletionPredictionContentParam]),
    (chat.ChatUpdate, [completion_update_params.CompletionUpdateParams]),
    (tools.ToolDefinition, [ChatCompletionFunctionToolParam]),
    (tools.FunctionDefinition, [shared_params.FunctionDefinition, chat_params.Function]),
    (tools.NamedTool, [ChatCompletionNamedToolChoiceParam]),
    (tools.FunctionName, [ChatCompletionFunctionCallOptionParam]),
    (tools.AllowedToolsChoice, [ChatCompletionAllowedToolChoiceParam]),
    (tools.AllowedTools, [ChatCompletionAllowedToolsParam]),
    (structured.TextFormat, [shared_params.ResponseFormatText]),
    (structured.JsonObjectFormat, [shared_params.ResponseFormatJSONObject]),
    (structured.JsonSchemaFormat, [shared_params.ResponseFormatJSONSchema]),
    (structured.JsonSchema, [response_format_json_schema.JSONSchema]),
]
QUERIES: list[tuple[type[BaseModel], Any]] = [
    (lists.ChatListQuery, completion_list_params.CompletionListParams),
    (lists.PageQuery, message_list_params.MessageListParams),
    (lists.InputItemsQuery, input_item_list_params.InputItemListParams),
    (lists.RetrieveQuery, response_retrieve_params.ResponseRetrieveParamsStreaming),
]
OURS = {TokenizeRequest, DetokenizeRequest}
WHOLE_BODIES: list[type[Body]] = [ChatRequest, CompletionRequest, ResponseRequest, InputTokensRequest]
NAMES = [ours.__name__ for ours, _ in PAIRS]


def test_every_part_of_every_request_is_compared() -> None:
    assert {ours for ours, _ in PAIRS} | {ours for ours, _ in QUERIES} | OURS == request_parts()


@pytest.mark.parametrize(("ours", "theirs"), QUERIES, ids=lambda given: given.__name__)
def test_everything_that_openai_puts_into_an_address_is_known(ours: type[BaseModel], theirs: Any) -> None:
    # Any metadata[KEY] is a filter.
    assert fields_of([theirs]) - {"metadata"} <= names_of(ours)


def fields_of(theirs: list[Any]) -> set[str]:
    bases = [base for params in theirs for base in [params, *getattr(params, "__orig_bases__", ())]]
    return {name for base in bases for name in getattr(base, "__annotations__", ())}


def names_of(ours: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in ours.model_fields.items()}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_every_field_of_openai_is_known(ours: type[Body], theirs: list[Any]) -> None:
    assert fields_of(theirs) - names_of(ours) == set()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_fields_that_openai_lacks_are_marked_as_ours(ours: type[Body], theirs: list[Any]) -> None:
    marked = {
        name for name, field in ours.model_fields.items() if any(isinstance(mark, Ours) for mark in field.metadata)
    }
    assert marked == names_of(ours) - fields_of(theirs)


@pytest.mark.parametrize("ours", [*WHOLE_BODIES, EmbeddingRequest, StreamOptions], ids=lambda ours: ours.__name__)
def test_what_happens_to_a_field_is_written_down(ours: type[Body]) -> None:
    for name, field in ours.model_fields.items():
        policy, reason = policy_of(field)
        assert policy in ("honoured", "refused", "ignored")
        assert reason, f"{name} is {policy}, and nothing says how or why"


@pytest.mark.parametrize("ours", WHOLE_BODIES, ids=lambda ours: ours.__name__)
def test_null_means_absent_for_whatever_may_be_absent(ours: type[Body]) -> None:
    needed = {"model": "a", "messages": [{"role": "user", "content": "a"}], "prompt": "a", "input": "a"}
    fine = {name: needed[name] for name, field in ours.model_fields.items() if field.is_required()}
    nulls = {name: None for name, field in ours.model_fields.items() if not field.is_required()}
    body = ours.model_validate(fine | nulls)
    assert list(body.ignored()) == []
    assert body == ours.model_validate(fine)


def test_every_sampling_setting_can_be_asked_for() -> None:
    names = set(SamplingParams.__dataclass_fields__)
    assert names <= set(ChatRequest.model_fields)
    assert names <= set(CompletionRequest.model_fields)
    assert names <= set(ResponseRequest.model_fields)


def test_model_card_has_the_fields_that_openai_always_sends() -> None:
    needed = {name for name, field in openai_model.Model.model_fields.items() if field.is_required()}
    assert needed <= set(ModelCard.model_fields)
