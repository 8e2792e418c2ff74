"""The loop: what comes out for what goes in, and that nothing stays behind."""

from __future__ import annotations

import math
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.cost_model import CostModel
from localchat.engine.detokenizer import Detokenizer
from localchat.engine.engine import Engine, Failure, Usage
from localchat.engine.logprobs import token_logprob
from localchat.engine.sequence import Sequence
from localchat.lane import Lane
from localchat.outputs import Finish, TokenLogprob

from .scripted import END, LIKELY, SIZE, Greedy, ScriptedContext, babble, replies

LIKELY_LOGPROB = LIKELY - math.log(math.exp(LIKELY) + SIZE - 1)
OTHER_LOGPROB = LIKELY_LOGPROB - LIKELY


@dataclass
class Result:
    """All that was said of one sequence."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None
    failure: Failure | None = None

    @property
    def reason(self) -> str:
        assert self.finish is not None
        return self.finish.reason


class Driver:
    """An engine over a script, and what has come out of it."""

    def __init__(
        self,
        context: ScriptedContext,
        *,
        outputs: int | None = None,
        saved_bytes: int = 0,
        cost_model: CostModel | None = None,
    ) -> None:
        self.context = context
        self.engine = Engine(
            context, budget=context.batch.capacity, outputs=outputs, saved_bytes=saved_bytes, cost_model=cost_model
        )
        self.results: dict[int, Result] = {}

    def submit(
        self,
        id: int,
        prompt: str,
        *,
        max_tokens: int = 1000,
        stops: Items[str] = (),
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
    ) -> Sequence:
        sequence = Sequence(
            id,
            list(prompt.encode()),
            max_tokens=min(max_tokens, self.context.n_ctx - len(prompt.encode())),
            sampler=Greedy(),
            detokenizer=Detokenizer(stops),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
        )
        self.results[id] = Result()
        self.engine.submit(sequence)
        return sequence

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            deltas, failures = self.engine.step()
            for delta in deltas:
                result = self.results[delta.sequence]
                assert result.finish is None, "a delta after the end"
                result.text += delta.text
                result.logprobs += delta.logprobs or []
                result.finish = delta.finish
            for failure in failures:
                self.results[failure.sequence].failure = failure

    def run(self) -> dict[int, Result]:
        """Step until nothing is left, then look whether the KV cache agrees with the books."""
        while not self.engine.is_idle:
            self.step()
        self.engine.usage()
        return self.results


def ask(driver: Driver, prompt: str, *, max_tokens: int = 1000) -> Result:
    """One sequence, from prompt to end."""
    id = len(driver.results) + 1
    driver.submit(id, prompt, max_tokens=max_tokens)
    return driver.run()[id]


# How a sequence ends.


def test_end_token_stops_and_is_no_part_of_the_text() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello!"})))
    driver.submit(1, "Hi")
    result = driver.run()[1]
    assert (result.text, result.reason) == ("Hello!", "stop")


def test_end_token_releases_what_was_held_back() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello#"})))
    driver.submit(1, "Hi", stops=["##"])
    result = driver.run()[1]
    assert (result.text, result.reason) == ("Hello#", "stop")


def test_stop_token_stops_and_is_no_part_of_the_text() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello#World"})))
    driver.submit(1, "Hi").stop_tokens = frozenset(b"#")
    result = driver.run()[1]
    assert (result.text, result.reason) == ("Hello", "stop")


def test_stop_string_stops_and_is_cut_off() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello\nUser: never said"})))
    driver.submit(1, "Hi", stops=["\nUser:"])
    result = driver.run()[1]
    assert (result.text, result.reason) == ("Hello", "stop")
    assert result.finish is not None
    assert result.finish.completion_tokens == len("Hello\nUser:")


def test_max_tokens_ends_by_length() -> None:
    driver = Driver(ScriptedContext(babble))
    result = ask(driver, "Hi", max_tokens=7)
    assert (len(result.text), result.reason) == (7, "length")


def test_max_tokens_releases_what_was_held_back() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello##"})))
    driver.submit(1, "Hi", max_tokens=6, stops=["##"])
    result = driver.run()[1]
    assert (result.text, result.reason) == ("Hello#", "length")


def test_text_that_ends_at_max_tokens_has_still_ended_by_itself() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "abc"})))
    assert ask(driver, "Hi", max_tokens=3).reason == "length"
    assert ask(driver, "Hi", max_tokens=4).reason == "stop"


def test_full_context_ends_by_length() -> None:
    driver = Driver(ScriptedContext(babble, n_ctx=32))
    result = ask(driver, "0123456789")
    assert (len(result.text), result.reason) == (22, "length")
    assert max(driver.context.length(slot) for slot in range(4)) == 31  # the last token is said, not computed


@pytest.mark.parametrize("length", [5, 150])
def test_no_tokens_wanted_reads_the_prompt_and_ends(length: int) -> None:
    driver = Driver(ScriptedContext(babble))
    result = ask(driver, "p" * length, max_tokens=0)
    assert (result.text, result.reason) == ("", "length")
    assert result.finish is not None
    assert (result.finish.prompt_tokens, result.finish.completion_tokens) == (length, 0)


def test_prompt_that_fills_the_context_can_be_read() -> None:
    driver = Driver(ScriptedContext(babble, n_ctx=32))
    assert ask(driver, "p" * 32, max_tokens=0).reason == "length"


def test_character_of_several_tokens_comes_whole() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "so 👩‍🚀!"})))
    driver.submit(1, "Hi")
    pieces: list[str] = []
    while not driver.engine.is_idle:
        deltas, _ = driver.engine.step()
        pieces += [delta.text for delta in deltas]
    assert pieces == ["s", "o", " ", "👩", "\u200d", "🚀", "!", ""]


def test_summary_counts_tokens_and_times() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "Hello!"})))
    finish = ask(driver, "Hi").finish
    assert finish is not None
    assert (finish.prompt_tokens, finish.cached_tokens, finish.completion_tokens) == (2, 0, 7)
    assert min(finish.queue_time, finish.prompt_time, finish.decode_time) >= 0
    assert finish.logprob_sum == 0.0


def test_sampler_is_told_of_every_token_chosen() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "abc"})))
    sequence = driver.submit(1, "Hi")
    driver.run()
    assert isinstance(sequence.sampler, Greedy)
    assert sequence.sampler.seen == [*b"abc", END]


# Several at once.


@given(
    prompts=st.lists(st.text(alphabet="abcdef", min_size=1, max_size=50), min_size=1, max_size=9),
    gaps=st.lists(st.integers(0, 4), min_size=9, max_size=9),
    parallel=st.integers(1, 4),
    extra=st.integers(0, 20),
)
def test_each_says_the_same_in_company_as_alone(prompts: list[str], gaps: list[int], parallel: int, extra: int) -> None:
    alone = [ask(Driver(ScriptedContext(babble)), prompt, max_tokens=6).text for prompt in prompts]
    together = Driver(ScriptedContext(babble, parallel=parallel, capacity=parallel + extra))
    for id, (prompt, gap) in enumerate(zip(prompts, gaps, strict=False)):
        together.submit(id, prompt, max_tokens=6)
        for _ in range(gap):
            if not together.engine.is_idle:
                together.step()
    results = together.run()
    assert [results[id].text for id in range(len(prompts))] == alone


def test_slots_with_a_gap_between_them_are_decoded_in_one_pass() -> None:
    context = ScriptedContext(babble)
    driver = Driver(context, cost_model=CostModel(DEAR_PASSES))
    for id, prompt in enumerate(("abc", "defg", "hi")):
        driver.submit(id, prompt, max_tokens=9)
    driver.step()
    driver.engine.abort(1)
    driver.step()
    assert context.steps[-1] == [(0, 3, 1), (1, 4, 1), (2, 2, 1)]
    assert len(context.kv[1]) == 4
    driver.run()


def test_every_decoding_sequence_gets_a_token_each_step_while_a_long_prompt_is_read() -> None:
    driver = Driver(ScriptedContext(babble, capacity=16))
    driver.submit(1, "one")
    driver.submit(2, "two")
    driver.step()
    driver.submit(3, "p" * 100)
    for _ in range(7):
        before = [len(driver.results[id].text) for id in (1, 2)]
        driver.step()
        assert [len(driver.results[id].text) for id in (1, 2)] == [count + 1 for count in before]
        assert driver.results[3].text == ""
    driver.step()
    assert len(driver.results[3].text) == 1


@pytest.mark.parametrize("outputs", [3, 4, 20])
def test_rows_of_logits_are_enough_however_few(outputs: int) -> None:
    driver = Driver(ScriptedContext(babble, parallel=3, capacity=32, outputs=outputs), outputs=outputs)
    for id in range(6):
        driver.submit(id, f"prompt number {id}", max_tokens=3, logprobs=0, prompt_logprobs=id % 3 != 0)
    steps = 0
    while not driver.engine.is_idle:
        driver.step()
        steps += 1
        assert steps < 200, "no progress"
    assert [len(driver.results[id].logprobs) for id in range(6)] == [3, 18, 18] * 2


def test_abort_of_a_prompt_that_waits_for_rows_of_logits_leaves_the_books_right() -> None:
    driver = Driver(ScriptedContext(babble, parallel=2, capacity=32, outputs=6), outputs=6)
    driver.submit(1, "old words", max_tokens=2)
    driver.submit(2, "more old words", max_tokens=2)
    driver.run()
    driver.submit(3, "a long new prompt", logprobs=0, prompt_logprobs=True)
    driver.submit(4, "a long new prompt", logprobs=0, prompt_logprobs=True)
    driver.step()
    driver.engine.abort(4)
    driver.engine.abort(3)
    driver.engine.usage()


# The cache.


def test_shared_prefix_is_cached_to_the_token() -> None:
    driver = Driver(ScriptedContext(babble))
    system = "You are a helpful assistant. "
    first = ask(driver, system + "Who?", max_tokens=5)
    second = ask(driver, system + "Where?", max_tokens=5)
    assert first.finish is not None
    assert second.finish is not None
    assert first.finish.cached_tokens == 0
    assert second.finish.cached_tokens == len(system) + len("Wh")


def test_next_turn_finds_prompt_and_answer_in_the_cache() -> None:
    driver = Driver(ScriptedContext(babble))
    prompt = "User: what is the time? Bot:"
    answer = ask(driver, prompt, max_tokens=10).text
    finish = ask(driver, prompt + answer + " User: thanks. Bot:", max_tokens=3).finish
    assert finish is not None
    assert finish.cached_tokens == len(prompt) + len(answer) - 1  # the last token was said, not computed


def test_same_prompt_again_computes_its_last_token_only() -> None:
    driver = Driver(ScriptedContext(babble))
    prompt = "The same words, one more time"
    ask(driver, prompt, max_tokens=1)
    finish = ask(driver, prompt, max_tokens=1).finish
    assert finish is not None
    assert finish.cached_tokens == len(prompt) - 1
    assert driver.context.steps[-1] == [(0, len(prompt) - 1, 1)]


@given(
    prompts=st.lists(
        st.tuples(st.sampled_from(["", "x" * 20, "x" * 20 + "y" * 20]), st.text(alphabet="xyz", min_size=1)),
        min_size=1,
        max_size=8,
    ),
    can_cut=st.booleans(),
)
def test_reuse_never_changes_the_text(prompts: list[tuple[str, str]], can_cut: bool) -> None:
    driver = Driver(ScriptedContext(babble, parallel=2, can_cut=can_cut))
    for head, tail in prompts:
        prompt = (head + tail)[:200]
        fresh = ask(Driver(ScriptedContext(babble)), prompt, max_tokens=8)
        assert ask(driver, prompt, max_tokens=8).text == fresh.text


DEAR_PASSES = ((1, 0.011), (4, 0.017), (128, 0.3))
"""Another pass costs more than some rows, so gaps between slots are filled."""
HEADS = ("", "x" * 70, "x" * 70 + "y" * 80, "x" * 70 + "z" * 300, "w" * 400)


@given(
    prompts=st.lists(
        st.tuples(st.sampled_from(HEADS), st.text(alphabet="xyzw", min_size=1, max_size=9), st.integers(0, 6)),
        min_size=1,
        max_size=12,
    ),
    parallel=st.integers(1, 4),
    can_cut=st.booleans(),
    saved_bytes=st.sampled_from([0, 2000, 100_000]),
    stairs=st.sampled_from([(), DEAR_PASSES]),
    aborted=st.sets(st.integers(0, 11), max_size=3),
    refusals=st.integers(0, 2),
)
def test_whatever_is_copied_saved_and_restored_each_says_the_same_as_alone(
    prompts: list[tuple[str, str, int]],
    parallel: int,
    can_cut: bool,
    saved_bytes: int,
    stairs: Items[tuple[int, float]],
    aborted: set[int],
    refusals: int,
) -> None:
    context = ScriptedContext(babble, n_ctx=512, parallel=parallel, capacity=128, can_cut=can_cut)
    driver = Driver(context, saved_bytes=saved_bytes, cost_model=CostModel(stairs))
    context.refusals = refusals
    for id, (head, tail, gap) in enumerate(prompts):
        driver.submit(id, head + tail, max_tokens=4)
        for _ in range(gap):
            if not driver.engine.is_idle:
                driver.step()
        if id in aborted:
            driver.engine.abort(id)
    results = driver.run()
    for id, (head, tail, _) in enumerate(prompts):
        if id not in aborted:
            alone = ask(Driver(ScriptedContext(babble, n_ctx=512)), head + tail, max_tokens=4)
            assert results[id].text == alone.text
    driver.engine.usage()


def test_prefix_that_arrives_many_times_at_once_is_computed_once() -> None:
    driver = Driver(ScriptedContext(babble, parallel=4, n_ctx=512, capacity=256))
    system = "s" * 200
    for id in range(4):
        driver.submit(id, f"{system}question {id}", max_tokens=2)
    results = driver.run()
    assert [results[id].finish.cached_tokens for id in range(4)] == [0, 209, 209, 209]  # type: ignore[union-attr]
    assert sum(count for step in driver.context.steps[:2] for *_, count in step) == 210 + 1 + 3


def test_second_user_of_a_system_prompt_leaves_the_first_ones_conversation_alone() -> None:
    driver = Driver(ScriptedContext(babble, parallel=2, n_ctx=512, capacity=256))
    system = "s" * 100
    first = system + "and now something else. " * 8
    ask(driver, first, max_tokens=2)
    assert ask(driver, system + "Hello!", max_tokens=2).finish.cached_tokens == 100  # type: ignore[union-attr]
    again = ask(driver, first + "!", max_tokens=2)
    assert again.finish is not None
    assert again.finish.cached_tokens == len(first)


def test_conversation_that_lost_its_slot_is_restored() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1, n_ctx=512, capacity=512), saved_bytes=100_000)
    first, other = "a" * 300, "b" * 300
    ask(driver, first, max_tokens=2)
    ask(driver, other, max_tokens=2)
    again = ask(driver, first + "?", max_tokens=2)
    assert again.finish is not None
    assert again.finish.cached_tokens == 300
    assert again.text == ask(Driver(ScriptedContext(babble, n_ctx=512)), first + "?", max_tokens=2).text


def test_state_that_is_refused_is_computed_again() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1, n_ctx=512, capacity=512), saved_bytes=100_000)
    first, other = "a" * 300, "b" * 300
    ask(driver, first, max_tokens=2)
    ask(driver, other, max_tokens=2)
    driver.context.refusals = 1
    again = ask(driver, first + "?", max_tokens=2)
    assert again.finish is not None
    assert again.finish.cached_tokens == 0
    assert again.text == ask(Driver(ScriptedContext(babble, n_ctx=512)), first + "?", max_tokens=2).text


def test_memory_that_cannot_be_cut_is_continued() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1, can_cut=False))
    prompt = "A model with a state, not a cache."
    answer = ask(driver, prompt, max_tokens=4).text
    goes_on = ask(driver, prompt + answer + " Go on.", max_tokens=4)
    assert goes_on.finish is not None
    assert goes_on.finish.cached_tokens == len(prompt) + 3
    starts_over = ask(driver, prompt, max_tokens=4)
    assert starts_over.finish is not None
    assert (starts_over.finish.cached_tokens, starts_over.text) == (0, answer)


# Aborts.


@pytest.mark.parametrize(("steps", "cached"), [(1, 16), (9, 102)], ids=["prefilling", "decoding"])
def test_abort_frees_slot_and_cache_at_once(steps: int, cached: int) -> None:
    driver = Driver(ScriptedContext(babble, parallel=1, capacity=16))
    driver.submit(1, "p" * 100)
    driver.step(steps)
    assert driver.engine.usage() == Usage(running=1, waiting=0, kv_tokens_running=cached, kv_tokens_cached=0)
    driver.engine.abort(1)
    assert driver.engine.usage() == Usage(running=0, waiting=0, kv_tokens_running=0, kv_tokens_cached=cached)
    assert driver.engine.load(Lane.INTERACTIVE, "") == 0
    assert driver.engine.is_idle
    assert driver.results[1].finish is None  # nobody listens any more


def test_abort_while_queued_leaves_the_others_alone() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1))
    for id, prompt in enumerate(["first", "second", "third"], start=1):
        driver.submit(id, prompt, max_tokens=4)
    driver.step()
    driver.engine.abort(2)
    assert driver.engine.usage() == Usage(running=1, waiting=1, kv_tokens_running=5, kv_tokens_cached=0)
    results = driver.run()
    assert [results[id].text != "" for id in (1, 2, 3)] == [True, False, True]


def test_slot_of_an_aborted_sequence_is_taken_in_the_next_step() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1))
    driver.submit(1, "first")
    driver.submit(2, "second", max_tokens=3)
    driver.step(3)
    driver.engine.abort(1)
    driver.step()
    assert driver.context.steps[-1] == [(0, 0, 6)]
    assert driver.run()[2].text == ask(Driver(ScriptedContext(babble)), "second", max_tokens=3).text


def test_abort_of_one_that_has_ended_or_never_was_changes_nothing() -> None:
    driver = Driver(ScriptedContext(babble))
    ask(driver, "over", max_tokens=2)
    before = driver.engine.usage()
    driver.engine.abort(1)
    driver.engine.abort(99)
    assert driver.engine.usage() == before


# Failures.


def test_failed_decode_ends_those_it_computed_and_only_those() -> None:
    driver = Driver(ScriptedContext(babble, parallel=2))
    for id in (1, 2, 3):
        driver.submit(id, f"prompt {id}", max_tokens=4)
    driver.step(2)
    driver.context.fail_next()
    results = driver.run()
    failures = [results[id].failure for id in (1, 2)]
    assert all(failure is not None and "llama_decode returned -3" in str(failure.error) for failure in failures)
    assert results[3].failure is None
    assert results[3].text == ask(Driver(ScriptedContext(babble)), "prompt 3", max_tokens=4).text


def test_prompt_that_waits_for_budget_survives_a_failure() -> None:
    driver = Driver(ScriptedContext(babble, parallel=3, capacity=8))
    for id in (1, 2, 3):
        driver.submit(id, "12345678", max_tokens=4)
    driver.context.fail_next()
    results = driver.run()
    assert [results[id].failure is not None for id in (1, 2, 3)] == [True, False, False]
    assert results[2].text == results[3].text != ""


def test_slot_of_a_failed_sequence_is_emptied() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1))
    ask(driver, "a prompt of more than sixteen tokens", max_tokens=2)
    driver.submit(2, "a prompt of more than sixteen tokens", max_tokens=2)
    driver.context.fail_next()
    driver.step()
    assert driver.results[2].failure is not None
    assert driver.engine.usage() == Usage(running=0, waiting=0, kv_tokens_running=0, kv_tokens_cached=0)
    assert driver.engine.load(Lane.INTERACTIVE, "") == 0


def test_request_after_a_failure_works() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1))
    driver.context.fail_next()
    assert ask(driver, "try", max_tokens=5).failure is not None
    again = ask(driver, "try", max_tokens=5)
    assert again.text == ask(Driver(ScriptedContext(babble)), "try", max_tokens=5).text
    assert again.finish is not None
    assert again.finish.cached_tokens == 0


# The books.


def test_cache_that_disagrees_with_the_slots_is_noticed_when_idle() -> None:
    driver = Driver(ScriptedContext(babble))
    ask(driver, "some words", max_tokens=3)
    driver.context.kv[0].append(1)
    with pytest.raises(AssertionError, match="slot 0 holds 13 tokens in the KV cache, 12 were expected"):
        driver.engine.usage()


def test_cached_tokens_are_those_of_all_slots_that_ended() -> None:
    driver = Driver(ScriptedContext(babble))
    driver.submit(1, "12345", max_tokens=3)
    driver.submit(2, "1234567", max_tokens=1)
    driver.run()
    assert driver.engine.usage() == Usage(running=0, waiting=0, kv_tokens_running=0, kv_tokens_cached=7 + 7)


def test_load_counts_running_and_waiting() -> None:
    driver = Driver(ScriptedContext(babble, parallel=1))
    for id in (1, 2, 3):
        driver.submit(id, "words", max_tokens=2)
    driver.step()
    assert driver.engine.load(Lane.INTERACTIVE, "") == 3
    driver.run()
    assert driver.engine.load(Lane.INTERACTIVE, "") == 0


# Log-probabilities.


def test_each_token_of_the_text_has_its_logprob() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "abc"})))
    driver.submit(1, "Hi", logprobs=2)
    result = driver.run()[1]
    assert [entry.piece for entry in result.logprobs] == [b"a", b"b", b"c"]  # the end is no part of the text
    for entry in result.logprobs:
        assert entry.logprob == pytest.approx(LIKELY_LOGPROB)
        assert [alternative.logprob for alternative in entry.top] == pytest.approx([LIKELY_LOGPROB, OTHER_LOGPROB])
        assert entry.top[0].token == entry.token
    assert result.finish is not None
    assert result.finish.logprob_sum == pytest.approx(4 * LIKELY_LOGPROB)


def test_logprobs_without_alternatives() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "abc"})))
    driver.submit(1, "Hi", logprobs=0)
    assert [entry.top for entry in driver.run()[1].logprobs] == [[], [], []]


def test_no_logprobs_unless_wanted() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "abc"})))
    driver.submit(1, "Hi")
    while not driver.engine.is_idle:
        deltas, _ = driver.engine.step()
        assert all(delta.logprobs is None for delta in deltas)


def test_logprobs_of_held_text_come_with_the_text() -> None:
    driver = Driver(ScriptedContext(replies({"Hi": "ab¢"})))
    driver.submit(1, "Hi", stops=["abx"], logprobs=0)
    batches: list[tuple[str, int]] = []
    while not driver.engine.is_idle:
        deltas, _ = driver.engine.step()
        batches += [(delta.text, len(delta.logprobs or ())) for delta in deltas]
    assert batches == [("ab¢", 4), ("", 0)]


@pytest.mark.parametrize("length", [1, 5, 64, 65, 150])
def test_prompt_logprobs_cover_the_prompt(length: int) -> None:
    prompt = "".join(chr(ord("a") + i % 7) for i in range(length))
    driver = Driver(ScriptedContext(babble, capacity=100))
    driver.submit(1, prompt, max_tokens=2, logprobs=1, prompt_logprobs=True)
    entries = driver.run()[1].logprobs
    text = prompt + driver.results[1].text
    assert b"".join(entry.piece for entry in entries) == text.encode()
    assert (entries[0].logprob, entries[0].top) == (None, [])
    for at, entry in enumerate(entries[1:], start=1):
        likely = babble(text[:at].encode())
        assert entry.top[0].token == likely
        assert entry.logprob == pytest.approx(LIKELY_LOGPROB if entry.token == likely else OTHER_LOGPROB)


def test_prompt_logprobs_come_even_if_no_token_is_wanted() -> None:
    driver = Driver(ScriptedContext(babble))
    driver.submit(1, "prompt", max_tokens=0, logprobs=0, prompt_logprobs=True)
    result = driver.run()[1]
    assert [entry.piece for entry in result.logprobs] == [b"p", b"r", b"o", b"m", b"p", b"t"]
    assert result.reason == "length"


def test_prompt_logprobs_are_computed_although_the_prompt_is_cached() -> None:
    driver = Driver(ScriptedContext(babble))
    prompt = "a prompt of more than sixteen tokens"
    ask(driver, prompt, max_tokens=1)
    driver.submit(2, prompt, max_tokens=1, logprobs=0, prompt_logprobs=True)
    result = driver.run()[2]
    assert len(result.logprobs) == len(prompt) + 1
    assert result.finish is not None
    assert result.finish.cached_tokens == 0


def test_logprobs_of_a_row_add_up_to_one() -> None:
    context = ScriptedContext(babble)
    entry = token_logprob(context.vocabulary, context.row([1, 2, 3]), 5, SIZE)
    assert math.fsum(math.exp(alternative.logprob) for alternative in entry.top) == pytest.approx(1)
    assert [a.logprob for a in entry.top] == sorted((a.logprob for a in entry.top), reverse=True)
