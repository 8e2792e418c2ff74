"""`localchat tune`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from msgspec import structs

from localchat.cli import findings
from localchat.cli.bench import check_kind, title
from localchat.cli.copies import MOST_BYTES, advice, formats, try_copies
from localchat.errors import ConfigError, DoesNotFit
from localchat.hardware import GgufHeader, Machine, plan_load, probe, read_header
from localchat.hardware.machine import usable_cpus
from localchat.hub.installed import find
from localchat.hub.progress import Progress, TerminalProgress
from localchat.launch import Launch, prepare
from localchat.registry import load_registry
from localchat.settings import Settings, load_settings
from localchat.tuning import store
from localchat.tuning.candidates import Processors
from localchat.tuning.client import Bencher
from localchat.tuning.guesses import stairs
from localchat.tuning.messages import Setup, Work
from localchat.tuning.neighbours import Neighbours, busy_now, cpu_seconds
from localchat.tuning.setup import opening, setup_of
from localchat.tuning.tune import DEPTH, Outcome, Tuner, look

_SWEEP, _COPIES, _STAIRS = 0.65, 0.2, 0.1
_ROOM = 1280
"""Tokens of each sequence while tuning: a prompt of 1,024, or 256 and what is written."""
_TOO_BUSY = 0.2
"""Share of the processors; with more taken by others, what is fastest now is not what is fastest."""


def command(
    model: Annotated[str | None, typer.Argument(help="Registry id, ID:QUANT, or a GGUF file.", metavar="MODEL")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="About how long to try things.")] = 60,
    parallel: Annotated[int | None, typer.Option(help="Sequences that decode together, as in `serve`.")] = None,
    copies: Annotated[
        bool | None, typer.Option(help="Round copies to faster formats, to measure them; below 1 GiB if not given.")
    ] = None,
    busy: Annotated[
        bool, typer.Option("--busy", help="Keep what is found even if other programs are at work.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Show what was found; of all models without MODEL.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Forget what was found.")] = False,
    gpu_layers: Annotated[str | None, typer.Option(help="Layers on the GPU; auto fits VRAM.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file that adds to the packaged one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where downloaded weights are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the settings with which a model runs fastest on this machine; `serve` uses them from then on."""
    settings = load_settings(
        parallel=parallel, gpu_layers=gpu_layers, registry=registry, models_dir=models_dir, tuned=False
    )
    if show and forget:
        raise ConfigError("--show and --forget cannot be had together")
    if show:
        _show(model, settings, as_json)
    elif forget:
        _forget(model, settings)
    else:
        _tune(model or settings.model[0], settings, Sweep(seconds, copies, busy), as_json)


@dataclass(frozen=True)
class Sweep:
    """How to try things."""

    seconds: float
    copies: bool | None
    busy: bool


def _tune(name: str, settings: Settings, sweep: Sweep, as_json: bool) -> None:
    """Measure, tell, and keep what was found, in this order: what is interrupted keeps nothing."""
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _interrupt)
    machine, progress = probe(), TerminalProgress()
    launch = prepare(name, settings, load_registry(settings.registry), machine, progress)
    header = check_kind(launch)
    tell: Callable[[str], None] = _nothing if as_json else typer.echo
    tell(f"tuning {title(launch, header)} on {machine.cores} cores of {machine.cpu.name}\n")
    tuned, others = _measure(launch, header, machine, sweep, progress, tell)
    if others > _TOO_BUSY * machine.cores and not sweep.busy:
        raise ConfigError(
            f"nothing is kept, for other programs kept {others:.1f} processors busy meanwhile;"
            " tune again when it is quiet, or with --busy"
        )
    store.keep(tuned, header, machine)
    tell(f"\nkept in {store.store_file()}: `localchat serve` uses it for this file on this machine")
    if as_json:
        typer.echo(json.dumps(findings.as_json(tuned), indent=2))


