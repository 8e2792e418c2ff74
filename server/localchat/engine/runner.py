"""Does what the scheduler decided: fills the batch, decodes, hands out the logits."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items

from localchat.engine.holes import Filler
from localchat.engine.scheduler import Chunk
from localchat.engine.seam import Context, Encoder, Logits


class Runner:
    """Decides nothing."""

    def __init__(self, context: Context, encoder: Encoder | None = None) -> None:
        self._context = context
        self._encoder = encoder

    def read(self, source: Items[int], slots: Items[int], then: Callable[[BaseException | None], None]) -> None:
        """Begin to read a source for empty slots; `then` is called from another thread."""
        assert self._encoder is not None, "a source for a model without an encoder"
        self._encoder.read(source, slots, then)

    def run(self, chunks: Items[Chunk], fillers: Items[Filler] = ()) -> list[Logits | None]:
        """Compute the chunks; for each, its rows of logits (rows, vocabulary), or None where none were wanted.

        Fillers are computed between them and forgotten. The rows are views that the next run overwrites. Raises
        EngineError.
        """
        batch = self._context.batch
        batch.clear()
        rows, index = [], 0
        for chunk in chunks:
            while index < len(fillers) and fillers[index].slot < chunk.sequence.slot:
                batch.add(*fillers[index], (0,), last=False)
                index += 1
            sequence, draft = chunk.sequence, chunk.draft
            tokens = sequence.tokens[chunk.start : chunk.start + chunk.count]
            if draft:
                assert chunk.count == 1, f"guesses behind {chunk.count} tokens"
                tokens += draft
            every = bool(draft) or (sequence.prompt_logprobs and not sequence.is_decoding)
            last = chunk.catches_up
            batch.add(sequence.slot, chunk.start, tokens, last=last, every=every)
            rows.append(len(tokens) if every else int(last))
        try:
            self._context.decode()
        finally:
            for filler in fillers:
                self.cut(filler.slot, filler.start)
        total = sum(rows)
        if not total:
            return [None] * len(rows)
        logits, start, views = self._context.logits(total), 0, list[Logits | None]()
        for count in rows:
            views.append(logits[start : start + count] if count else None)
            start += count
        return views

    def cut(self, slot: int, length: int) -> bool:
        """Leave the first `length` tokens of a slot in the KV cache; False where the model's memory has no cut."""
        if length == 0:
            self._context.drop(slot)
            return True
        return self._context.keep(slot, length)

    def copy(self, source: int, slot: int) -> None:
        """Let a slot hold what another holds."""
        self._context.copy(source, slot)

    def save(self, slot: int) -> memoryview | None:
        """What the KV cache holds in a slot; None where it cannot be had at the moment."""
        return self._context.save(slot)

    def state_bytes(self, slot: int) -> int:
        """Bytes that `save` would take."""
        return self._context.state_bytes(slot)

    def restore(self, slot: int, data: memoryview) -> None:
        """Let a slot hold what was saved; it is empty where that is impossible."""
        self._context.restore(slot, data)

    def length(self, slot: int) -> int:
        """Tokens of a slot in the KV cache."""
        return self._context.length(slot)
