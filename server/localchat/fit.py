"""Whether a model fits on this machine, and in which of its quants.

A quant that is installed and fits is taken, so that a start does not become a download because memory was scarcer the
last time. Else it is the best quality that fits with headroom: it needs no more than 80 % of the memory that can be
had with a context of 4,096 tokens, or what the model was trained for, or what was asked for, and stays on the GPU where
there is one. Among those, formats of four bits and more come before coarser ones, and formats in which this CPU reads
prompts fast before the others. F16 and larger are never taken of themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from localchat.errors import DoesNotFit, WeightsError
from localchat.hardware import GgufHeader, LoadPlan, Machine, plan_load, read_header
from localchat.hardware.formats import is_fast, rank
from localchat.hardware.need import readable
from localchat.hardware.plan import UNKNOWN_CONTEXT, WORTHWHILE_CONTEXT, ram_budget, vram_budget
from localchat.hardware.sketch import rescaled, size_of, sketch
from localchat.hardware.speed import tokens_per_second
from localchat.hub.installed import find
from localchat.registry import Choice, ModelSpec
from localchat.settings import Settings

HEADROOM = 0.8
"""The part of the memory that can be had which a model may need to fit with headroom."""

_REMOTE = ("hf", "url")


@dataclass(frozen=True)
class FitRow:
    """One quant of a model on this machine. `header` is the file's own, or stands for it."""

    choice: Choice
    header: GgufHeader
    plan: LoadPlan
    installed: Path | None
    is_estimated: bool
    """Whether the shape or the size was guessed from the number of parameters."""
    is_fast: bool
    room: int
    """RAM that can be had."""
    fits: bool
    has_headroom: bool

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.header.file_size

    @property
    def headroom(self) -> int:
        """RAM that is left."""
        return self.room - self.plan.memory.total

    def tokens_per_second(self, bandwidth: float) -> float | None:
        """What one sequence is expected to decode; None with layers on a GPU, whose speed is not known."""
        return None if self.plan.gpu_layers else tokens_per_second(self.header, bandwidth)


class Decision(NamedTuple):
    """The quant to serve, and why this one; no reason is given where there was nothing to choose."""

    choice: Choice
    reason: str = ""


def fit_rows(
    candidates: Sequence[Choice], machine: Machine, settings: Settings, *, network: bool = False
) -> tuple[FitRow, ...]:
    """A row for each of a model's quants of which a size is known. Asks the network only if allowed, and at most once.

    The need is told from the file's header if it is here. One header serves all quants, as only their weights differ:
    an installed one's, or one whose beginning is fetched; without any, the number of parameters stands in.
    """
    paths = [find(choice, settings.models_dir) for choice in candidates]
    headers = [_read(path) if path else None for path in paths]
    known = next((header for header in headers if header), None)
    if known is None and network:
        known = _peek(candidates)
    rows = []
    for choice, path, own in zip(candidates, paths, headers, strict=True):
        header = own or _stand_in(choice, known)
        if header is not None:
            is_estimated = own is None and (known is None or choice.quant.about_bytes is None)
            rows.append(_row(choice, header, path if own else None, is_estimated, machine, settings))
    return tuple(rows)


def best(rows: Iterable[FitRow]) -> FitRow | None:
    """The one to take of those that fit."""
    fitting = [row for row in rows if row.fits]
    modest = [row for row in fitting if rank(row.choice.quant.name) >= rank("Q8_0")]
    return min(modest or fitting, key=_preference, default=None)


def keep(candidates: Sequence[Choice], machine: Machine, settings: Settings) -> Decision | None:
    """The best installed quant that fits, where there is a choice: nobody wants a download for some free memory."""
    here = _installed(candidates, settings) if len(candidates) > 1 else []
    row = best(fit_rows(here, machine, settings)) if here else None
    return Decision(row.choice, "it is installed and fits") if row else None


