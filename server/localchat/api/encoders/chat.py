"""Chat completions: frames and replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localchat.api.encoders.common import Envelope, frame, to_json, usage
from localchat.outputs import Delta, Finish, TokenLogprob

_NO_LOGPROBS = b',"logprobs":null'


class ChatStream:
    """Frames of one streamed chat completion."""

    def __init__(self, envelope: Envelope, choices: int, *, include_usage: bool) -> None:
        self._envelope = envelope
        self._include_usage = include_usage
        self._heads = [envelope.head("chat.completion.chunk") + b'{"index":%d,"delta":' % i for i in range(choices)]
        self._tail = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._finishes: dict[int, Finish] = {}

    def start(self) -> bytes:
        """The role of each choice."""
        delta = b'{"role":"assistant","content":"","refusal":null}'
        return b"".join(head + delta + _NO_LOGPROBS + b',"finish_reason":null' + self._tail for head in self._heads)

    def delta(self, index: int, delta: Delta) -> bytes:
        """New text of a choice, and its end."""
        head, frames = self._heads[index], b""
        if delta.text or delta.logprobs:
            logprobs = _NO_LOGPROBS if delta.logprobs is None else b',"logprobs":' + to_json(_logprobs(delta.logprobs))
            frames = (
                head + b'{"content":' + to_json(delta.text) + b"}" + logprobs + b',"finish_reason":null' + self._tail
            )
        if delta.finish is not None:
            self._finishes[index] = delta.finish
            frames += head + b"{}" + _NO_LOGPROBS + b',"finish_reason":"%s"' % delta.finish.reason.encode() + self._tail
        return frames

    def end(self) -> bytes:
        """The usage, if it was asked for."""
        if not self._include_usage:
            return b""
        fields = self._envelope.fields("chat.completion.chunk")
        finishes = [finish for _, finish in sorted(self._finishes.items())]
        return frame({**fields, "choices": [], "usage": usage(finishes, tries=len(finishes))})


class ChatFold:
    """One plain chat completion, folded from the same deltas."""

    def __init__(self, envelope: Envelope, choices: int, *, logprobs: bool) -> None:
        self._envelope = envelope
        self._texts: list[list[str]] = [[] for _ in range(choices)]
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in range(choices)]
        self._finishes: list[Finish | None] = [None] * choices
        self._wants_logprobs = logprobs

    def delta(self, index: int, delta: Delta) -> None:
        """Take note of a delta."""
        self._texts[index].append(delta.text)
        self._logprobs[index].extend(delta.logprobs or ())
        self._finishes[index] = delta.finish

    def reply(self) -> dict[str, Any]:
        """The whole reply, when every choice has finished."""
        finishes = [finish for finish in self._finishes if finish is not None]
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": "".join(self._texts[index]), "refusal": None},
                "logprobs": _logprobs(self._logprobs[index]) if self._wants_logprobs else None,
                "finish_reason": finish.reason,
            }
            for index, finish in enumerate(finishes)
        ]
        fields = self._envelope.fields("chat.completion")
        return {**fields, "choices": choices, "usage": usage(finishes, tries=len(finishes))}


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
