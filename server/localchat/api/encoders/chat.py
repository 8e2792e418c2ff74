"""Chat completions: frames and replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localchat.api.encoders.common import Envelope, frame, to_json, usage
from localchat.api.encoders.message import Shape, Spoken
from localchat.chat.answer import AnswerDelta, AnswerParser, CallStart
from localchat.outputs import Delta, Finish, TokenLogprob

_NO_LOGPROBS = b',"logprobs":null'
_END = b"}\n\n"


class ChatStream:
    """Frames of one streamed chat completion. Without parsers, all text is content."""

    def __init__(
        self,
        envelope: Envelope,
        choices: int,
        *,
        include_usage: bool,
        parsers: Sequence[AnswerParser] | None = None,
        shape: Shape = Shape.TOOLS,
    ) -> None:
        self._envelope = envelope
        self._include_usage = include_usage
        self._parsers = parsers
        self._shape = shape
        self._callers: set[int] = set()
        self._heads = [envelope.head("chat.completion.chunk") + b'{"index":%d,"delta":' % i for i in range(choices)]
        self._tail = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._finishes: dict[int, Finish] = {}

    def start(self) -> bytes:
        """The role of each choice."""
        delta = b'{"role":"assistant","content":"","refusal":null}'
        if self._parsers is not None:  # it may be that nothing is said
            delta = b'{"role":"assistant","content":null,"refusal":null}'
        frames = [head + delta + _NO_LOGPROBS + b',"finish_reason":null' + self._tail for head in self._heads]
        if self._envelope.once:
            frames[0] = frames[0].removesuffix(_END) + b"," + to_json(self._envelope.once)[1:-1] + _END
        return b"".join(frames)

    def delta(self, index: int, delta: Delta) -> bytes:
        """New text of a choice, and its end."""
        head, frames = self._heads[index], b""
        if self._parsers is not None:
            frames = self._parsed(index, delta, self._parsers[index])
        elif delta.text or delta.logprobs:
            logprobs = _NO_LOGPROBS if delta.logprobs is None else b',"logprobs":' + to_json(_logprobs(delta.logprobs))
            frames = (
                head + b'{"content":' + to_json(delta.text) + b"}" + logprobs + b',"finish_reason":null' + self._tail
            )
        if delta.finish is not None:
            self._finishes[index] = delta.finish
            reason = self._shape.reason(delta.finish.reason, calls=index in self._callers).encode()
            frames += head + b"{}" + _NO_LOGPROBS + b',"finish_reason":"%s"' % reason + self._tail
        return frames

    def _parsed(self, index: int, delta: Delta, parser: AnswerParser) -> bytes:
        """What a parser makes of new text; log-probabilities go with the first of it."""
        parts: list[AnswerDelta] = [*parser.feed(delta.text), *(parser.finish() if delta.finish is not None else ())]
        if any(isinstance(part, CallStart) for part in parts):
            self._callers.add(index)
        deltas = [self._shape.delta(part) for part in parts] or ([{}] if delta.logprobs else [])
        logprobs = _NO_LOGPROBS if delta.logprobs is None else b',"logprobs":' + to_json(_logprobs(delta.logprobs))
        frames = []
        for part in deltas:
            frames.append(self._heads[index] + to_json(part) + logprobs + b',"finish_reason":null' + self._tail)
            logprobs = _NO_LOGPROBS
        return b"".join(frames)

    def end(self) -> bytes:
        """The usage, if it was asked for."""
        if not self._include_usage:
            return b""
        fields = self._envelope.fields("chat.completion.chunk")
        finishes = [finish for _, finish in sorted(self._finishes.items())]
        return frame({**fields, "choices": [], "usage": usage(finishes, tries=len(finishes))})


class ChatFold:
    """One plain chat completion, folded from the same deltas."""

    def __init__(
        self,
        envelope: Envelope,
        choices: int,
        *,
        logprobs: bool,
        parsers: Sequence[AnswerParser] | None = None,
        shape: Shape = Shape.TOOLS,
    ) -> None:
        self._envelope = envelope
        self._texts: list[list[str]] = [[] for _ in range(choices)]
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in range(choices)]
        self._finishes: list[Finish | None] = [None] * choices
        self._wants_logprobs = logprobs
        self._parsers = parsers
        self._shape = shape

    def delta(self, index: int, delta: Delta) -> None:
        """Take note of a delta."""
        self._texts[index].append(delta.text)
        self._logprobs[index].extend(delta.logprobs or ())
        self._finishes[index] = delta.finish

    def reply(self) -> dict[str, Any]:
        """The whole reply, when every choice has finished."""
        finishes = [finish for finish in self._finishes if finish is not None]
        choices = []
        for index, finish in enumerate(finishes):
            spoken = self._spoken(index)
            choices.append(
                {
                    "index": index,
                    "message": self._shape.message(spoken),
                    "logprobs": _logprobs(self._logprobs[index]) if self._wants_logprobs else None,
                    "finish_reason": self._shape.reason(finish.reason, calls=bool(spoken.calls)),
                }
            )
        fields = self._envelope.fields("chat.completion")
        return {**fields, "choices": choices, "usage": usage(finishes, tries=len(finishes)), **self._envelope.once}

    def _spoken(self, index: int) -> Spoken:
        text = "".join(self._texts[index])
        if self._parsers is None:
            return Spoken(content=text)
        parser = self._parsers[index]
        return Spoken.of([*parser.feed(text), *parser.finish()])


def _logprobs(entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "content": [
            {
                **_token(entry.piece, entry.logprob),
                "top_logprobs": [_token(other.piece, other.logprob) for other in entry.top],
            }
            for entry in entries
        ],
        "refusal": None,
    }


def _token(piece: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}
