"""One response, from a checked request to what is kept of it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from localchat.api.encoders.common import DONE
from localchat.api.encoders.responses import ResponseWriter
from localchat.api.keys import Caller
from localchat.api.schemas.items import new_id
from localchat.api.schemas.responses import ResponseRequest
from localchat.api.talk import Talk
from localchat.chat.answer import AnswerParser, PlainParser
from localchat.chat.model import Answer, ChatModel, Options
from localchat.errors import LocalchatError, StoreError
from localchat.lane import Lane
from localchat.store import Found, NewObject, Store

log = logging.getLogger(__name__)

Json = dict[str, Any]

_TOLD = {"type", "name", "description", "parameters", "strict"}


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, and by whom."""

    body: ResponseRequest
    talk: Talk
    who: Caller

    @property
    def options(self) -> Options:
        """What is asked of the model. Raises InvalidRequest."""
        body = self.body
        return Options(
            max_tokens=body.max_output_tokens,
            stops=body.stops,
            logprobs=body.wanted_logprobs,
            lane=Lane.BACKGROUND if body.service_tier == "flex" else self.who.lane,
            key=self.who.name,
            constraint=body.constraint,
            deterministic=bool(body.deterministic),
            tools=body.tool_use,
            effort=body.reasoning.effort if body.reasoning else None,
            thought_budget=body.reasoning_budget,
            variables=body.chat_template_kwargs or {},
        )

    def fields(self, model: str, *, stored: bool) -> Json:
        """The fields of the response that are known before its answer is."""
        body, options = self.body, self.options
        return {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "system_fingerprint": None,
            "background": bool(body.background),
            "store": stored,
            "instructions": body.instructions,
            "previous_response_id": body.previous_response_id,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "service_tier": "flex" if options.lane is Lane.BACKGROUND else "default",
            "temperature": body.temperature,
            "top_p": body.top_p,
            "presence_penalty": body.presence_penalty,
            "frequency_penalty": body.frequency_penalty,
            "text": {"format": _format(body), "verbosity": "medium"},
            "tool_choice": _choice(body),
            "tools": [tool.model_dump(include=_TOLD) for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "truncation": "disabled",
            "prompt_cache_key": None,
            "safety_identifier": None,
            "user": None,
        }

    async def begin(self, model: ChatModel, writer: ResponseWriter) -> Answer:
        """Start the answer; it is accepted. Raises what the model has against the request."""
        params = model.sampling(self.body.sampling)
        answer = model.stream(self.talk.messages, params, self.options, param="input")
        await answer.generation.accepted()
        writer.know(
            system_fingerprint=model.fingerprint,
            temperature=params.temperature,
            top_p=params.top_p,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
        )
        return answer


class Keeper:
    """Keeps a response, where it is to be kept."""

    def __init__(self, store: Store | None, order: Order) -> None:
        self._store = store
        self._order = order
        self.has_kept = store is None
        """Whether the end of it is kept."""

    async def keep(self, writer: ResponseWriter, runner: str | None = None) -> None:
        """Keep it as it is. Where that fails, the response says that it is not stored."""
        if self._store is None:
            return
        self.has_kept = writer.is_over
        try:
            await self._store.put(self._order.who.owner, self._object(writer.response, runner))
        except StoreError as error:
            log.warning("%s is not kept: %s", writer.id, error)
            writer.know(store=False)

    def keep_later(self, writer: ResponseWriter) -> None:
        """The same, for whoever cannot wait."""
        if self._store is not None:
            self.has_kept = True
            self._store.put_later(self._order.who.owner, self._object(writer.response, None))

    def _object(self, response: Json, runner: str | None) -> NewObject:
        return NewObject(
            id=response["id"],
            kind="response",
            model=response["model"],
            created=response["created_at"],
            body={name: value for name, value in response.items() if name not in ("output", "metadata")},
            inputs=self._order.talk.items,
            outputs=response["output"],
            metadata=response["metadata"],
            previous=response["previous_response_id"],
            runner=runner,
        )


def parser_of(answer: Answer) -> AnswerParser:
    """What reads an answer's text."""
    parsers = answer.parsers()
    return PlainParser() if parsers is None else parsers[0]


def kept_response(found: Found) -> Json:
    """A kept response as it was sent."""
    return {**found.body, "output": found.outputs, "metadata": found.metadata}


async def written(answer: Answer, writer: ResponseWriter, keeper: Keeper) -> Json:
    """The whole response, when it is kept."""
    writer.begin(parser_of(answer))
    async for batch in answer.generation.batches():
        for _, delta in batch:
            writer.delta(delta)
    await keeper.keep(writer)
    return writer.response


async def events(answer: Answer, writer: ResponseWriter, keeper: Keeper) -> AsyncIterator[bytes]:
    """The events of a response as they come; the last one when it is kept."""
    try:
        yield b"".join(writer.begin(parser_of(answer)))
        async for batch in answer.generation.batches():
            if frames := b"".join([frame for _, delta in batch for frame in writer.delta(delta)]):
                yield frames
    except LocalchatError as error:
        yield b"".join(writer.fail(error))
    await keeper.keep(writer)
    yield b"".join(writer.last()) + DONE


def leave(answer: Answer, writer: ResponseWriter, keeper: Keeper) -> None:
    """The client has its events, or has left: what it left open is cancelled."""
    answer.generation.close()
    if not keeper.has_kept:
        if not writer.is_over:
            writer.cancel()
        keeper.keep_later(writer)


def _format(body: ResponseRequest) -> Json:
    format = body.text.format if body.text else None
    return {"type": "text"} if format is None else format.model_dump(by_alias=True)


def _choice(body: ResponseRequest) -> str | Json:
    choice = body.tool_choice
    return "auto" if choice is None else choice if isinstance(choice, str) else choice.model_dump()
