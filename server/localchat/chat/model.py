"""A model that can be talked to: template, sampling defaults and worker in one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from localchat.chat.answer import AnswerParser, PlainParser
from localchat.chat.calling import constrain
from localchat.chat.messages import Message
from localchat.chat.output_parser import CallParser
from localchat.chat.reasoning import ThinkingParser, ThoughtTags
from localchat.chat.template import ChatTemplate
from localchat.chat.thinking import plan_thinking
from localchat.chat.tool_formats import ToolFormat
from localchat.chat.tools import ToolUse
from localchat.chat.truncation import Truncated, truncate
from localchat.constraint import Constraint, Thoughts
from localchat.errors import InvalidRequest, UnsupportedField
from localchat.lane import Lane
from localchat.sampling_params import MAX_SEED, SamplingParams
from localchat.worker.client import Generation, WorkerClient
from localchat.worker.messages import Submit

_ROOM = 4
"""Which part of the context, at most, is kept for the answer where a conversation is shortened."""


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
    """What the text must be."""
    deterministic: bool = False
    """Whether texts must be the same at any load."""
    tools: ToolUse | None = None
    effort: str | None = None
    """How much to think, as the template has it; none is not at all."""
    thought_budget: int | None = None
    """Most tokens of thoughts."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """More of the template's variables."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is being written, and what is needed to read it."""

    generation: Generation
    choices: int
    format: ToolFormat
    tools: ToolUse | None = None
    tags: ThoughtTags | None = None
    """What it may think between."""
    has_begun_to_think: bool = False
    is_guarded: bool = False
    """Whether a grammar sees to it that calls are whole."""
    nonce: str = field(default_factory=lambda: secrets.token_hex(12))

    def parsers(self) -> Sequence[AnswerParser] | None:
        """One for each choice, None where all text is content. Further ones give calls the same ids."""
        if self.tools is None and self.tags is None:
            return None
        return [self._parser(choice) for choice in range(self.choices)]

    def _parser(self, choice: int) -> AnswerParser:
        parser: AnswerParser = PlainParser()
        if self.tools is not None:
            names = [tool.name for tool in self.tools.callable]
            parser = CallParser(
                self.format.syntax,
                names,
                live=self.is_guarded,
                new_id=lambda call: self.format.new_id(f"{self.nonce} {choice} {call}"),
            )
        if self.tags is not None:
            parser = ThinkingParser(self.tags, parser, is_begun=self.has_begun_to_think)
        return parser


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

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: ToolUse | None = None,
        continue_final: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for a conversation. Raises InvalidRequest for a model without a template."""
        return self._template.render(
            messages, tools=tools.tools if tools else (), continue_final=continue_final, variables=variables
        )

    @property
    def _template(self) -> ChatTemplate:
        self.check_writes()
        if self._manner.template is None:
            lacks = "is a base model, not trained to chat" if self._manner.is_base else "has no chat template"
            raise InvalidRequest(
                f"{self.id} {lacks}: use /v1/completions, or serve it with --chat-template FILE", param="model"
            )
        return self._manner.template

    async def count(self, messages: Sequence[Message], options: Options, *, continue_final: bool = False) -> int:
        """Tokens of the prompt that `stream` gives the model."""
        thinking = plan_thinking(self.id, self._template, options.effort, options.thought_budget, options.variables)
        prompt = self.render(messages, tools=options.tools, continue_final=continue_final, variables=thinking.variables)
        return len(await self.worker.tokenize(prompt, add_bos=True, parse_special=True))

    async def truncated(
        self, messages: Sequence[Message], options: Options, *, continue_final: bool = False
    ) -> Truncated:
        """A conversation that leaves room for an answer, and what of it had to go. Raises ContextLengthExceeded."""
        info = self.worker.info
        wanted = self._manner.max_tokens if options.max_tokens is None else options.max_tokens
        room = info.n_ctx // _ROOM if wanted is None else min(wanted, info.n_ctx // _ROOM)
        count = partial(self.count, options=options, continue_final=continue_final)
        return await truncate(messages, count, info.n_ctx - (0 if info.is_encoder_decoder else room))

    def stream(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        options: Options,
        *,
        continue_final: bool = False,
        param: str = "messages",
    ) -> Answer:
        """Start answering a conversation, which is the request's field `param`. Leave the generation to cancel."""
        if continue_final and self.worker.info.is_encoder_decoder:
            raise UnsupportedField(
                f"continue_final_message is not supported: {self.id} reads the conversation with an encoder",
                param="continue_final_message",
            )
        template = self._template
        thinking = plan_thinking(self.id, template, options.effort, options.thought_budget, options.variables)
        prompt = self.render(messages, tools=options.tools, continue_final=continue_final, variables=thinking.variables)
        thoughts = thinking.thoughts(prompt, is_continued=continue_final)
        limit = self._manner.max_tokens if options.max_tokens is None else options.max_tokens
        constraint = options.constraint
        if options.tools is not None:
            constraint = constrain(template.format, options.tools, constraint)
        # What the whole text must be has no place for what a format puts before it.
        is_whole = constraint is not None and not constraint.triggers and thoughts is None
        options = replace(options, max_tokens=limit, stops=(*options.stops, *self._manner.stops), constraint=constraint)
        generation = self._start(
            [prompt],
            params,
            options,
            param=param,
            lead="" if continue_final or is_whole else template.reply_lead,
            thoughts=thoughts,
            shown=template.shown(with_tools=options.tools is not None),
        )
        return Answer(
            generation,
            options.n,
            template.format,
            options.tools,
            template.thoughts if thoughts else None,
            thoughts is not None and thoughts.is_begun,
            constraint is not None,
        )

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
        thoughts: Thoughts | None = None,
        shown: tuple[str, ...] = (),
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
                thoughts=thoughts,
                shown=shown,
            )
            for prompt in prompts
            for choice in range(options.n)
        )


def _choice_params(params: SamplingParams, choice: int) -> SamplingParams:
    """A seed gives the first choice its text, and each further one a text of its own."""
    if params.seed is None or choice == 0:
        return params
    return replace(params, seed=(params.seed + choice) % (MAX_SEED + 1))
