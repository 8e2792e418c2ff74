"""What the engine asks of a model. llama.cpp's context is the first to answer; tests answer with a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Vocabulary(Protocol):
    """Token ids and the bytes they stand for."""

    size: int

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a reply."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of a token."""


class Batch(Protocol):
    """The rows of one decode."""

    capacity: int
    size: int

    def clear(self) -> None:
        """Forget all rows."""

    def add(self, sequence: int, position: int, tokens: Sequence[int], *, last: bool, every: bool = False) -> None:
        """Append consecutive tokens of a sequence."""


class Context(Protocol):
    """A model with its memory: `parallel` sequences of at most `n_ctx` tokens."""

    n_ctx: int
    parallel: int
    can_cut: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""

    @property
    def batch(self) -> Batch:
        """The rows to fill before `decode`."""

    def decode(self) -> None:
        """Compute the rows of `batch`."""

    def logits(self, rows: int) -> Logits:
        """(rows, vocabulary), float32: the rows that asked, in their order."""

    def keep(self, sequence: int, length: int) -> bool:
        """Cut a sequence back to `length` tokens; False if that is impossible."""

    def copy(self, source: int, target: int) -> None:
        """Make `target` an equal of `source`."""

    def save(self, sequence: int) -> memoryview | None:
        """What the memory holds of a sequence; None where it cannot be had at the moment."""

    def state_bytes(self, sequence: int) -> int:
        """Bytes that `save` would take."""

    def restore(self, sequence: int, data: memoryview) -> bool:
        """Replace a sequence by one that was saved; False, and the sequence empty, if that is impossible."""

    def drop(self, sequence: int) -> None:
        """Forget a sequence."""

    def length(self, sequence: int) -> int:
        """Tokens of a sequence in memory."""


class Encoder(Protocol):
    """The part of an encoder-decoder that reads the sources from which sequences are written."""

    def read(self, source: Sequence[int], slots: Sequence[int], then: Callable[[BaseException | None], None]) -> None:
        """Begin to read a source for empty sequences; `then` is called from another thread, with what went wrong."""


class Embedder(Protocol):
    """A model that makes vectors: of at most `texts` texts in a pass, `capacity` tokens together."""

    texts: int
    capacity: int

    def embed_many(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(texts, width): the vectors of texts. Raises EngineError."""


class Matcher(Protocol):
    """How far the text of one sequence has come through its grammar."""

    @property
    def is_awake(self) -> bool:
        """Whether there are tokens that may not come next."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow any more."""

    def prepare(self) -> None:
        """Compute ahead what `allowed` will say; from any thread, but not beside other calls."""

    def allowed(self) -> NDArray[np.bool_]:
        """(vocabulary,): the tokens that may come next. Raises EngineError."""

    def accept(self, token: int) -> None:
        """Take note of a token that was allowed. Raises EngineError."""


class Grammar(Matcher, Protocol):
    """A matcher of which there can be several."""

    def fork(self) -> Matcher:
        """Another that has come as far."""


class Sampler(Protocol):
    """Chooses tokens for one sequence."""

    def sample(self, logits: Logits, allowed: NDArray[np.bool_] | None = None) -> int:
        """The next token for one row of logits; one of those `allowed`, (vocabulary,), where that is given."""

    def accept(self, tokens: Iterable[int]) -> None:
        """Take note of tokens that are part of the text."""
