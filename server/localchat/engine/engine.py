"""The engine: schedule, run, postprocess."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf

from localchat.engine.cost_model import CostModel
from localchat.engine.holes import Filler, Holes
from localchat.engine.logprobs import token_logprob
from localchat.engine.masks import Masks
from localchat.engine.pace import Pace
from localchat.engine.passes import Pass, passes
from localchat.engine.prefix_cache import Placement, PrefixCache
from localchat.engine.runner import Runner
from localchat.engine.saved import Saved
from localchat.engine.scheduler import Chunk, Drafter, Scheduler
from localchat.engine.seam import Context, Encoder, Logits
from localchat.engine.sequence import Sequence, Status
from localchat.engine.slots import Slot
from localchat.engine.stored import Archive, Candidate, Stored, candidates
from localchat.errors import EngineError
from localchat.lane import Lane
from localchat.outputs import Delta, FinishReason, TokenLogprob


@dataclass(frozen=True, slots=True)
class Failure:
    """A sequence that the model could not continue."""

    sequence: int
    error: EngineError


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in use: sequences, and tokens in the KV cache; and how many tokens were guessed so far."""

    running: int
    waiting: int
    kv_tokens_running: int
    kv_tokens_cached: int
    drafted: int = 0
    accepted: int = 0


Job = Callable[[], None]
"""Something to be done on the engine's thread."""


def _at_once(job: Job) -> None:
    job()


