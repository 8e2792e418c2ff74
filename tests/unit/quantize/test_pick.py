"""The choice between quants, on figures alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.registry import Measured
from localchat_quantize.pick import GIB, MIB, Candidate, bounds, explain, pick

GOOD = 0.01
ROUGH = 0.5


def candidate(
    format: str, gib: float | None, kl: float | None, speed: float | None = 10.0, obstacle: str | None = None
) -> Candidate:
    ram = None if gib is None else int(gib * GIB)
    measured = Measured(
        size=ram or 1, bits_per_weight=4, perplexity=20, kl_mean=kl, decode_speed=speed, peak_rss=ram, reference="F16"
    )
    return Candidate(format=format, measured=measured, obstacle=obstacle)


F16 = candidate("F16", 8, None, 2)
Q8 = candidate("Q8_0", 4, GOOD, 5)
Q4 = candidate("Q4_0", 2, 0.05, 10)
Q2 = candidate("Q2_K", 1, ROUGH, 12)
ALL = (F16, Q8, Q4, Q2)


def chosen(*candidates: Candidate, ram: float = 100, kl: float | None = None, speed: float | None = None) -> str | None:
    found = pick(candidates, bounds(int(ram * GIB), kl, speed)).chosen
    return found.candidate.format if found else None


def refusal(*candidates: Candidate, ram: float = 100, kl: float | None = None, speed: float | None = None) -> str:
    limits = bounds(int(ram * GIB), kl, speed)
    found = pick(candidates, limits)
    assert found.chosen is None
    return explain("m", found.verdicts, limits)


def test_original_is_the_best_where_it_fits() -> None:
    assert chosen(*ALL) == "F16"
    assert chosen(*ALL, kl=0) == "F16"


@pytest.mark.parametrize(("ram", "best"), [(8, "F16"), (7.99, "Q8_0"), (4, "Q8_0"), (3, "Q4_0"), (1, "Q2_K")])
def test_memory_alone(ram: float, best: str) -> None:
    assert chosen(*ALL, ram=ram) == best


@pytest.mark.parametrize(("speed", "best"), [(2, "F16"), (2.1, "Q8_0"), (10, "Q4_0"), (11, "Q2_K")])
def test_speed_alone(speed: float, best: str) -> None:
    assert chosen(*ALL, speed=speed) == best


def test_divergence_alone() -> None:
    assert chosen(Q2, Q4, kl=0.05) == "Q4_0"
    assert chosen(Q2, Q4, kl=0.04) is None


def test_bounds_together() -> None:
    assert chosen(*ALL, ram=4, kl=0.1, speed=6) == "Q4_0"
    assert chosen(*ALL, ram=4, kl=0.02, speed=6) is None


def test_faster_of_equals_is_taken_and_then_the_smaller() -> None:
    assert chosen(candidate("A", 2, GOOD, 5), candidate("B", 2, GOOD, 6)) == "B"
    assert chosen(candidate("A", 2, GOOD, None), candidate("B", 2, GOOD, 6)) == "B"
    assert chosen(candidate("A", 2, GOOD, 5), candidate("B", 1, GOOD, 5)) == "B"
    assert chosen(candidate("A", 2, GOOD, 5), candidate("B", 2, GOOD, 5)) == "A"


def test_what_was_compared_with_nothing_is_no_original_by_that() -> None:
    stripped = Candidate(format="Q4_0", measured=Measured(size=9, bits_per_weight=4, peak_rss=GIB, decode_speed=99))
    assert stripped.kl is None
    assert chosen(stripped, Q2) == "Q2_K"
    assert chosen(stripped, kl=1) is None


def test_embedder_is_chosen_by_its_vectors() -> None:
    def embedder(format: str, cosine: float | None) -> Candidate:
        known = Measured(size=9, bits_per_weight=4, peak_rss=GIB, cosine=cosine, reference="F16")
        return Candidate(format=format, measured=known)

    q4, q8, f16 = embedder("Q4_0", 0.97), embedder("Q8_0", 0.999), embedder("F16", None)
    assert chosen(q4, q8) == "Q8_0"
    assert chosen(q4, q8, f16) == "F16"


def test_reasons_say_what_would_let_it_in() -> None:
    made = replace(Q8, obstacle="not made yet")
    found = pick([made, Q2, Candidate(format="Q6_K")], bounds(3 * GIB, 0.05, 6))
    reasons = [verdict.reasons for verdict in found.verdicts]
    assert reasons == [
        ["needs --ram 4G", "needs --min-speed 5", "not made yet"],
        ["needs --max-kl 0.5"],
        ["not measured"],
    ]


def test_bound_that_leaves_none_is_named_with_the_nearest() -> None:
    said = "no quant of m fits: "
    assert refusal(Q8, Q4, ram=1.5) == said + "--ram 1536M leaves none; the nearest, m:Q4_0, needs --ram 2G"
    assert refusal(*ALL, speed=20) == said + "--min-speed 20 leaves none; the nearest, m:Q2_K, needs --min-speed 12"
    assert refusal(Q4, Q2, kl=0.0) == said + "--max-kl 0 leaves none; the nearest, m:Q4_0, needs --max-kl 0.05"


def test_bounds_that_leave_none_only_together_are_all_named() -> None:
    said = refusal(*ALL, ram=2, kl=0.02)
    assert said == "no quant of m fits: --ram 2G and --max-kl 0.02 leave none; the nearest, m:Q8_0, needs --ram 4G"


def test_nearest_keeps_to_the_other_bounds() -> None:
    assert refusal(Q8, Q2, ram=0.9, kl=0.1).endswith("--ram 922M leaves none; the nearest, m:Q8_0, needs --ram 4G")


def test_nothing_measured_says_how_to_measure() -> None:
    bare = Candidate(format="Q4_0")
    weighed = Candidate(format="Q8_0", measured=Measured(size=9, bits_per_weight=8))
    assert refusal(bare, weighed) == (
        "no quant of m was measured; `localchat quantize m --to FORMAT` makes one and measures it"
    )


def test_figure_that_is_missing_is_no_better_than_a_bad_one() -> None:
    said = refusal(candidate("Q4_0", 2, GOOD, None), speed=1)
    assert said.endswith("--min-speed 1 leaves none; the nearest, m:Q4_0, needs its speed measured")


def test_what_cannot_be_served_yet_is_never_taken() -> None:
    unmade = replace(Q8, obstacle="not made yet")
    assert chosen(unmade, Q2) == "Q2_K"
    assert refusal(unmade, Q2, kl=0.1) == (
        "no quant of m within the bounds can be served; the best, m:Q8_0, is not made yet"
    )
    assert refusal(unmade, ram=1).endswith("the nearest, m:Q8_0, needs --ram 4G, and is not made yet")


def test_originals_are_those_compared_with() -> None:
    assert pick(ALL, bounds(GIB)).originals == ["F16"]
    other = Measured(size=9, bits_per_weight=5, perplexity=20, peak_rss=GIB)
    assert pick([*ALL, Candidate(format="Q4_1", measured=other)], bounds(GIB)).originals == ["F16", "Q4_1"]


FIGURES = st.builds(
    candidate,
    st.sampled_from(["Q8_0", "Q4_0", "Q2_K"]),
    st.floats(0.01, 50),
    st.floats(0, 3),
    st.floats(0.1, 500),
)


@given(st.lists(FIGURES, min_size=1, max_size=5), st.floats(0.01, 50), st.floats(0, 3), st.floats(0.1, 500))
def test_chosen_is_within_bounds_and_no_other_within_is_better(
    candidates: list[Candidate], ram: float, kl: float, speed: float
) -> None:
    limits = bounds(int(ram * GIB), kl, speed)
    within = [each for each in candidates if all(limit.keeps(each) for limit in limits)]
    found = pick(candidates, limits).chosen
    if found is None:
        assert not within
    else:
        assert found.candidate in within
        assert found.candidate.kl == min(each.kl for each in within if each.kl is not None)


@given(st.lists(FIGURES, min_size=1, max_size=5), st.floats(0.01, 50), st.floats(0, 3), st.floats(0.1, 500))
def test_what_the_nearest_needs_is_enough(candidates: list[Candidate], ram: float, kl: float, speed: float) -> None:
    given = {"--ram": ram * GIB, "--max-kl": kl, "--min-speed": speed}
    limits = bounds(int(given["--ram"]), given["--max-kl"], given["--min-speed"])
    found = pick(candidates, limits)
    if found.chosen is None:
        words = explain("m", found.verdicts, limits).partition(" needs ")[2].split()
        for flag, value in zip(words[::3], words[1::3], strict=True):
            unit = {"G": GIB, "M": MIB}.get(value[-1], 1)
            given[flag] = float(value.rstrip("GM")) * unit
        assert pick(candidates, bounds(int(given["--ram"]), given["--max-kl"], given["--min-speed"])).chosen
