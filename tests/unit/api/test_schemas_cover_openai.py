"""Every field that the installed `openai` package can send is in our bodies: honoured, refused, or ignored and said."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import EmbeddingCreateParams
from openai.types import completion_create_params as text_params
from openai.types import model as openai_model
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import completion_create_params as chat_params

from localchat.api.schemas.chat import AssistantTurn, ChatRequest, SystemTurn, ToolTurn, UserTurn
from localchat.api.schemas.completions import CompletionRequest
from localchat.api.schemas.embeddings import EmbeddingRequest
from localchat.api.schemas.policy import Body, Ours, policy_of
from localchat.api.schemas.replies import ModelCard
from localchat.api.schemas.sampling import StreamOptions
from localchat.sampling_params import SamplingParams

PAIRS: list[tuple[type[Body], list[Any]]] = [
    (ChatRequest, [chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming]),
    (CompletionRequest, [text_params.CompletionCreateParamsNonStreaming, text_params.CompletionCreateParamsStreaming]),
    (EmbeddingRequest, [EmbeddingCreateParams]),
    (StreamOptions, [ChatCompletionStreamOptionsParam]),
    (SystemTurn, [ChatCompletionSystemMessageParam, ChatCompletionDeveloperMessageParam]),
    (UserTurn, [ChatCompletionUserMessageParam]),
    (AssistantTurn, [ChatCompletionAssistantMessageParam]),
    (ToolTurn, [ChatCompletionToolMessageParam]),
]
NAMES = [ours.__name__ for ours, _ in PAIRS]


def fields_of(theirs: list[Any]) -> set[str]:
    return {name for params in theirs for name in params.__annotations__}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_every_field_of_openai_is_known(ours: type[Body], theirs: list[Any]) -> None:
    assert fields_of(theirs) - set(ours.model_fields) == set()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=NAMES)
def test_fields_that_openai_lacks_are_marked_as_ours(ours: type[Body], theirs: list[Any]) -> None:
    marked = {
        name for name, field in ours.model_fields.items() if any(isinstance(mark, Ours) for mark in field.metadata)
    }
    assert marked == set(ours.model_fields) - fields_of(theirs)


@pytest.mark.parametrize(
    "ours", [ChatRequest, CompletionRequest, EmbeddingRequest, StreamOptions], ids=lambda ours: ours.__name__
)
def test_what_happens_to_a_field_is_written_down(ours: type[Body]) -> None:
    for name, field in ours.model_fields.items():
        policy, reason = policy_of(field)
        assert policy in ("honoured", "refused", "ignored")
        assert reason, f"{name} is {policy}, and nothing says how or why"


@pytest.mark.parametrize("ours", [ChatRequest, CompletionRequest], ids=lambda ours: ours.__name__)
def test_null_means_absent_for_whatever_may_be_absent(ours: type[Body]) -> None:
    needed = {"model": "a", "messages": [{"role": "user", "content": "a"}], "prompt": "a"}
    fine = {name: needed[name] for name, field in ours.model_fields.items() if field.is_required()}
    nulls = {name: None for name, field in ours.model_fields.items() if not field.is_required()}
    body = ours.model_validate(fine | nulls)
    assert list(body.ignored()) == []
    assert body == ours.model_validate(fine)


def test_every_sampling_setting_can_be_asked_for() -> None:
    names = set(SamplingParams.__dataclass_fields__)
    assert names <= set(ChatRequest.model_fields)
    assert names <= set(CompletionRequest.model_fields)


def test_model_card_has_the_fields_that_openai_always_sends() -> None:
    needed = {name for name, field in openai_model.Model.model_fields.items() if field.is_required()}
    assert needed <= set(ModelCard.model_fields)