class Engine:
    """Runs many sequences over one context. Not thread-safe.

    An `encoder` reads sources, one after the other, while the sequences that have theirs go on. What it then has to
    say comes through `post`, which passes a job on to the engine's thread. A `drafter` guesses ahead; a model whose
    memory cannot be cut gets none, since wrong guesses could not be taken back.
    Every step is shown to the `cost_model` and to the `pace`; `max_seconds` is about what a step takes at most while
    sequences decode, and `streams` says that each has a KV stream of its own. Prefixes that others no longer hold may
    be in the `archive`.
    """

    def __init__(
        self,
        context: Context,
        *,
        budget: int,
        outputs: int | None = None,
        encoder: Encoder | None = None,
        drafter: Drafter | None = None,
        post: Callable[[Job], None] = _at_once,
        cost_model: CostModel | None = None,
        pace: Pace | None = None,
        max_seconds: float = inf,
        streams: bool = True,
        saved_bytes: int = 0,
        archive: Archive | None = None,
    ) -> None:
        self.cost_model = cost_model or CostModel()
        self._pace = pace
        self.streams = streams
        self.n_ctx = context.n_ctx
        self.vocabulary = context.vocabulary
        self._end_tokens = context.vocabulary.end_tokens
        self._runner = Runner(context, encoder)
        self._drafter = drafter if context.can_cut else None
        self._post = post
        self._cache = PrefixCache(
            context.parallel,
            can_cut=context.can_cut,
            can_copy=encoder is None,
            saved_bytes=saved_bytes,
            streams=streams,
        )
        self._scheduler = Scheduler(
            self._cache, budget=budget, outputs=outputs, cost_model=self.cost_model, max_seconds=max_seconds
        )
        self._archive = archive
        for stored in archive.stored() if archive is not None else ():
            self._cache.archive(stored)
        self._sequences: dict[int, Sequence] = {}
        self._masks = Masks()
        self._holes: Holes | None = None
        if streams and context.can_cut:
            self._holes = Holes(self._cache.slots, self.cost_model, self.n_ctx, context.batch.capacity)
        self._drafted = self._accepted = 0
        self._reading: list[Sequence] = []
        self._failures: list[Failure] = []

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._scheduler.has_work and not self._failures

    def load(self, lane: Lane, key: str) -> int:
        """Sequences of a key that run or wait in a lane."""
        return sum(sequence.lane is lane and sequence.key == key for sequence in self._sequences.values())

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self._sequences[sequence.id] = sequence
        self._scheduler.add(sequence)

    def abort(self, sequence_id: int) -> None:
        """End a sequence before the next step; one that has ended already is left alone."""
        sequence = self._sequences.get(sequence_id)
        if sequence is not None:
            self._finish(sequence, "abort")

    def step(self) -> tuple[list[Delta], list[Failure]]:
        """Let sequences catch up once; what is new of each."""
        chunks = self._scheduler.schedule()
        placed = [self._place(placement) for placement in self._cache.placements()]
        if not all(placed):
            chunks = [chunk for chunk in chunks if chunk.start == chunk.sequence.computed]  # the others begin anew
        for stored in self._cache.wanted():
            self._fetch(stored)
        self._read_next()
        failures, self._failures = self._failures, []
        deltas: list[Delta] = []
        alone = [chunk for chunk in chunks if chunk.sequence.alone]
        if alone:
            chunks = [chunk for chunk in chunks if not chunk.sequence.alone]
        if chunks:
            if self._drafter is not None:
                chunks = self._drafter.draft(chunks, self._scheduler.spare)
            fillers = self._holes.fill(chunks) if self._holes is not None else ()
            seconds = self._run(chunks, deltas, failures, fillers)
            if seconds is not None:
                self._observe(passes(chunks, streams=self.streams, fillers=fillers), seconds)
        for chunk in alone:
            with self._pace.suspended() if self._pace else nullcontext():
                self._run([chunk], deltas, failures)
        return deltas, failures

    def _run(
        self, chunks: Items[Chunk], deltas: list[Delta], failures: list[Failure], fillers: Items[Filler] = ()
    ) -> float | None:
        """Compute chunks in one decode and choose what follows; the seconds that took, or None where it failed."""
        start = time.perf_counter()
        self._masks.begin(chunks)
        try:
            rows = self._runner.run(chunks, fillers)
        except EngineError as error:
            failures += [self._fail(chunk.sequence, error) for chunk in chunks]
            return None
        finally:
            self._masks.wait()
        seconds = time.perf_counter() - start
        for chunk, logits in zip(chunks, rows, strict=True):
            try:
                if (delta := self._postprocess(chunk, logits)) is not None:
                    deltas.append(delta)
            except EngineError as error:
                failures.append(self._fail(chunk.sequence, error))
        return seconds

    def usage(self) -> Usage:
        """What is in use; when idle, check first that the KV cache holds what the slots say it does."""
        if self._scheduler.is_idle:
            self._check_integrity()
        return Usage(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_tokens_running=sum(sequence.computed for sequence in self._scheduler.running),
            kv_tokens_cached=self._cache.cached_tokens,
            drafted=self._drafted,
            accepted=self._accepted,
        )

    def _observe(self, made: Items[Pass], seconds: float) -> None:
        expected = self.cost_model.observe(made, seconds)
        if self._drafter is not None:
            self._drafter.observe(expected, seconds)
        if self._pace is not None:
            self._pace.observe(made[-1][0], expected, seconds)

    def _place(self, placement: Placement) -> bool:
        """Let a slot hold what its new sequence begins with; False, and nothing of it, where that is impossible."""
        sequence, slot, source = placement.sequence, placement.slot.id, placement.source
        sequence.started_at = sequence.started_at or time.perf_counter()
        if placement.lost is not None and self._runner.length(slot) == len(placement.lost):
            data = self._runner.save(slot)
            if data is not None:
                self._cache.keep(placement.lost, data)
        if isinstance(source, Slot):
            self._runner.copy(source.id, slot)
        elif source is not None:
            self._runner.restore(slot, source.data)
        # What another placement could not fill is no source for this one.
        if self._runner.length(slot) >= placement.length and self._runner.cut(slot, placement.length):
            return True
        self._runner.cut(slot, 0)
        self._cache.fail(placement)
        return False

    def candidates(self) -> Iterator[Candidate]:
        """What is worth a file and in none, the best first."""
        return candidates(self._cache)

    def touched(self) -> list[Stored]:
        """Files that would have been of use since the last look, had nobody else held what they hold."""
        return self._cache.touched()

    def archived(self, stored: Stored) -> list[Stored]:
        """Take note of a new file; those that are of no use beside it."""
        return self._cache.archive(stored)

    def state_bytes(self, candidate: Candidate) -> int:
        """About how large the copy would be."""
        holder = candidate.holder
        return len(holder.data) if isinstance(holder, Saved) else self._runner.state_bytes(holder.id)

    def state(self, candidate: Candidate) -> memoryview | None:
        """A copy of what is worth a file; None where it cannot be had at the moment."""
        holder, length = candidate.holder, len(candidate.tokens)
        if isinstance(holder, Saved):
            return holder.data
        whole = self._runner.save(holder.id)
        if whole is None or length == holder.length:
            return whole
        self._runner.cut(holder.id, length)
        part = self._runner.save(holder.id)
        self._runner.restore(holder.id, whole)
        if self._runner.length(holder.id) != holder.length:
            self._runner.cut(holder.id, 0)
            self._cache.forget(holder)
        return part

    def _fetch(self, stored: Stored) -> None:
        assert self._archive is not None, "a file without an archive"
        self._archive.read(stored, lambda data: self._post(lambda: self._cache.arrive(stored, data)))

    def _checkpoint(self, sequence: Sequence) -> None:
        """Save a state from which others, or the next turn, may go on."""
        del sequence.checkpoints[0]
        if (data := self._runner.save(sequence.slot)) is not None:
            self._cache.keep(sequence.tokens[: sequence.computed], data)

    def _read_next(self) -> None:
        """Have a source read, unless one is: for all sequences at once that wait for the same."""
        unready = self._scheduler.unready if not self._reading else ()
        if not unready:
            return
        source = unready[0].source
        assert source is not None, "a sequence that is not ready has a source"
        group = self._reading = [sequence for sequence in unready if sequence.source == source]
        for sequence in group:
            sequence.started_at = time.perf_counter()
        slots = [sequence.slot for sequence in group]
        self._runner.read(source, slots, lambda error: self._post(lambda: self._has_read(group, error)))

    def _has_read(self, group: Items[Sequence], error: BaseException | None) -> None:
        self._reading = []
        if error is not None and not isinstance(error, EngineError):
            raise error
        for sequence in group:
            if sequence.is_finished:
                continue  # aborted meanwhile
            if error is None:
                sequence.is_ready = True
            else:
                self._failures.append(self._fail(sequence, error))
        self._read_next()

    def _postprocess(self, chunk: Chunk, logits: Logits | None) -> Delta | None:
        sequence = chunk.sequence
        if logits is not None and sequence.prompt_logprobs and not sequence.is_decoding:
            self._note_prompt_logprobs(chunk, logits)
        sequence.computed += chunk.count
        if sequence.checkpoints and sequence.computed == sequence.checkpoints[0]:
            self._checkpoint(sequence)
        if logits is None or not chunk.catches_up:
            return None
        if not sequence.first_token_at:
            sequence.first_token_at = time.perf_counter()
        if sequence.max_tokens == 0:
            return self._delta(sequence, "", "length")
        if chunk.draft:
            return self._verify(sequence, chunk.draft, logits)
        text, finish = self._extend(sequence, logits[-1])
        return self._delta(sequence, text, finish) if text or finish else None

    def _verify(self, sequence: Sequence, draft: Items[int], rows: Logits) -> Delta | None:
        """Choose tokens for as long as they are those that were guessed, and the one after them.

        Every token comes from the sequence's sampler and the logits behind the tokens before it, as it does without
        guesses, so these change neither the text nor what is random about it.
        """
        text, finish = self._extend(sequence, rows[0])
        accepted = 0
        while finish is None and accepted < len(draft) and sequence.tokens[-1] == draft[accepted]:
            accepted += 1
            more, finish = self._extend(sequence, rows[accepted])
            text += more
        sequence.computed += accepted
        sequence.drafted += len(draft)
        sequence.accepted += accepted
        self._drafted += len(draft)
        self._accepted += accepted
        if accepted < len(draft):
            self._cut(sequence)
        return self._delta(sequence, text, finish) if text or finish else None

    def _extend(self, sequence: Sequence, logits: Logits) -> tuple[str, FinishReason | None]:
        """Choose the next token; what became certain of the text, and why it ends if it does."""
        matcher = sequence.matcher
        if matcher is None or not matcher.is_awake:
            token = sequence.sampler.sample(logits)
        else:
            token = sequence.sampler.sample(logits, matcher.allowed())
        sequence.sampler.accept((token,))
        sequence.tokens.append(token)
        is_end = token in self._end_tokens or token in sequence.stop_tokens
        if sequence.logprobs is not None:
            entry = token_logprob(self.vocabulary, logits, token, sequence.logprobs)
            sequence.logprob_sum += entry.logprob or 0.0
            if not is_end:  # it is no part of the text
                sequence.pending_logprobs.append(entry)
        if is_end:
            return sequence.detokenizer.finish(), "stop"
        text = sequence.detokenizer.push(self.vocabulary.piece(token, special=token in sequence.shown))
        if sequence.detokenizer.stopped:
            return text, "stop"
        if matcher is not None:
            matcher.accept(token)
            if matcher.is_complete:
                return text + sequence.detokenizer.finish(), "stop"
        if sequence.output_length >= sequence.max_tokens:
            return text + sequence.detokenizer.finish(), "length"
        return text, None

    def _delta(self, sequence: Sequence, text: str, finish: FinishReason | None = None) -> Delta:
        logprobs: list[TokenLogprob] | None = None
        if sequence.logprobs is not None:
            logprobs, sequence.pending_logprobs = sequence.pending_logprobs, []
        if finish is None:
            return Delta(sequence.id, text, logprobs)
        self._finish(sequence, finish)
        return Delta(sequence.id, text, logprobs, sequence.summary())

    def _note_prompt_logprobs(self, chunk: Chunk, rows: Logits) -> None:
        """Row i of a prompt speaks of token i + 1; nothing speaks of the first."""
        sequence, top = chunk.sequence, chunk.sequence.logprobs or 0
        if chunk.start == 0:
            first = sequence.tokens[0]
            sequence.pending_logprobs.append(TokenLogprob(first, self.vocabulary.piece(first, special=True), None, []))
        for row, token in zip(rows, sequence.tokens[chunk.start + 1 : chunk.start + chunk.count + 1], strict=False):
            sequence.pending_logprobs.append(token_logprob(self.vocabulary, row, token, top))

    def _fail(self, sequence: Sequence, error: EngineError) -> Failure:
        # What the KV cache holds after a failed decode is unknown, so the slot is emptied.
        self._empty(sequence)
        self._finish(sequence, "abort")
        return Failure(sequence.id, error)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if sequence.source is not None and sequence.status is Status.RUNNING:
            self._empty(sequence)  # what was written is of no use without the source, which goes with it
        self._scheduler.finish(sequence, reason)
        del self._sequences[sequence.id]

    def _cut(self, sequence: Sequence) -> None:
        """Leave of a sequence what is computed of it."""
        if not self._runner.cut(sequence.slot, sequence.computed):
            raise AssertionError(f"slot {sequence.slot} could not be cut to {sequence.computed} tokens")

    def _empty(self, sequence: Sequence) -> None:
        self._runner.cut(sequence.slot, 0)
        sequence.computed = 0

    def _check_integrity(self) -> None:
        for slot in range(self._cache.count):
            held, known = self._runner.length(slot), self._cache.slots[slot].length
            assert self._cache.slots[slot].is_free, f"slot {slot} is owned, but nothing runs"
            assert held == known, f"slot {slot} holds {held} tokens in the KV cache, {known} were expected"
