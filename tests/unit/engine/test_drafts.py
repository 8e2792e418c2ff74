"""Guesses never change what is said: any draft of any sequence, right or wrong, in any step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.scheduler import Chunk
from localchat.engine.seam import Logits, Matcher
from localchat.engine.sequence import Sequence
from localchat.outputs import Finish, TokenLogprob

from .scripted import END, SIZE, Follow, Greedy, ScriptedContext, babble, replies

N_CTX = 256


class Guesses:
    """Drafts what the model will say, `right` tokens of it, and then something else; now and then nothing."""

    def __init__(self, follow: Follow, random: Random) -> None:
        self._follow = follow
        self._random = random
        self.drafts = 0

    def draft(self, chunks: Items[Chunk], spare: int) -> Items[Chunk]:
        drafted = []
        for chunk in chunks:
            sequence = chunk.sequence
            most = min(spare, N_CTX - len(sequence.tokens), self._random.randrange(7))
            if not sequence.is_decoding or most <= 0:
                drafted.append(chunk)
                continue
            guesses = self._guess(sequence.tokens, most)
            spare -= len(guesses)
            self.drafts += 1
            drafted.append(Chunk(chunk.sequence, chunk.start, chunk.count, guesses))
        return drafted

    def observe(self, expected: float, seconds: float) -> None:
        pass

    def _guess(self, tokens: list[int], most: int) -> tuple[int, ...]:
        right, said = self._random.randrange(most + 1), list(tokens)
        for index in range(most):
            said.append(self._follow(said) if index < right else self._random.randrange(END + 1))
        return tuple(said[len(tokens) :])


class Dice:
    """Draws a token at random, by logits that hang on what it has seen: a second draw, or none, would show."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._seen: list[int] = []

    def sample(self, logits: Logits, allowed: NDArray[np.bool_] | None = None) -> int:
        penalized = logits.copy()
        penalized[self._seen[-5:]] -= 4
        if allowed is not None:
            penalized[~allowed] = -np.inf
        weights = np.exp(penalized)
        return int(self._random.choice(len(weights), p=weights / weights.sum()))

    def accept(self, tokens: Iterable[int]) -> None:
        self._seen.extend(tokens)


class Said:
    """What came of one sequence."""

    def __init__(self) -> None:
        self.text = ""
        self.logprobs: list[TokenLogprob] = []
        self.finish: Finish | None = None


def run(
    context: ScriptedContext,
    prompts: Items[str],
    drafter: Guesses | None = None,
    *,
    max_tokens: int = 40,
    stops: Items[str] = (),
    seed: int | None = None,
    logprobs: int | None = None,
    prompt_logprobs: bool = False,
    matcher: Callable[[], Matcher] | None = None,
) -> tuple[list[tuple[object, ...]], Engine]:
    """Texts, tokens, probabilities, ends and counts of all prompts; the books are checked at the end."""
    engine = Engine(context, budget=context.batch.capacity, outputs=context.outputs, drafter=drafter)
    sequences = [
        Sequence(
            id,
            list(prompt.encode()),
            max_tokens=max_tokens,
            sampler=Greedy() if seed is None else Dice(seed + id),
            detokenizer=Detokenizer(stops),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            matcher=matcher() if matcher else None,
        )
        for id, prompt in enumerate(prompts)
    ]
    said = [Said() for _ in prompts]
    for sequence in sequences:
        engine.submit(sequence)
    while not engine.is_idle:
        deltas, failures = engine.step()
        assert not failures
        for delta in deltas:
            result = said[delta.sequence]
            assert result.finish is None, "a delta after the end"
            assert delta.text or delta.finish, "a delta that says nothing"
            result.text += delta.text
            result.logprobs += delta.logprobs or []
            result.finish = delta.finish
    engine.usage()
    results: list[tuple[object, ...]] = []
    for sequence, result in zip(sequences, said, strict=True):
        assert result.finish is not None
        counts = (result.finish.reason, result.finish.completion_tokens, round(result.finish.logprob_sum, 6))
        results.append((result.text, tuple(sequence.tokens), result.logprobs, *counts))
    return results, engine


def both(follow: Follow, prompts: Items[str], random: Random, **options: object) -> tuple[object, object]:
    """The results without guesses, and with them."""
    plain, _ = run(ScriptedContext(follow, n_ctx=N_CTX), prompts, **options)  # type: ignore[arg-type]
    context = ScriptedContext(follow, n_ctx=N_CTX, capacity=24, outputs=16)
    drafted, _ = run(context, prompts, Guesses(follow, random), **options)  # type: ignore[arg-type]
    return plain, drafted


