"""A model that can be talked to: template, sampling defaults and worker in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from localchat.chat.messages import Message
from localchat.chat.template import ChatTemplate
from localchat.constraint import Constraint
from localchat.errors import InvalidRequest, UnsupportedField
from localchat.lane import Lane
from localchat.sampling_params import MAX_SEED, SamplingParams
from localchat.worker.client import Generation, WorkerClient
from localchat.worker.messages import Submit


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a request asks, besides how tokens are chosen; and whose it is, since keys take turns."""

    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: bool = False
    lane: Lane = Lane.INTERACTIVE
    key: str = ""
    prediction: str = ""
    """A text that answers are expected to be much like."""
    constraint: Constraint | None = None
    deterministic: bool = False
    """Whether texts must be the same at any load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a model is talked to, as its registry entry and its file have it."""

    template: ChatTemplate | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    """Sampling settings that its authors recommend."""
    max_tokens: int | None = None
    """Most tokens of an answer, where the request names no number."""
    stops: tuple[str, ...] = ()
    is_base: bool = False
    """Whether its authors say that it was not trained to chat."""


class ChatModel:
    """One loaded model."""

    def __init__(self, id: str, worker: WorkerClient, manner: Manner, fingerprint: str = "") -> None:
        self.id = id
        self.worker = worker
        self.fingerprint = fingerprint
        self._manner = manner

    def check_writes(self) -> None:
        """Raise InvalidRequest for a model that makes vectors instead of text."""
        if self.worker.info.embedding_width:
            raise InvalidRequest(f"{self.id} makes embeddings and writes no text: use /v1/embeddings", param="model")

    def check_embeds(self) -> None:
        """Raise InvalidRequest for a model that writes text."""
        if not self.worker.info.embedding_width:
            raise InvalidRequest(
                f"{self.id} writes text and makes no embeddings: name a model that is made for them", param="model"
            )

    def sampling(self, given: dict[str, Any]) -> SamplingParams:
        """The model's recommended settings, under those that the request gives. Raises InvalidRequest."""
        return SamplingParams(**(self._manner.defaults | given))

    def render(self, messages: Sequence[Message], *, continue_final: bool = False) -> str:
        """The prompt for a conversation. Raises InvalidRequest for a model without a template."""
        self.check_writes()
        if self._manner.template is None:
            lacks = "is a base model, not trained to chat" if self._manner.is_base else "has no chat template"
            raise InvalidRequest(
                f"{self.id} {lacks}: use /v1/completions, or serve it with --chat-template FILE", param="model"
            )
        return self._manner.template.render(messages, continue_final=continue_final)

    def stream(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        options: Options,
        *,
        continue_final: bool = False,
        param: str = "messages",
    ) -> Generation:
        """Start answering a conversation, which is the request's field `param`. Leave the generation to cancel."""
        if continue_final and self.worker.info.is_encoder_decoder:
            raise UnsupportedField(
                f"continue_final_message is not supported: {self.id} reads the conversation with an encoder",
                param="continue_final_message",
            )
        prompt = self.render(messages, continue_final=continue_final)
        limit = self._manner.max_tokens if options.max_tokens is None else options.max_tokens
        options = replace(options, max_tokens=limit, stops=(*options.stops, *self._manner.stops))
        template = self._manner.template
        lead = template.reply_lead if template and not continue_final else ""
        return self._start([prompt], params, options, param=param, lead=lead)

    def complete(
        self,
        prompts: Sequence[str | list[int]],
        params: SamplingParams,
        options: Options,
        *,
        suffix: str | None = None,
    ) -> Generation:
        """Start continuing prompts, `n` times each: the sequences are those of the first prompt, then the next. With a
        suffix, what is between the two is written."""
        self.check_writes()
        return self._start(prompts, params, options, param="prompt", suffix=suffix)

    def _start(
        self,
        prompts: Sequence[str | list[int]],
        params: SamplingParams,
        options: Options,
        *,
        param: str,
        lead: str = "",
        suffix: str | None = None,
    ) -> Generation:
        if options.deterministic and params.seed is None:
            params = replace(params, seed=0)
        return self.worker.submit(
            Submit(
                sequence=0,
                prompt=prompt,
                params=_choice_params(params, choice),
                max_tokens=options.max_tokens,
                stops=options.stops,
                lead=lead,
                suffix=suffix,
                parse_special=True,
                logprobs=options.logprobs,
                prompt_logprobs=options.prompt_logprobs,
                param=param,
                lane=options.lane,
                key=options.key,
                prediction=options.prediction,
                constraint=options.constraint,
                deterministic=options.deterministic,
            )
            for prompt in prompts
            for choice in range(options.n)
        )


def _choice_params(params: SamplingParams, choice: int) -> SamplingParams:
    """A seed gives the first choice its text, and each further one a text of its own."""
    if params.seed is None or choice == 0:
        return params
    return replace(params, seed=(params.seed + choice) % (MAX_SEED + 1))
