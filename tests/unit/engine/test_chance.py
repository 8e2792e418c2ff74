"""Guesses leave chance alone: the same seed says the same, and other seeds say everything as often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Items
from dataclasses import replace
from random import Random
from typing import cast

import numpy as np
import pytest

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine
from localchat.engine.scheduler import Drafter
from localchat.engine.seam import Logits
from localchat.engine.sequence import Sequence
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary
from localchat.sampling_params import SamplingParams

from .scripted import SIZE, ScriptedContext
from .test_drafts import Guesses

LETTERS = list(b"abcdef")
PARAMS = {
    "temperature": SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0),
    "top_k": SamplingParams(temperature=1.5, top_k=3, top_p=1.0),
    "top_p": SamplingParams(temperature=1.0, top_k=0, top_p=0.7),
    "min_p": SamplingParams(temperature=1.2, top_k=0, top_p=1.0, min_p=0.2),
    "penalties": SamplingParams(repeat_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5, top_k=5),
    "mirostat": SamplingParams(mirostat=1, mirostat_tau=1.5, mirostat_eta=0.3),
    "mirostat 2": SamplingParams(mirostat=2, mirostat_tau=1.5, mirostat_eta=0.3),
    "dynamic temperature": SamplingParams(dynatemp_range=0.5, top_k=0),
    "xtc": SamplingParams(xtc_probability=0.5, xtc_threshold=0.1, top_k=0),
}


class Loaded(ScriptedContext):
    """Has several likely letters after every two tokens, others after other two."""

    def row(self, tokens: Items[int]) -> Logits:
        logits = np.full(SIZE, -20.0, np.float32)
        logits[LETTERS] = np.random.default_rng(list(tokens[-2:])).normal(0, 1.3, len(LETTERS))
        return logits


def likeliest(tokens: Items[int]) -> int:
    """What a guess is made of."""
    return int(Loaded(lambda _: 0).row(tokens).argmax())


def write(params: SamplingParams, seeds: range, drafter: Drafter | None, length: int) -> tuple[list[str], Engine]:
    """A text of so many tokens for each seed."""
    context = Loaded(lambda _: 0, parallel=4, outputs=24)
    engine = Engine(context, budget=64, outputs=24, drafter=drafter)
    texts = dict.fromkeys(seeds, "")
    vocabulary = cast(Vocabulary, context.vocabulary)
    for seed in seeds:
        sampler = Sampler(replace(params, seed=seed), vocabulary, 256)
        prompt = list(b"ab")
        sampler.accept(prompt)
        engine.submit(Sequence(seed, prompt, max_tokens=length, sampler=sampler, detokenizer=Detokenizer()))
    while not engine.is_idle:
        for delta in engine.step()[0]:
            texts[delta.sequence] += delta.text
    return list(texts.values()), engine


@pytest.mark.parametrize("name", PARAMS)
def test_seed_says_the_same(name: str) -> None:
    plain, _ = write(PARAMS[name], range(40), None, 24)
    drafted, engine = write(PARAMS[name], range(40), Guesses(likeliest, Random(1)), 24)
    assert drafted == plain
    assert len(set(plain)) > 5
    assert engine.usage().drafted > engine.usage().accepted > 50


@pytest.mark.parametrize("name", ["temperature", "top_p", "penalties", "mirostat 2"])
def test_every_text_comes_as_often(name: str) -> None:
    """Two samples of the same distribution: their chi-squared is about the number of different texts."""
    count = 700
    plain = Counter(write(PARAMS[name], range(count), None, 3)[0])
    texts, engine = write(PARAMS[name], range(count, 2 * count), Guesses(likeliest, Random(2)), 3)
    drafted = Counter(texts)
    assert engine.usage().accepted > 50
    common = [text for text in plain | drafted if plain[text] + drafted[text] >= 10]
    squared = sum((plain[text] - drafted[text]) ** 2 / (plain[text] + drafted[text]) for text in common)
    assert len(common) > 5
    assert squared < len(common) + 3.5 * (2 * len(common)) ** 0.5