def choose(candidates: Sequence[Choice], machine: Machine, settings: Settings) -> Decision:
    """The quant to serve. Raises DoesNotFit unless forced. A single candidate is taken unseen."""
    if len(candidates) == 1:
        return Decision(candidates[0])
    if kept := keep(candidates, machine, settings):
        return kept
    here = _installed(candidates, settings)
    published = [choice for choice in candidates if choice in here or choice.quant.source.kind != "convert"]
    rows = fit_rows(published or candidates, machine, settings, network=True)
    if not rows:
        return Decision((published or candidates)[0], "no sizes are known, and it is the first")
    if row := best(rows):
        return Decision(row.choice, _why(row, len(rows)))
    smallest = min(rows, key=lambda row: row.plan.memory.total)
    if settings.force:
        return Decision(smallest.choice, "none fits, and it is the smallest")
    raise DoesNotFit(
        f"{smallest.choice.spec.id} does not fit in any of its {len(rows)} quants: the smallest,"
        f" {smallest.choice.quant.name}, needs {smallest.plan.memory} of RAM, and {readable(max(0, smallest.room))} can"
        f" be had. Use a smaller --ctx-size (it is {smallest.plan.n_ctx}), --parallel (it is {smallest.plan.parallel}),"
        " another model (`localchat fit` shows those that fit), or --force."
    )


def _installed(candidates: Sequence[Choice], settings: Settings) -> list[Choice]:
    return [choice for choice in candidates if find(choice, settings.models_dir)]


def _preference(row: FitRow) -> tuple[bool, bool, bool, int]:
    place = rank(row.choice.quant.name)
    return not row.has_headroom, place > rank("Q4_0"), not row.is_fast, place


def _why(row: FitRow, count: int) -> str:
    how = "with headroom" if row.has_headroom else "barely"
    slow = "" if row.is_fast else "; this CPU reads prompts slowly in it"
    return f"of {count} quants the best that fits {how}{slow}"


def _row(
    choice: Choice, header: GgufHeader, path: Path | None, is_estimated: bool, machine: Machine, settings: Settings
) -> FitRow:
    settings = settings.model_copy(update={"force": True})
    trained = header.context_length or UNKNOWN_CONTEXT
    if settings.ctx_size != "auto":
        settings = settings.model_copy(update={"ctx_size": min(settings.ctx_size, trained)})
    plan = plan_load(header, machine, settings)
    if settings.ctx_size == "auto":
        settings = settings.model_copy(update={"ctx_size": min(trained, WORTHWHILE_CONTEXT)})
    worthwhile = plan_load(header, machine, settings)
    room, vram = ram_budget(machine, settings.memory), vram_budget(machine)
    fits = plan.memory.total <= room and plan.vram.total <= vram
    stays = not machine.gpus or worthwhile.gpu_layers > header.block_count
    return FitRow(
        choice=choice,
        header=header,
        plan=plan,
        installed=path,
        is_estimated=is_estimated,
        is_fast=is_fast(choice.quant.name, machine.cpu),
        room=room,
        fits=fits,
        has_headroom=fits and stays and worthwhile.memory.total <= HEADROOM * room,
    )


def _read(path: Path) -> GgufHeader | None:
    """None for a file that is broken: fetching will find that out and say so."""
    with suppress(WeightsError):
        return read_header(path)
    return None


def _peek(candidates: Sequence[Choice]) -> GgufHeader | None:
    # The HTTP client takes long to import, and most starts need none.
    from localchat.hub.remote import peek_header  # noqa: PLC0415

    for choice in candidates:
        if choice.quant.source.kind in _REMOTE:
            with suppress(WeightsError):
                return peek_header(choice)
            return None
    return None


def _stand_in(choice: Choice, known: GgufHeader | None) -> GgufHeader | None:
    spec, quant = choice.spec, choice.quant
    size = quant.about_bytes or _guessed_size(spec, quant.name, known)
    name = f"{spec.id}:{quant.name}"
    if size is None:
        return None
    if known is not None:
        return rescaled(known, name, quant.name, size)
    parameters = spec.parameter_count or size  # about as many, at eight bits each
    context = spec.context_length or UNKNOWN_CONTEXT
    return sketch(name, spec.architecture or "llama", parameters, context, quant.name, size)


def _guessed_size(spec: ModelSpec, format: str, known: GgufHeader | None) -> int | None:
    parameters = spec.parameter_count
    if parameters is None and known is not None:
        parameters = sum(math.prod(tensor.shape) for tensor in known.tensors)
    return size_of(parameters, format) if parameters else None
