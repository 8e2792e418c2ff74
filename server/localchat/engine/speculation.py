"""Decides how many tokens are guessed ahead, of which sequences: as many as pay for their rows."""

from __future__ import annotations

from collections.abc import Sequence as Items

from localchat.engine.cost_model import CostModel
from localchat.engine.ngram import Lookup
from localchat.engine.scheduler import Chunk
from localchat.engine.sequence import Sequence

MOST = 15
"""Guesses of one sequence in one step."""
WORTH = 1.05
"""A step with guesses must promise so many times the tokens per second of one without: measured costs are not exact."""
_LEAST_CHANCE = 0.1
_READ = 2048
"""Tokens of a prompt that are indexed between two steps; more would be noticed."""


class Speculation:
    """Guesses by looking up what followed the same words before.

    A guess costs rows, and these slow down everyone who shares the step. So the likeliest guesses of all sequences come
    first, and as many are taken as give the step most tokens per second. Where the next rows are nearly free, by the
    steps that were measured on this machine, little is enough; where every row counts, only what is all but certain.
    """

    def __init__(self, cost_model: CostModel) -> None:
        self._cost_model = cost_model

    def draft(self, chunks: Items[Chunk], spare: int) -> Items[Chunk]:
        """The chunks, some of those that decode with a draft; at most `spare` tokens of drafts in all."""
        rows = kv_tokens = 0
        lookups: list[tuple[int, Lookup]] = []
        for index, chunk in enumerate(chunks):
            rows += chunk.count
            kv_tokens += chunk.count * (chunk.start + chunk.count)
            sequence = chunk.sequence
            if sequence.is_decoding and chunk.catches_up:
                lookup = _lookup(sequence)
                if lookup.has_guess:
                    lookups.append((index, lookup))
        if not lookups or not self._cost_model.is_measured:
            return chunks
        chances = [
            (chance, index)
            for index, lookup in lookups
            for chance in lookup.chances(min(MOST, spare, _room(chunks[index].sequence)))
            if chance >= _LEAST_CHANCE
        ]
        chances.sort(reverse=True)
        count = self._affordable(chances[:spare], len(chunks), rows, kv_tokens)
        if not count:
            return chunks
        lengths = dict.fromkeys((index for _, index in chances[:count]), 0)
        for _, index in chances[:count]:
            lengths[index] += 1
        drafted = list(chunks)
        for index, lookup in lookups:
            if length := lengths.get(index):
                chunk = chunks[index]
                drafted[index] = Chunk(chunk.sequence, chunk.start, chunk.count, lookup.guess(length))
        return drafted

    def _affordable(self, chances: Items[tuple[float, int]], streams: int, rows: int, kv_tokens: int) -> int:
        """How many of these guesses, the likeliest first, make the most of a step that gives each stream a token."""
        seconds = self._cost_model.step_seconds
        each = kv_tokens // rows
        best, count = streams / seconds(rows, kv_tokens) * WORTH, 0
        tokens = float(streams)
        for added, (chance, _) in enumerate(chances, start=1):
            tokens += chance
            rate = tokens / seconds(rows + added, kv_tokens + added * each)
            if rate > best:
                best, count = rate, added
        return count


def _lookup(sequence: Sequence) -> Lookup:
    """A sequence's index, up to date but for the rest of a long prompt."""
    lookup = sequence.lookup
    if lookup is None:
        lookup = sequence.lookup = Lookup(sequence.prediction)
    known, tokens = len(lookup), sequence.tokens
    if known < sequence.prompt_length:
        lookup.read(tokens[known : min(sequence.prompt_length, known + _READ)])
        known = len(lookup)
        if known < sequence.prompt_length:
            return lookup
    if known == len(tokens) - 1:
        lookup.push(tokens[known])
    else:
        for token in tokens[known:]:
            lookup.push(token)
    return lookup


def _room(sequence: Sequence) -> int:
    """Guesses that may be of use: the token after them has to fit as well."""
    return sequence.max_tokens - sequence.output_length - 1
