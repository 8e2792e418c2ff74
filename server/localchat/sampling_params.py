"""How the next token is chosen: every knob, its default, its range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from localchat.errors import InvalidRequest

MAX_STOPS = 16
MAX_LOGPROBS = 20
MAX_SEED = 2**32 - 2
"""llama.cpp takes the number above it to mean "any seed"."""

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 1_000_000),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "top_n_sigma": (-1, 100),
    "repeat_penalty": (0.01, 10),
    "repeat_last_n": (-1, 1_000_000),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "dynatemp_range": (0, 2),
    "dynatemp_exponent": (0, 10),
    "mirostat": (0, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 1),
    "dry_multiplier": (0, 100),
    "dry_base": (1, 100),
    "dry_allowed_length": (1, 1_000_000),
    "dry_penalty_last_n": (-1, 1_000_000),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "seed": (0, MAX_SEED),
}
"""Field → least and greatest value accepted, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The sampler settings of one sequence. Raises InvalidRequest, naming the field, for a value out of range.

    The names and the order in which they apply are llama.cpp's: logit bias, penalties, DRY, top-n-sigma, top-k,
    typical-p, top-p, min-p, XTC, temperature. `temperature=0` is greedy. A `seed` of None draws a fresh one.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        """Check each number against RANGES."""
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                raise InvalidRequest(f"{name} must be between {least:g} and {most:g}, not {value}", param=name)
        for token, bias in self.logit_bias.items():
            if not -100 <= bias <= 100:
                raise InvalidRequest(
                    f"logit_bias of {token} must be between -100 and 100, not {bias}", param="logit_bias"
                )

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def has_penalties(self) -> bool:
        """Whether tokens already seen change the logits."""
        return (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        ) and self.repeat_last_n != 0
