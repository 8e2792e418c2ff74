"""Responses: events as they come, and the response that they add up to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from localchat.api.encoders.common import timings, to_json
from localchat.api.encoders.output_items import CALL, MESSAGE, REASONING, Growing, Kind
from localchat.api.errors import describe
from localchat.api.schemas.items import new_id
from localchat.chat.answer import AnswerDelta, AnswerParser, CallArguments, CallStart, Content, Reasoning
from localchat.errors import LocalchatError, Overloaded, RequestError
from localchat.outputs import Delta, Finish, TokenLogprob

Json = dict[str, Any]
Frames = list[bytes]
"""One for each event."""

OVER = frozenset(["completed", "incomplete", "failed", "cancelled"])


class ResponseWriter:
    """Writes one response. Without events, it is the fold of what they would say."""

    def __init__(self, fields: Json, *, events: bool) -> None:
        self._fields = fields
        self._items: list[Growing] = []
        self._makes_events = events
        self._frames: Frames = []
        self._number = 0
        self._status = "queued"
        self._ending: Json = {}
        self._parser: AnswerParser | None = None
        self._logprobs: list[Json] = []

    @property
    def id(self) -> str:
        """The response's id."""
        return str(self._fields["id"])

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._status in OVER

    @property
    def response(self) -> Json:
        """The response as it is now."""
        open_ = {"completed_at": None, "error": None, "incomplete_details": None, "usage": None}
        output = [item.item() for item in self._items]
        return {**self._fields, "status": self._status, "output": output, **open_, **self._ending}

    def know(self, **fields: Any) -> None:
        """What has turned out about the response."""
        self._fields.update(fields)

    def queued(self) -> Frames:
        """It has to wait, nobody knows how long."""
        self._tell("response.created", response=self.response)
        self._tell("response.queued", response=self.response)
        return self._taken()

    def begin(self, parser: AnswerParser) -> Frames:
        """It is being answered; the parser reads the text."""
        self._parser = parser
        self._status = "in_progress"
        if not self._number:
            self._tell("response.created", response=self.response)
        self._tell("response.in_progress", response=self.response)
        return self._taken()

    def delta(self, delta: Delta) -> Frames:
        """New text; and where it ends, everything but the last event."""
        assert self._parser is not None, "the response has not begun"
        if delta.logprobs:
            self._logprobs += map(_logprob, delta.logprobs)
        self._take(self._parser.feed(delta.text))
        if delta.finish is not None:
            self._take(self._parser.finish())
            self._finish(delta.finish)
        return self._taken()

    def fail(self, error: LocalchatError) -> Frames:
        """It has come to an error."""
        _, body = describe(error)
        code = "server_error"
        if isinstance(error, Overloaded):
            code = "rate_limit_exceeded"
        elif isinstance(error, RequestError):
            code = "invalid_prompt"
        detail = body["error"]
        self._end("failed", error={"code": code, **{name: detail[name] for name in ("message", "type", "param")}})
        return self._taken()

    def cancel(self) -> Frames:
        """Nobody wants it any more."""
        self._end("cancelled")
        return self._taken()

    def last(self) -> Frames:
        """The last event."""
        name = "incomplete" if self._status == "cancelled" else self._status  # OpenAI has no event for it
        self._tell(f"response.{name}", response=self.response)
        return self._taken()

    def _take(self, parts: Sequence[AnswerDelta]) -> None:
        for part in parts:
            match part:
                case Content():
                    self._write(MESSAGE, part.text)
                case Reasoning():
                    self._write(REASONING, part.text)
                case CallStart():
                    head = {"id": new_id("fc"), "type": "function_call", "call_id": part.id, "name": part.name}
                    self._open(CALL, head)
                case CallArguments():
                    self._write(CALL, part.text)

    def _write(self, kind: Kind, text: str) -> None:
        growing = self._items[-1] if self._items else None
        if growing is None or growing.kind is not kind or growing.status != "in_progress":
            assert kind is not CALL, "arguments came before their call"
            growing = self._open(kind, _message() if kind is MESSAGE else _reasoning())
        growing.pieces.append(text)
        logprobs, self._logprobs = self._logprobs, []
        if kind is MESSAGE:
            growing.logprobs += logprobs
        if self._makes_events:
            self._frames.append(growing.delta(self._number, text, logprobs))
        self._number += 1

    def _open(self, kind: Kind, head: Json) -> Growing:
        self._close("completed")
        growing = Growing(kind, len(self._items), head)
        self._items.append(growing)
        self._tell("response.output_item.added", output_index=growing.index, item=growing.empty())
        if growing.part is not None:
            self._tell_part("added", growing)
        return growing

    def _close(self, status: str) -> None:
        growing = self._items[-1] if self._items else None
        if growing is None or growing.status != "in_progress":
            return
        growing.status = status
        kind = growing.kind
        said: Json = {"item_id": growing.id, "output_index": growing.index, kind.words: growing.words}
        if kind.part is not None:
            said["content_index"] = 0
        if kind is MESSAGE:
            said["logprobs"] = growing.logprobs
        if kind is CALL:
            said["name"] = growing.head["name"]
        self._tell(f"{kind.event}.done", **said)
        if kind.part is not None:
            self._tell_part("done", growing)
        self._tell("response.output_item.done", output_index=growing.index, item=growing.item())

    def _finish(self, finish: Finish) -> None:
        if not self._items and finish.reason == "stop":
            self._open(MESSAGE, _message())  # it said nothing, which is an answer as well
        if finish.reason == "stop":
            self._end("completed", completed_at=int(time.time()), usage=usage(finish))
        else:
            details = {"reason": "max_output_tokens"} if finish.reason == "length" else None
            self._end("incomplete", incomplete_details=details, usage=usage(finish))

    def _end(self, status: str, **ending: Any) -> None:
        self._close("completed" if status == "completed" else "incomplete")
        self._status = status
        self._ending = ending

    def _tell_part(self, what: str, growing: Growing) -> None:
        where = {"item_id": growing.id, "output_index": growing.index, "content_index": 0}
        self._tell(f"response.content_part.{what}", **where, part=growing.part)

    def _tell(self, kind: str, **fields: Any) -> None:
        if self._makes_events:
            event = {"type": kind, "sequence_number": self._number, **fields}
            self._frames.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), to_json(event)))
        self._number += 1

    def _taken(self) -> Frames:
        frames, self._frames = self._frames, []
        return frames


def usage(finish: Finish) -> Json:
    """Token counts of a response."""
    return {
        "input_tokens": finish.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": finish.cached_tokens,
            "cache_write_tokens": finish.prompt_tokens - finish.cached_tokens,
        },
        "output_tokens": finish.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": finish.reasoning_tokens},
        "total_tokens": finish.prompt_tokens + finish.completion_tokens,
        "timings": timings([finish]),
    }


def _message() -> Json:
    return {"id": new_id("msg"), "type": "message", "role": "assistant"}


def _reasoning() -> Json:
    return {"id": new_id("rs"), "type": "reasoning", "summary": []}


def _logprob(entry: TokenLogprob) -> Json:
    return {
        **_token(entry.piece, entry.logprob),
        "top_logprobs": [_token(other.piece, other.logprob) for other in entry.top],
    }


def _token(piece: bytes, logprob: float | None) -> Json:
    return {"token": piece.decode("utf-8", "replace"), "bytes": list(piece), "logprob": logprob}