@given(
    prompts=st.lists(st.text(alphabet="abcdef", min_size=1, max_size=30), min_size=1, max_size=6),
    random=st.randoms(use_true_random=False),
    max_tokens=st.integers(0, 30),
    stops=st.lists(st.text(alphabet="abcdefghij", min_size=1, max_size=3), max_size=2),
    seed=st.none() | st.integers(0, 1000),
    logprobs=st.none() | st.integers(0, 3),
    prompt_logprobs=st.booleans(),
)
def test_any_draft_leaves_everything_as_it_is(
    prompts: list[str],
    random: Random,
    max_tokens: int,
    stops: list[str],
    seed: int | None,
    logprobs: int | None,
    prompt_logprobs: bool,
) -> None:
    plain, drafted = both(
        babble,
        prompts,
        random,
        max_tokens=max_tokens,
        stops=stops,
        seed=seed,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs and logprobs is not None,
    )
    assert drafted == plain


class Letters:
    """A grammar: `length` letters, no two alike in a row; it may end before."""

    is_awake = True

    def __init__(self, length: int, letters: str) -> None:
        self._left = length
        self._letters = [ord(letter) for letter in letters]
        self._last = END
        self.is_prepared = False

    @property
    def is_complete(self) -> bool:
        return self._left == 0

    def prepare(self) -> None:
        self.is_prepared = True

    def allowed(self) -> NDArray[np.bool_]:
        assert not self.is_complete, "asked after the end"
        mask = np.zeros(SIZE, np.bool_)
        mask[[*self._letters, END]] = True
        mask[self._last] = self._last == END
        return mask

    def accept(self, token: int) -> None:
        assert self.allowed()[token], f"token {token} is not allowed"
        self._left, self._last, self.is_prepared = self._left - 1, token, False


@given(
    prompts=st.lists(st.text(alphabet="abcdef", min_size=1, max_size=30), min_size=1, max_size=6),
    random=st.randoms(use_true_random=False),
    length=st.integers(1, 40),
    letters=st.sampled_from(["ab", "abcdefghijklmnopqrstuvwxyz"]),
    seed=st.none() | st.integers(0, 1000),
    logprobs=st.none() | st.integers(0, 3),
    stops=st.lists(st.text(alphabet="abcdefghij", min_size=1, max_size=3), max_size=2),
)
def test_any_draft_leaves_what_a_grammar_allows_as_it_is(
    prompts: list[str],
    random: Random,
    length: int,
    letters: str,
    seed: int | None,
    logprobs: int | None,
    stops: list[str],
) -> None:
    options = {"max_tokens": 30, "seed": seed, "logprobs": logprobs, "stops": stops}
    plain, drafted = both(babble, prompts, random, matcher=lambda: Letters(length, letters), **options)
    assert drafted == plain
    for text, tokens, _, reason, *_counts in plain:  # type: ignore[attr-defined]
        assert set(text) <= set(letters)
        assert not any(one == next for one, next in itertools.pairwise(text))
        assert len(text) <= length
        assert tokens
        assert reason in ("stop", "length")


@given(random=st.randoms(use_true_random=False), reply=st.text(max_size=30), stops=st.sampled_from([(), ("##",)]))
def test_end_token_and_split_characters_within_a_draft(random: Random, reply: str, stops: tuple[str, ...]) -> None:
    plain, drafted = both(replies({"Hi": reply}), ["Hi", "Hi"], random, max_tokens=200, stops=stops)
    assert drafted == plain


def test_right_guesses_save_steps_and_are_counted() -> None:
    class Oracle(Guesses):
        def _guess(self, tokens: list[int], most: int) -> tuple[int, ...]:
            said = list(tokens)
            for _ in range(most):
                said.append(babble(said))
            return tuple(said[len(tokens) :])

    plain, drafted = ScriptedContext(babble), ScriptedContext(babble)
    run(plain, ["Hi"])
    _, engine = run(drafted, ["Hi"], Oracle(babble, Random(1)))
    usage = engine.usage()
    assert usage.drafted >= usage.accepted == len(plain.steps) - len(drafted.steps) > 20


def test_memory_that_cannot_be_cut_gets_no_drafts() -> None:
    guesses = Guesses(babble, Random(1))
    run(ScriptedContext(babble, can_cut=False), ["Hi"], guesses)
    assert guesses.drafts == 0


@pytest.mark.parametrize("outputs", [4, 5, 9])
def test_drafts_keep_within_the_rows_of_logits(outputs: int) -> None:
    context = ScriptedContext(babble, outputs=outputs)  # which asserts it
    guesses = Guesses(babble, Random(3))
    run(context, ["one", "two", "three", "four", "five"], guesses)
    assert (guesses.drafts > 0) == (outputs > 4)
