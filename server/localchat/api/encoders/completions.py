"""Text completions: frames and replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localchat.api.encoders.common import Envelope, frame, to_json, usage
from localchat.outputs import Delta, Finish, TokenLogprob


class _Choice:
    """The text and logprobs of one sequence so far."""

    def __init__(self, echo: str) -> None:
        self.texts = [echo]
        self.logprobs: list[TokenLogprob] = []
        self.offset = 0
        self.finish: Finish | None = None

    def logprobs_json(self, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        """OpenAI's four parallel lists; offsets go on from where the last ones ended."""
        tokens = [entry.piece.decode("utf-8", "replace") for entry in entries]
        offsets = []
        for token in tokens:
            offsets.append(self.offset)
            self.offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [
                None
                if entry.logprob is None
                else {other.piece.decode("utf-8", "replace"): other.logprob for other in entry.top}
                for entry in entries
            ],
            "text_offset": offsets,
        }


class CompletionStream:
    """Frames of one streamed completion: every prompt has `tries` sequences, all of them are choices."""

    def __init__(self, envelope: Envelope, echoes: Sequence[str], *, tries: int, include_usage: bool) -> None:
        self._envelope = envelope
        self._tries = tries
        self._include_usage = include_usage
        self._choices = [_Choice(echo) for echo in echoes for _ in range(tries)]
        self._head = envelope.head("text_completion")
        self._tail = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"

    def start(self) -> bytes:
        """The prompts, where they are echoed."""
        return b"".join(
            self._frame(index, choice.texts[0], b"null", b"null")
            for index, choice in enumerate(self._choices)
            if choice.texts[0]
        )

    def delta(self, index: int, delta: Delta) -> bytes:
        """New text of a choice; the last one carries why it ended."""
        choice = self._choices[index]
        logprobs = b"null" if delta.logprobs is None else to_json(choice.logprobs_json(delta.logprobs))
        choice.finish = delta.finish
        reason = b"null" if delta.finish is None else b'"%s"' % delta.finish.reason.encode()
        return self._frame(index, delta.text, logprobs, reason)

    def end(self) -> bytes:
        """The usage, if it was asked for."""
        if not self._include_usage:
            return b""
        finishes = [choice.finish for choice in self._choices if choice.finish is not None]
        fields = self._envelope.fields("text_completion")
        return frame({**fields, "choices": [], "usage": usage(finishes, self._tries)})

    def _frame(self, index: int, text: str, logprobs: bytes, reason: bytes) -> bytes:
        choice = b'{"index":%d,"text":%s,"logprobs":%s,"finish_reason":%s' % (index, to_json(text), logprobs, reason)
        return self._head + choice + self._tail


class CompletionFold:
    """One plain completion: of each prompt's `tries`, the `keep` likeliest per token."""

    def __init__(self, envelope: Envelope, echoes: Sequence[str], *, tries: int, keep: int, logprobs: bool) -> None:
        self._envelope = envelope
        self._tries, self._keep = tries, keep
        self._wants_logprobs = logprobs
        self._sequences = [_Choice(echo) for echo in echoes for _ in range(tries)]

    def delta(self, index: int, delta: Delta) -> None:
        """Take note of a delta."""
        sequence = self._sequences[index]
        sequence.texts.append(delta.text)
        sequence.logprobs.extend(delta.logprobs or ())
        sequence.finish = delta.finish

    def reply(self) -> dict[str, Any]:
        """The whole reply, when every sequence has finished."""
        chosen: list[_Choice] = []
        for start in range(0, len(self._sequences), self._tries):
            tries = self._sequences[start : start + self._tries]
            if self._keep < self._tries:
                tries = sorted(tries, key=_mean_logprob, reverse=True)[: self._keep]
            chosen.extend(tries)
        choices = [
            {
                "index": index,
                "text": "".join(choice.texts),
                "logprobs": choice.logprobs_json(choice.logprobs) if self._wants_logprobs else None,
                "finish_reason": choice.finish.reason if choice.finish else None,
            }
            for index, choice in enumerate(chosen)
        ]
        finishes = [sequence.finish for sequence in self._sequences if sequence.finish is not None]
        fields = self._envelope.fields("text_completion")
        return {**fields, "choices": choices, "usage": usage(finishes, self._tries)}


def _mean_logprob(choice: _Choice) -> float:
    assert choice.finish is not None, "a sequence has not finished"
    return choice.finish.logprob_sum / max(choice.finish.completion_tokens, 1)
