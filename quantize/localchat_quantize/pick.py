"""Which quant of a model to take, by what was measured.

Of those within the bounds it is the one that says most nearly what the original says; of equals the faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from localchat.registry import Measured

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A quant, and what is known of it."""

    format: str
    measured: Measured | None = None
    obstacle: str | None = None
    """What has to be done before it can be served."""

    @property
    def ram(self) -> int | None:
        """The most memory that it took, in bytes."""
        return self.measured.peak_rss if self.measured else None

    @property
    def kl(self) -> float | None:
        """Mean KL divergence; 0 of the original itself."""
        return 0.0 if self.is_original else self.measured.kl_mean if self.measured else None

    @property
    def speed(self) -> float | None:
        """Tokens written in a second."""
        return self.measured.decode_speed if self.measured else None

    @property
    def is_original(self) -> bool:
        """Whether it is what the others were compared with."""
        known = self.measured
        if known is None or known.kl_mean is not None or known.cosine is not None:
            return False
        return known.reference == self.format or (known.reference is None and known.perplexity is not None)

    @property
    def preference(self) -> tuple[float, float, float]:
        """Sorts the better first."""
        cosine = self.measured.cosine if self.measured else None
        loss = self.kl if self.kl is not None else 1 - cosine if cosine is not None else math.inf
        return loss, -(self.speed or 0), self.ram or math.inf


@dataclass(frozen=True)
class Bound:
    """A limit to one figure, by the flag that sets it."""

    flag: str
    limit: float
    figure: str
    value_of: Callable[[Candidate], float | None]
    written: Callable[[float], str]
    """A value as the flag takes it, so that a candidate of this value is within."""
    is_least: bool = False
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.flag} {self.written(self.limit)}{self.remark}"

    def keeps(self, candidate: Candidate) -> bool:
        """Whether the candidate is within it; what was not measured is not."""
        value = self.value_of(candidate)
        return value is not None and (value >= self.limit if self.is_least else value <= self.limit)

    def distance(self, candidate: Candidate) -> float:
        """How far outside it is, from 0 to 1; infinity if nobody knows."""
        value = self.value_of(candidate)
        if value is None:
            return math.inf
        return 0.0 if self.keeps(candidate) else abs(value - self.limit) / max(value, self.limit)

    def need(self, candidate: Candidate) -> str:
        """What would let the candidate in."""
        value = self.value_of(candidate)
        return f"its {self.figure} measured" if value is None else f"{self.flag} {self.written(value)}"


@dataclass(frozen=True)
class Verdict:
    """A candidate, and the bounds that it does not keep to."""

    candidate: Candidate
    missed: tuple[Bound, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it is left out; empty if it may be taken."""
        if self.candidate.ram is None:
            reasons = ["not measured"]
        else:
            reasons = [f"needs {bound.need(self.candidate)}" for bound in self.missed]
        return reasons + ([self.candidate.obstacle] if self.candidate.obstacle else [])


@dataclass(frozen=True)
class Pick:
    """Every candidate's verdict, in their order, and the chosen one's, if there is any."""

    verdicts: tuple[Verdict, ...]
    chosen: Verdict | None

    @property
    def originals(self) -> list[str]:
        """What the measured ones were compared with; more than one if not all of them can be compared."""
        known = [(each.candidate, each.candidate.measured) for each in self.verdicts]
        return sorted({own.reference or one.format for one, own in known if own and one.kl is not None})


def bounds(ram: int, max_kl: float | None = None, min_speed: float | None = None, remark: str = "") -> list[Bound]:
    """The bounds that are set; `remark` says where that of the memory comes from."""
    found = [Bound("--ram", ram, "memory", attrgetter("ram"), _size, remark=remark)]
    if max_kl is not None:
        found.append(Bound("--max-kl", max_kl, "divergence", attrgetter("kl"), _number))
    if min_speed is not None:
        found.append(Bound("--min-speed", min_speed, "speed", attrgetter("speed"), _number, is_least=True))
    return found


def pick(candidates: Sequence[Candidate], limits: Sequence[Bound]) -> Pick:
    """Judge them all and take the best, or none."""
    verdicts = tuple(Verdict(each, tuple(limit for limit in limits if not limit.keeps(each))) for each in candidates)
    allowed = [verdict for verdict in verdicts if not verdict.reasons]
    return Pick(verdicts, min(allowed, key=lambda verdict: verdict.candidate.preference, default=None))


def explain(model: str, verdicts: Sequence[Verdict], limits: Sequence[Bound]) -> str:
    """Why none was taken, and what the nearest would need, in a line."""
    measured = [verdict for verdict in verdicts if verdict.candidate.ram is not None]
    if not measured:
        return f"no quant of {model} was measured; `localchat quantize {model} --to FORMAT` makes one and measures it"
    nearest = min(measured, key=lambda verdict: (len(verdict.missed), _distance(verdict), *_last(verdict)))
    name, obstacle = f"{model}:{nearest.candidate.format}", nearest.candidate.obstacle
    if not nearest.missed:
        return f"no quant of {model} within the bounds can be served; the best, {name}, is {obstacle}"
    alone = [limit for limit in limits if all(limit in verdict.missed for verdict in measured)]
    culprits = alone or [limit for limit in limits if any(limit in verdict.missed for verdict in measured)]
    why = f"{' and '.join(map(str, culprits))} {'leaves' if len(culprits) == 1 else 'leave'} none"
    needs = " and ".join(limit.need(nearest.candidate) for limit in nearest.missed)
    also = f", and is {obstacle}" if obstacle else ""
    return f"no quant of {model} fits: {why}; the nearest, {name}, needs {needs}{also}"


def _distance(verdict: Verdict) -> float:
    return sum(bound.distance(verdict.candidate) for bound in verdict.missed)


def _last(verdict: Verdict) -> tuple[bool, tuple[float, float, float]]:
    return verdict.candidate.obstacle is not None, verdict.candidate.preference


def _size(count: float) -> str:
    return f"{count / GIB:g}G" if count % GIB == 0 else f"{math.ceil(count / MIB)}M"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