def _measure(
    launch: Launch,
    header: GgufHeader,
    machine: Machine,
    sweep: Sweep,
    progress: Progress,
    tell: Callable[[str], None],
) -> tuple[store.Tuned, float]:
    """What is best, and how many processors others kept busy."""
    setups = _setups(launch.settings, header, machine, min(_ROOM, launch.plan.n_ctx))
    default = setups({})
    assert default is not None, "the model was planned before"
    wants_copies = bool(formats(header)) and (sweep.copies or (sweep.copies is None and header.file_size <= MOST_BYTES))
    share = _SWEEP if wants_copies else _SWEEP + _COPIES
    busy = busy_now()
    if busy > _TOO_BUSY * machine.cores:
        tell(findings.paragraph("note", f"other programs keep {busy:.1f} processors busy: results may be wrong") + "\n")
    with Bencher(opening(launch.load)) as bencher:
        neighbours, before = Neighbours(), cpu_seconds(None)
        default, works = look(bencher.measure, default, sweep.seconds * share)
        tell(findings.heading(default.parallel))
        tuner = Tuner(
            bencher.measure,
            setups,
            Processors(machine.cores, _logical(machine)),
            sweep.seconds * share,
            lambda candidate, found: tell(findings.tried(candidate, found)),
            fixed=launch.settings.model_fields_set,
        )
        outcome = tuner.run(default, works)
        best = structs.replace(_known(setups(outcome.changes)), single_row_threads=_single(outcome, default))
        guesses = stairs(bencher.measure, best, min(DEPTH, best.n_ctx // 4), sweep.seconds * _STAIRS)
        others = neighbours.cores(cpu_seconds(None, bencher.pid) - before)
        advised = [findings.about_cache(*found) for found in outcome.advice]
        if wants_copies:
            advised += _copies(launch, header, bencher, best, works, sweep, progress, tell)
    for line in (*findings.summary(outcome), findings.about_guesses(guesses)):
        tell(line)
    for text in advised:
        tell(findings.paragraph("advice", text))
    if formats(header) and not wants_copies:
        untried = " or ".join(formats(header))
        tell(findings.paragraph("note", f"whether a copy as {untried} is faster was not tried: --copies does"))
    return _tuned(launch, header, machine, default.parallel, outcome, advised), others


def _copies(
    launch: Launch,
    header: GgufHeader,
    bencher: Bencher,
    best: Setup,
    works: Mapping[str, Work],
    sweep: Sweep,
    progress: Progress,
    tell: Callable[[str], None],
) -> list[str]:
    """Try them; returns what to say of those that are faster."""
    advised, seconds = [], sweep.seconds * _COPIES
    for format, found in try_copies(launch, header, bencher.measure, best, [*works.values()], seconds, progress):
        verdict = "see below" if found.is_better else ""
        tell(findings.line(f"a copy as {format}", [findings.times(gain) for gain in found.gains], verdict))
        if found.is_better:
            advised.append(advice(launch, header, format, found))
    return advised


def _tuned(
    launch: Launch, header: GgufHeader, machine: Machine, parallel: int, outcome: Outcome, advised: list[str]
) -> store.Tuned:
    return store.Tuned(
        model=title(launch, header),
        cpu=machine.cpu.name,
        cores=machine.cores,
        llama=store.llama_version(),
        made=datetime.now(timezone.utc).date().isoformat(),
        parallel=parallel,
        changes=store.Changes(**outcome.changes),
        before={kind: round(speed, 2) for kind, speed in outcome.before.items()},
        after={kind: round(speed, 2) for kind, speed in outcome.after.items()},
        advice=tuple(advised),
    )


def _known(setup: Setup | None) -> Setup:
    assert setup is not None, "what was measured cannot be had"
    return setup


def _single(outcome: Outcome, default: Setup) -> int:
    return int(outcome.changes.get("single_row_threads", default.single_row_threads))


def _setups(
    settings: Settings, header: GgufHeader, machine: Machine, room: int
) -> Callable[[Mapping[str, Any]], Setup | None]:
    def setups(changes: Mapping[str, Any]) -> Setup | None:
        changed = settings.model_copy(update={**changes, "ctx_size": room})
        try:
            return setup_of(plan_load(header, machine, changed), parallel=settings.parallel, n_ctx=room)
        except (ConfigError, DoesNotFit):
            return None

    return setups


def _logical(machine: Machine) -> int:
    """Threads that the cores run at once; a quota of processor time is not to be shared by more threads than it has."""
    return len(usable_cpus()) if machine.cores == psutil.cpu_count(logical=False) else machine.cores


def _show(model: str | None, settings: Settings, as_json: bool) -> None:
    found = store.all_tuned()
    if model is not None:
        one = store.find_tuned(_header(model, settings), probe())
        found = [one] if one else []
    if as_json:
        typer.echo(json.dumps([findings.as_json(one) for one in found], indent=2))
    elif not found:
        typer.echo(f"nothing was tuned of {model} on this machine: localchat tune {model}" if model else "nothing yet")
    else:
        typer.echo("\n".join(line for one in found for line in findings.kept(one)))


def _forget(model: str | None, settings: Settings) -> None:
    if model is None:
        raise ConfigError("--forget takes a MODEL")
    gone = store.forget(_header(model, settings), probe())
    typer.echo(f"{model}: forgotten" if gone else f"nothing was tuned of {model} on this machine")


def _header(model: str, settings: Settings) -> GgufHeader:
    """Of a model that is here; nothing is fetched for a look. Raises ModelNotFound, ConfigError."""
    for choice in load_registry(settings.registry).candidates(model):
        path = find(choice, settings.models_dir)
        if path is not None:
            return read_header(path)
    raise ConfigError(f"{model} is not on this machine, so nothing was tuned of it")


def _nothing(_line: str) -> None:
    pass


def _interrupt(_signal: int, _frame: object) -> None:
    """A polite end stores nothing and clears away, as Ctrl-C does."""
    raise KeyboardInterrupt
