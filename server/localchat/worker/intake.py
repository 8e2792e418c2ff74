"""Turns messages into what the engine can work on."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items

from localchat.constraint import Constraint
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine, Job
from localchat.engine.ngram import Lookup
from localchat.engine.seam import Matcher
from localchat.engine.sequence import Sequence
from localchat.engine.thinking import Thinking
from localchat.engine.triggered import Triggered
from localchat.errors import ContextLengthExceeded, InvalidRequest, LocalchatError, QueueFull, UnsupportedField
from localchat.llama.context import Context
from localchat.llama.encoder_decoder import EncoderDecoder
from localchat.llama.grammar import Grammars
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary
from localchat.worker import messages as m

Inbox = queue.SimpleQueue[Job | None]
"""What the engine's thread is to do before its next step; None is to end."""


class Output:
    """The way back to the API process; either thread may write."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: m.Reply) -> None:
        """Write one message; blocks while the pipe is full."""
        data = memoryview(m.frame(message))
        with self._lock:
            while data:
                data = data[os.write(self._fd, data) :]


def read(batches: Iterable[Items[m.Request]], handle: Callable[[m.Request], Job | None], inbox: Inbox) -> None:
    """Handle messages until there are no more, and then end the engine's thread, whatever happens.

    What came together is passed on together, so that the choices of one request can share the reading of a source.
    """
    try:
        for batch in batches:
            jobs = [job for message in batch if (job := handle(message))]
            if jobs:
                inbox.put(functools.partial(_do, jobs))
            if any(isinstance(message, m.Shutdown) for message in batch):
                return
    finally:
        inbox.put(None)


def refuse(message: m.Request, error: LocalchatError, output: Output) -> None:
    """Tell whoever sent a message what is wrong with it."""
    assert isinstance(message, m.Submit | m.Tokenize | m.Detokenize | m.Embed)
    output.send(m.Failed.of(message.sequence if isinstance(message, m.Submit) else message.call, error))


class Intake:
    """Turns messages into jobs for the engine's thread."""

    def __init__(self, engine: Engine, context: Context | EncoderDecoder, output: Output, queue_size: int) -> None:
        self._engine = engine
        self._vocabulary = context.vocabulary
        self._grammars = Grammars(context.vocabulary)
        self._start_token = context.model.start_token if isinstance(context, EncoderDecoder) else None
        self._output = output
        self._most = queue_size + context.parallel

    def handle(self, message: m.Request) -> Job | None:
        """Answer a message, or say what the engine's thread is to do; an error becomes a reply."""
        try:
            match message:
                case m.Submit():
                    return functools.partial(self._start, self._sequence(message))
                case m.Abort():
                    return functools.partial(self._abort, message.sequences)
                case m.Tokenize():
                    tokens = self._tokenize(message.text, add_special=message.add_bos, parse=message.parse_special)
                    self._output.send(m.Tokens(message.call, tokens))
                case m.Detokenize():
                    self._output.send(m.Text(message.call, spell(self._vocabulary, message.tokens)))
                case m.GetUsage():
                    return functools.partial(self._report, message.call)
                case m.Embed():
                    raise InvalidRequest("this model writes text and makes no embeddings", param="model")
                case m.Load():
                    raise AssertionError("the model is loaded already")
        except LocalchatError as error:
            refuse(message, error, self._output)
        return None

    def _sequence(self, message: m.Submit) -> Sequence:
        if message.deterministic and not self._engine.streams:
            raise UnsupportedField(
                "deterministic is not supported where sequences share a KV buffer: that is so of encoder-decoders and"
                " with --kv-unified",
                param="deterministic",
            )
        prompt = self._prompt(message)
        prediction = self._vocabulary.tokenize(message.prediction) if message.prediction else []
        sampler = Sampler(message.params, self._vocabulary, self._engine.n_ctx)
        matcher = self._matcher(message.constraint)
        thinking = None
        if message.thoughts is not None:
            thinking = Thinking(message.thoughts, matcher, self._vocabulary, self._tokens_of)
        if self._start_token is None:
            tokens, source, room = prompt, None, self._room(message, prompt)
            sampler.accept(tokens)
        else:  # its sampler hears of what is written only: to take words from the source is what most are trained for
            tokens, source, room = [self._start_token], prompt, self._room_beside(message, prompt)
        return Sequence(
            message.sequence,
            tokens,
            max_tokens=room if message.max_tokens is None else min(room, message.max_tokens),
            sampler=sampler,
            detokenizer=Detokenizer(message.stops, message.lead),
            source=source,
            stop_tokens=self._control_tokens(message.stops),
            logprobs=message.logprobs,
            prompt_logprobs=message.prompt_logprobs,
            lane=message.lane,
            key=message.key,
            alone=message.deterministic,
            prediction=prediction,
            lookup=Lookup(prediction) if prediction else None,  # here, since a long one takes a while
            matcher=thinking or matcher,
            thinking=thinking,
            shown=self._control_tokens(message.shown),
        )

    def _matcher(self, constraint: Constraint | None) -> Matcher | None:
        """What restricts the text. Raises InvalidRequest for what cannot be enforced."""
        if constraint is None:
            return None
        grammar = self._grammars.matcher(constraint)
        if not constraint.triggers:
            return grammar
        return Triggered(grammar, constraint.triggers, self._vocabulary, self._tokens_of, repeats=constraint.repeats)

    def _tokens_of(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, parse_special=True)

    def _room(self, message: m.Submit, prompt: Items[int]) -> int:
        """Tokens that may follow a prompt."""
        room = self._engine.n_ctx - len(prompt)
        if room < (message.max_tokens != 0):
            raise ContextLengthExceeded(
                f"the prompt has {len(prompt)} tokens, and this model's context holds {self._engine.n_ctx} "
                "for prompt and answer together",
                param=message.param,
            )
        return room

    def _room_beside(self, message: m.Submit, source: Items[int]) -> int:
        """Tokens that may follow the decoder's start token."""
        if len(source) > self._engine.n_ctx:
            raise ContextLengthExceeded(
                f"the prompt has {len(source)} tokens, and this model's encoder reads {self._engine.n_ctx}",
                param=message.param,
            )
        return self._engine.n_ctx - 1

    def _prompt(self, message: m.Submit) -> list[int]:
        self._vocabulary.check(list(message.params.logit_bias), "logit_bias")
        if message.suffix is not None:
            return self._gap(message.prompt, message.suffix, message)
        if isinstance(message.prompt, list):
            tokens = message.prompt
            self._vocabulary.check(tokens, message.param)
        else:
            tokens = self._tokenize(message.prompt, add_special=message.add_bos, parse=message.parse_special)
        if not tokens:
            raise InvalidRequest("the prompt is empty, so there is nothing to continue", param=message.param)
        return tokens

    def _gap(self, before: str | list[int], after: str, message: m.Submit) -> list[int]:
        """The prompt that asks for what is between. Code may well spell special tokens out: they are read as text."""
        vocabulary, infill = self._vocabulary, self._vocabulary.infill
        if infill is None:
            raise UnsupportedField("suffix is not supported: this model has no infill tokens", param="suffix")
        if isinstance(before, str):
            before = vocabulary.tokenize(before)
        vocabulary.check(before, message.param)
        prompt = infill.prompt(before, vocabulary.tokenize_inside(after))
        return [vocabulary.bos, *prompt] if message.add_bos and vocabulary.adds_bos and vocabulary.bos >= 0 else prompt

    def _tokenize(self, text: str, *, add_special: bool, parse: bool) -> list[int]:
        vocabulary = self._vocabulary
        tokens = vocabulary.tokenize(text, add_bos=add_special, parse_special=parse)
        is_source = add_special and self._start_token is not None
        if is_source and vocabulary.adds_eos and tokens and tokens[-1] != vocabulary.eos:
            tokens.append(vocabulary.eos)  # a source ends as it did in training; a prompt that goes on must not
        return tokens

    def _control_tokens(self, texts: Iterable[str]) -> frozenset[int]:
        """Those of the texts that are a control token, which has no text in which it could be found."""
        found = (self._vocabulary.control_token(text) for text in texts)
        return frozenset(token for token in found if token is not None)

    def _start(self, sequence: Sequence) -> None:
        load = self._engine.load(sequence.lane, sequence.key)
        if load >= self._most:  # others are not refused for what one key asks
            error = QueueFull(f"{load} requests are running or waiting, which is as many as may; try later")
            self._output.send(m.Failed.of(sequence.id, error))
            return
        self._engine.submit(sequence)
        self._output.send(m.Accepted(sequence.id, sequence.prompt_tokens))

    def _abort(self, sequences: list[int]) -> None:
        for sequence in sequences:
            self._engine.abort(sequence)

    def _report(self, call: int) -> None:
        usage = self._engine.usage()
        self._output.send(
            m.UsageReport(
                call,
                usage.running,
                usage.waiting,
                usage.kv_tokens_running,
                usage.kv_tokens_cached,
                usage.drafted,
                usage.accepted,
            )
        )


def spell(vocabulary: Vocabulary, tokens: list[int]) -> str:
    """The text of token ids, control tokens spelled out. Raises InvalidRequest for an id outside the vocabulary."""
    vocabulary.check(tokens, "tokens")
    return b"".join(vocabulary.piece(token, special=True) for token in tokens).decode("utf-8", "replace")


def _do(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job()
