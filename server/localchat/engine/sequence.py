"""One prompt and the text that grows from it."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from enum import Enum

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.ngram import READ, Lookup
from localchat.engine.seam import Matcher, Sampler
from localchat.engine.thinking import Thinking
from localchat.lane import Lane
from localchat.outputs import Finish, FinishReason, TokenLogprob

MIN_PROGRESS = 16
"""Tokens that a sequence writes before it is preempted again."""


class Status(Enum):
    """Where a sequence is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output tokens, how many of them the KV cache holds, and what decides the next one.

    An encoder-decoder's sequence is written from a `source`, which must be read before anything else is computed; its
    tokens begin with the decoder's start token.
    `stop_tokens` end it as the vocabulary's end tokens do. `logprobs` is the number of alternatives to report, or
    None; `prompt_logprobs` reports the prompt's as well. Turns are taken between `key`s: whose request it is.
    """

    id: int
    tokens: list[int]
    max_tokens: int
    sampler: Sampler
    detokenizer: Detokenizer
    source: Items[int] | None = None
    stop_tokens: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: bool = False
    lane: Lane = Lane.INTERACTIVE
    key: str = ""
    alone: bool = False
    """Whether it is computed by itself and all anew, so that its text hangs on nothing else that runs."""
    matcher: Matcher | None = None
    """Of the grammar that its text must match."""
    thinking: Thinking | None = None
    """Its matcher, where it may begin with thoughts."""
    shown: frozenset[int] = frozenset()
    """Control tokens that are a part of its text."""
    prediction: Items[int] = ()
    """A text that the output is expected to be much like."""

    status: Status = Status.WAITING
    slot: int = -1
    computed: int = 0
    cached: int = 0
    turn: int = 0
    """Rows of its prompt since others had theirs."""
    preemptions: int = 0
    checkpoints: list[int] = field(default_factory=list)
    """Numbers of computed tokens at which the state is to be saved, ascending."""
    finish_reason: FinishReason | None = None
    logprob_sum: float = 0.0
    pending_logprobs: list[TokenLogprob] = field(default_factory=list)
    lookup: Lookup | None = None
    drafted: int = 0
    """Tokens that were guessed of it, and how many came."""
    accepted: int = 0
    prompt_length: int = field(init=False)
    read_length: int = field(init=False)
    """Tokens to be read before it decodes: the prompt, or after a preemption all that it has."""
    is_ready: bool = field(init=False)
    submitted_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0
    first_token_at: float = 0.0

    def __post_init__(self) -> None:
        """Remember where the prompt ends."""
        self.prompt_length = self.read_length = len(self.tokens)
        self.is_ready = self.source is None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of what the request gave: the source, where there is one."""
        return self.prompt_length if self.source is None else len(self.source)

    @property
    def wanted(self) -> int:
        """Tokens whose keys and values are still to be computed."""
        return len(self.tokens) - self.computed

    @property
    def is_decoding(self) -> bool:
        """Whether all that it began with has been read."""
        return self.computed >= self.read_length

    @property
    def output_length(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def output(self) -> Items[int]:
        """The tokens generated so far."""
        return self.tokens[self.prompt_length :]

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self.status is Status.FINISHED

    @property
    def reuses(self) -> bool:
        """Whether it may begin with what was computed for others."""
        return self.source is None and not self.prompt_logprobs and not self.alone

    @property
    def can_be_preempted(self) -> bool:
        """Whether it may be set aside: once, and then whenever it has got on since."""
        is_due = not self.preemptions or len(self.tokens) - self.read_length >= MIN_PROGRESS
        return self.lane is Lane.BACKGROUND and self.source is None and not self.alone and is_due

    def preempt(self) -> None:
        """Wait again, without a slot; what is computed is to be read again, what is written stays."""
        if self.output_length:
            self.prompt_logprobs = False  # the prompt's have been reported
        else:
            self.pending_logprobs.clear()  # they begin again with the prompt
        self.status, self.slot, self.computed, self.turn = Status.WAITING, -1, 0, 0
        self.read_length = len(self.tokens)
        self.preemptions += 1

    def look_up(self, *, whole: bool = False) -> Lookup:
        """The index of its text, up to date but for the rest of a long prompt, unless it is to be `whole`."""
        lookup = self.lookup
        if lookup is None:
            lookup = self.lookup = Lookup(self.prediction)
        lookup.follow(self.tokens, self.prompt_length, self.prompt_length if whole else READ)
        return lookup

    def summary(self) -> Finish:
        """Counts and times of a finished sequence."""
        assert self.finish_reason is not None, "the sequence has not finished"
        now = time.perf_counter()
        started = self.started_at or now
        first = self.first_token_at or now
        if self.prediction:  # counted whether or not there was any use in guessing
            self.look_up(whole=True)
        came = self.lookup.right if self.lookup is not None else 0
        return Finish(
            reason=self.finish_reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached,
            completion_tokens=self.output_length,
            queue_time=started - self.submitted_at,
            prompt_time=first - started,
            decode_time=now - first,
            logprob_sum=self.logprob_sum,
            accepted_prediction=came,
            rejected_prediction=len(self.prediction) - came,
            drafted=self.drafted,
            accepted=self.accepted,
            reasoning_tokens=self.thinking.tokens if self.thinking else 0,
        )
