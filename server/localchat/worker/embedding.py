"""The worker of a model that makes vectors."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from localchat.engine.embedding import Call, EmbeddingEngine
from localchat.engine.engine import Job
from localchat.errors import ContextLengthExceeded, InvalidRequest, LocalchatError, QueueFull
from localchat.llama import library
from localchat.llama.embedding import Embedder
from localchat.llama.model import Model
from localchat.worker import messages as m
from localchat.worker.intake import Inbox, Output, refuse, spell

TEXTS = 64
"""Texts of one pass."""


class EmbeddingIntake:
    """Turns messages into jobs for the engine's thread."""

    def __init__(self, engine: EmbeddingEngine, embedder: Embedder, output: Output, queue_size: int) -> None:
        self._engine = engine
        self._embedder = embedder
        self._vocabulary = embedder.vocabulary
        self._output = output
        self._most = queue_size

    def handle(self, message: m.Request) -> Job | None:
        """Answer a message, or say what the engine's thread is to do; an error becomes a reply."""
        try:
            match message:
                case m.Embed():
                    return functools.partial(self._start, self._call(message))
                case m.Submit():
                    raise InvalidRequest("this model makes embeddings and writes no text", param="model")
                case m.Abort():
                    return functools.partial(self._abort, message.sequences)
                case m.Tokenize():
                    tokens = self._vocabulary.tokenize(
                        message.text, add_bos=message.add_bos, parse_special=message.parse_special
                    )
                    self._output.send(m.Tokens(message.call, tokens))
                case m.Detokenize():
                    self._output.send(m.Text(message.call, spell(self._vocabulary, message.tokens)))
                case m.GetUsage():
                    return functools.partial(self._report, message.call)
                case m.Load():
                    raise AssertionError("the model is loaded already")
        except LocalchatError as error:
            refuse(message, error, self._output)
        return None

    def _call(self, message: m.Embed) -> Call:
        texts = [self._tokens(text, index, message) for index, text in enumerate(message.texts)]
        vectors = np.zeros((len(texts), self._embedder.width), np.float32)
        return Call(message.call, texts, vectors, lane=message.lane, key=message.key)

    def _tokens(self, text: str | list[int], index: int, message: m.Embed) -> list[int]:
        param = message.param if len(message.texts) == 1 else f"{message.param}[{index}]"
        if isinstance(text, str):
            tokens = self._embedder.tokenize(text)
        else:
            tokens = text
            self._vocabulary.check(tokens, param)
        if not tokens:
            raise InvalidRequest(f"{param} is empty, so there is nothing to embed", param=param)
        if len(tokens) > self._embedder.n_ctx:
            raise ContextLengthExceeded(
                f"{param} has {len(tokens)} tokens, and this model reads {self._embedder.n_ctx} at once", param=param
            )
        return tokens

    def _start(self, call: Call) -> None:
        load = self._engine.load(call.lane, call.key)
        if load >= self._most:
            error = QueueFull(f"{load} requests are running or waiting, which is as many as may; try later")
            self._output.send(m.Failed.of(call.id, error))
            return
        self._engine.submit(call)

    def _abort(self, calls: list[int]) -> None:
        for call in calls:
            self._engine.abort(call)

    def _report(self, call: int) -> None:
        self._output.send(m.UsageReport(call, 0, self._engine.waiting, 0, 0))


def load_embedder(model: Model, request: m.Load) -> tuple[Embedder, m.Loaded]:
    """The context of a model that makes vectors. Raises ModelLoadFailed."""
    embedder = Embedder(
        model,
        n_ctx=request.n_ctx,
        threads=request.threads,
        texts=min(TEXTS, request.batch_size),
        batch_size=request.batch_size,
    )
    vocabulary = model.vocabulary
    info = m.Loaded(
        n_ctx=request.n_ctx,
        parallel=request.parallel,
        trained_context=model.trained_context,
        vocabulary_size=vocabulary.size,
        description=model.description,
        gpu_offload=library.supports_gpu(),
        bos=vocabulary.text(vocabulary.bos),
        eos=vocabulary.text(vocabulary.eos),
        has_infill=False,
        embedding_width=embedder.width,
        system_info=library.system_info(),
    )
    return embedder, info


def run_embedding(engine: EmbeddingEngine, inbox: Inbox, output: Output) -> None:
    """The engine's loop: do what came in, then step; sleep when there is nothing to do. Ends on None."""
    while True:
        while engine.is_idle or not inbox.empty():
            job = inbox.get()
            if job is None:
                return
            job()
        for call in engine.step():
            if call.error is not None:
                output.send(m.Failed.of(call.id, call.error))
            else:
                tokens = [len(text) for text in call.texts]
                output.send(m.Vectors(call.id, unit(call.vectors).tobytes(), tokens))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (texts, width) at length 1; one of nothing stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    made: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return made
