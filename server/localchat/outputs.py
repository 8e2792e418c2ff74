"""What comes out of the engine: small structs that cross the process boundary as they are."""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "abort"]


class Alternative(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A token that might have been chosen. `logprob` is natural, of the model's distribution before any sampler."""

    token: int
    piece: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The token chosen, and the likeliest ones; a prompt's first token has no logprob."""

    token: int
    piece: bytes
    logprob: float | None
    top: list[Alternative]


class Finish(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why and how a sequence ended. Times are seconds.

    Of a prediction, the tokens that came and those that did not; of all guesses, how many were made and came true.
    `reasoning_tokens` are those that the answer began with, thinking.
    """

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    queue_time: float
    prompt_time: float
    decode_time: float
    logprob_sum: float
    accepted_prediction: int = 0
    rejected_prediction: int = 0
    drafted: int = 0
    accepted: int = 0
    reasoning_tokens: int = 0


class Delta(msgspec.Struct, array_like=True, gc=False):
    """New text of one sequence; the last one carries `finish`."""

    sequence: int
    text: str
    logprobs: list[TokenLogprob] | None = None
    finish: Finish | None = None
