"""A model that says what a test wants, and finds fault with every call that llama.cpp would not forgive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from localchat.engine.seam import Logits
from localchat.errors import EngineError

Follow = Callable[[Sequence[int]], int]
"""The token that the model finds likeliest after these."""

END = 256
START = 0
SIZE = 257
"""Of the vocabulary. A decoder behind an encoder begins with START."""
LIKELY = 6.0
"""Logit of the token that follows; all others have 0."""


class ScriptedVocabulary:
    """Every byte is a token; one more ends a reply."""

    size = SIZE
    end_tokens = frozenset({END})

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token == END:
            return b"<end>" if special else b""
        return bytes([token])


class ScriptedBatch:
    """Rows as (sequence, position, tokens, rows of logits); asserts that they could be decoded in one pass."""

    def __init__(self, capacity: int, n_ctx: int, parallel: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.chunks: list[tuple[int, int, list[int], int]] = []
        self._n_ctx = n_ctx
        self._parallel = parallel

    def clear(self) -> None:
        self.size, self.chunks = 0, []

    def add(self, sequence: int, position: int, tokens: Sequence[int], *, last: bool, every: bool = False) -> None:
        assert tokens, "no tokens"
        assert 0 <= sequence < self._parallel, f"sequence {sequence} of {self._parallel}"
        assert not self.chunks or self.chunks[-1][0] < sequence, "sequences do not ascend"
        assert position + len(tokens) <= self._n_ctx, f"{position + len(tokens)} tokens in a context of {self._n_ctx}"
        self.size += len(tokens)
        assert self.size <= self.capacity, f"{self.size} rows in a batch of {self.capacity}"
        self.chunks.append((sequence, position, list(tokens), len(tokens) if every else int(last)))


class ScriptedContext:
    """Keeps the tokens of each sequence, as a KV cache would.

    `steps` has the (sequence, position, count) of each decode. Logits go bad with the next decode, as llama.cpp's do.
    """

    def __init__(
        self,
        follow: Follow,
        *,
        n_ctx: int = 256,
        parallel: int = 4,
        capacity: int = 64,
        outputs: int | None = None,
        can_cut: bool = True,
    ) -> None:
        self.n_ctx = n_ctx
        self.parallel = parallel
        self.can_cut = can_cut
        self.vocabulary = ScriptedVocabulary()
        self.batch = ScriptedBatch(capacity, n_ctx, parallel)
        self.outputs = capacity if outputs is None else outputs
        self.kv: list[list[int]] = [[] for _ in range(parallel)]
        self.steps: list[list[tuple[int, int, int]]] = []
        self.failures = 0
        self.refusals = 0
        self._follow = follow
        self._logits = np.empty((0, SIZE), np.float32)

    def fail_next(self, times: int = 1) -> None:
        """Let the next decodes fail, after some of their rows are stored."""
        self.failures = times

    def decode(self) -> None:
        self._logits.fill(np.nan)
        assert self.batch.chunks, "nothing to decode"
        self.steps.append([(sequence, position, len(tokens)) for sequence, position, tokens, _ in self.batch.chunks])
        if self.failures:
            self.failures -= 1
            sequence, _, tokens, _ = self.batch.chunks[0]
            self.kv[sequence] += tokens[:1]
            raise EngineError("llama_decode returned -3")
        wanted = sum(chunk[3] for chunk in self.batch.chunks)
        assert wanted <= self.outputs, f"{wanted} rows of logits, where {self.outputs} are allowed"
        rows = [row for chunk in self.batch.chunks for row in self._compute(*chunk)]
        self._logits = np.array(rows, np.float32).reshape(len(rows), SIZE)

    def _compute(self, sequence: int, position: int, tokens: Sequence[int], wanted: int) -> list[Logits]:
        held = self.kv[sequence]
        assert position == len(held), f"position {position} of sequence {sequence}, which has {len(held)} tokens"
        held += tokens
        return [self.row(held[: len(held) - behind]) for behind in range(wanted - 1, -1, -1)]

    def row(self, tokens: Sequence[int]) -> Logits:
        """The logits after these tokens."""
        logits = np.zeros(SIZE, np.float32)
        logits[self._follow(tokens)] = LIKELY
        return logits

    def logits(self, rows: int) -> Logits:
        assert rows == len(self._logits), f"{rows} rows of logits, {len(self._logits)} were computed"
        return self._logits

    def keep(self, sequence: int, length: int) -> bool:
        assert 0 < length <= len(self.kv[sequence]), f"{length} tokens of {len(self.kv[sequence])}"
        if not self.can_cut and length < len(self.kv[sequence]):
            return False
        del self.kv[sequence][length:]
        return True

    def copy(self, source: int, target: int) -> None:
        assert source != target, "a copy of a sequence over itself"
        self.kv[target] = list(self.kv[source])

    def save(self, sequence: int) -> memoryview | None:
        return np.array(self.kv[sequence], np.int32).view(np.uint8).data

    def state_bytes(self, sequence: int) -> int:
        return 4 * len(self.kv[sequence])

    def restore(self, sequence: int, data: memoryview) -> bool:
        if self.refusals:
            self.refusals -= 1
            self.kv[sequence] = []
            return False
        self.kv[sequence] = np.frombuffer(data, np.int32).tolist()
        return True

    def drop(self, sequence: int) -> None:
        self.kv[sequence].clear()

    def length(self, sequence: int) -> int:
        return len(self.kv[sequence])


Then = Callable[[BaseException | None], None]


class ScriptedEncoderDecoder(ScriptedContext):
    """Writes what the script says of source and text together.

    A source is read when the test says so, or at once. `reads` has the slots and the text of each.
    """

    def __init__(self, follow: Follow, *, reads_at_once: bool = True, parallel: int = 4, n_ctx: int = 256) -> None:
        super().__init__(follow, parallel=parallel, n_ctx=n_ctx, capacity=parallel, can_cut=False)
        self.sources: dict[int, list[int]] = {}
        self.reads: list[tuple[list[int], str]] = []
        self._reads_at_once = reads_at_once
        self._begun: deque[tuple[list[int], list[int], Then]] = deque()
        self._left: set[int] = set()

    def read(self, source: Sequence[int], slots: Sequence[int], then: Then) -> None:
        assert not self._begun, "two sources at once"
        assert not any(slot in self.sources or self.kv[slot] for slot in slots), "a slot that has a source"
        self.reads.append((list(slots), bytes(source).decode()))
        self._begun.append((list(source), list(slots), then))
        if self._reads_at_once:
            self.finish_reading()

    @property
    def is_reading(self) -> bool:
        return bool(self._begun)

    def finish_reading(self, error: BaseException | None = None) -> None:
        source, slots, then = self._begun.popleft()
        if error is None:
            self.sources.update({slot: source for slot in slots if slot not in self._left})
        self._left.clear()
        then(error)

    def _compute(self, sequence: int, position: int, tokens: Sequence[int], wanted: int) -> list[Logits]:
        source = self.sources[sequence]
        held = self.kv[sequence]
        assert position == len(held), f"position {position} of sequence {sequence}, which has {len(held)} tokens"
        held += tokens
        assert held[0] == START, "the decoder's start token comes first"
        return [self.row([*source, *held[1:]])] * wanted

    def keep(self, sequence: int, length: int) -> bool:
        return length == len(self.kv[sequence])

    def drop(self, sequence: int) -> None:
        super().drop(sequence)
        if self.sources.pop(sequence, None) is None and self._begun:
            self._left.add(sequence)


class Greedy:
    """Takes the likeliest token; remembers what it was told of."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def sample(self, logits: Logits, allowed: NDArray[np.bool_] | None = None) -> int:
        assert logits.shape == (SIZE,), f"a row of shape {logits.shape}"
        assert not np.isnan(logits).any(), "logits of an earlier decode"
        return int(logits.argmax() if allowed is None else np.where(allowed, logits, -np.inf).argmax())

    def accept(self, tokens: Iterable[int]) -> None:
        self.seen.extend(tokens)


def replies(script: Mapping[str, str | bytes]) -> Follow:
    """A model that answers each prompt with its text, then ends. The longest prompt that fits counts."""
    answers = {prompt.encode(): reply.encode() if isinstance(reply, str) else reply for prompt, reply in script.items()}

    def follow(tokens: Sequence[int]) -> int:
        read = bytes(min(token, END - 1) for token in tokens)  # guesses may go on behind the end
        prompt = max((prompt for prompt in answers if read.startswith(prompt)), key=len, default=None)
        if prompt is None:
            return 0
        said = len(read) - len(prompt)
        return answers[prompt][said] if said < len(answers[prompt]) else END

    return follow


def babble(tokens: Sequence[int]) -> int:
    """A letter that hangs on every token so far, so that no wrong memory can go unseen; it never ends."""
    state = 7
    for token in tokens:
        state = (state * 31 + token + 1) % 1_000_003
    return ord("a") + state % 26
