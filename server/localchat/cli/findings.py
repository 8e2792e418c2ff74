"""What tuning finds, as a person reads it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from localchat.tuning.bench import readable
from localchat.tuning.candidates import KINDS, Candidate
from localchat.tuning.compare import Comparison
from localchat.tuning.guesses import ACCEPTED, worthwhile
from localchat.tuning.store import Tuned, described
from localchat.tuning.tune import Outcome

_LABEL, _COLUMN = 33, 11
_INDENT = 9


def heading(sequences: int) -> str:
    """Above the lines of what is tried: kinds of work."""
    return line("CHANGE", ("PROMPT", "1 STREAM", f"{sequences} STREAMS"))


def line(label: str, columns: Sequence[str], verdict: str = "") -> str:
    """A label, a column for each kind of work, and what comes of it."""
    return (f"{label:<{_LABEL}}" + "".join(f"{column:>{_COLUMN}}" for column in columns) + f"   {verdict}").rstrip()


def tried(candidate: Candidate, found: Comparison) -> str:
    """How many times as fast a change makes what it can make faster."""
    gains = dict(zip(candidate.kinds, found.gains, strict=True))
    verdict = ("taken" if candidate.is_free else "see below") if found.is_better else ""
    return line(described(candidate.changes), [times(gains.get(kind)) for kind in KINDS], verdict)


def paragraph(label: str, text: str, indent: int = 0) -> str:
    """A label and a text, wrapped at the terminal's edge; a command has a line of its own, to be copied."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1 << 20
    text, *commands = text.split("\n")
    lines = textwrap.wrap(text, width - indent - _INDENT, break_long_words=False, break_on_hyphens=False)
    first, *others = [*lines, *commands]
    rest = [f"{'':{indent + _INDENT}}{one}" for one in others]
    return "\n".join([f"{'':{indent}}{label:<{_INDENT}}{first}", *rest])


def times(gain: float | None) -> str:
    """A ratio of speeds."""
    return "" if gain is None else f"x {gain:.2f}"


def summary(outcome: Outcome) -> Iterator[str]:
    """Speeds before and after, and what to change for it."""
    yield line("tokens/s by default", [readable(speed) for speed in outcome.before.values()])
    yield line("tokens/s tuned", [readable(speed) for speed in outcome.after.values()])
    yield ""
    yield paragraph("result", described(outcome.changes) or "the defaults are best")
    if outcome.untried:
        yield paragraph("note", f"there was no time for {outcome.untried} changes; give more --seconds")


def about_guesses(stairs: Mapping[int, float]) -> str:
    """How many guesses at the next tokens a step is worth here."""
    count, gain = worthwhile(stairs)
    if not count:
        return paragraph("guesses", f"do not pay here, even where {ACCEPTED:.0%} prove right")
    slower = stairs[count + 1] / stairs[1]
    return paragraph(
        "guesses",
        f"{count} at a time pay best where {ACCEPTED:.0%} prove right: a step takes {slower:.1f} x as long and"
        f" writes {gain:.1f} x as fast; the engine measures this itself and chooses by it",
    )


def about_cache(candidate: Candidate, found: Comparison) -> str:
    """What another type of the KV cache would bring and cost."""
    alone, together = found.gains
    return (
        f"--kv-type {candidate.changes['kv_type']} writes {alone:.2f} x as fast alone and {together:.2f} x together,"
        " and halves the KV cache; it rounds what the model keeps of its context, so answers change a little"
    )


def kept(tuned: Tuned) -> Iterator[str]:
    """What was found earlier."""
    yield f"{tuned.model}, {tuned.cores} cores of {tuned.cpu}, llama-cpp-python {tuned.llama}, {tuned.made}"
    yield paragraph("result", described(given(tuned)) or "the defaults are best", 2)
    for kind, before in tuned.before.items():
        speeds = f"{readable(before)} tokens/s by default, {readable(tuned.after[kind])} tuned"
        yield paragraph("speed", f"{kind}: {speeds}", 2)
    for text in tuned.advice:
        yield paragraph("advice", text, 2)


def given(tuned: Tuned) -> dict[str, Any]:
    """The settings that were found to be better otherwise."""
    return {name: value for name, value in structs.asdict(tuned.changes).items() if value is not None}


def as_json(tuned: Tuned) -> dict[str, Any]:
    """All that is kept of it."""
    return structs.asdict(tuned) | {"changes": given(tuned), "advice": list(tuned.advice)}
