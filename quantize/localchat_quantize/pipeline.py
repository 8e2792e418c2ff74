"""From a checkpoint folder or a GGUF file to GGUF files of other formats."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import ConfigError
from localchat.hardware import probe, read_header
from localchat.hub.progress import Progress, phase
from localchat.hub.store import check_room
from localchat.llama.quantize import NEED_IMPORTANCE, Importance, check_format, quantize
from localchat_quantize import imatrix, texts
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion

PLAIN = frozenset({"F32", "F16", "BF16"})
"""Formats of a file that may be quantized without a second rounding."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made of what."""

    source: Path
    """A checkpoint folder, or a GGUF file."""
    name: str
    targets: Sequence[str]
    output: Path
    threads: int
    base: Path | None = None
    """What a checkpoint is a difference to."""
    importance: Path | None = None
    """An importance matrix; one is gathered where a format needs it and none is given."""
    requantize: bool = False
    """Whether a file that is quantized already may be a source."""


def run(job: Job, progress: Progress) -> list[Path]:
    """Make the files, in the order of the targets. Raises ConfigError, WeightsError, EngineError.

    A file has its name only when it is whole.
    """
    for format in job.targets:
        check_format(format)
        if _target(job, format).exists():
            raise ConfigError(f"{_target(job, format)} exists already; remove it, or name another --output")
    job.output.mkdir(parents=True, exist_ok=True)
    with _plain_file(job, progress) as (source, notes):
        importance = _importance(job, source, progress)
        return [_make(job, source, format, importance, notes, progress) for format in job.targets]


def _target(job: Job, format: str) -> Path:
    return job.output / f"{job.name}.{format}.gguf"


@contextmanager
def _plain_file(job: Job, progress: Progress) -> Iterator[tuple[Path, dict[str, str | int]]]:
    """The GGUF file that is quantized, and what its products are to say of it."""
    if job.source.is_file():
        quant = read_header(job.source).quant or "unknown"
        if quant in PLAIN:
            yield job.source, {}
        elif job.requantize:
            yield job.source, {"localchat.requantized_from": quant}
        else:
            raise ConfigError(
                f"{job.source.name} is quantized already ({quant}); a second rounding adds to the loss of the first:"
                " take the original, or allow it with --requantize"
            )
        return
    conversion = plan_conversion(Checkpoint(job.source, job.base), job.name)
    with tempfile.TemporaryDirectory(dir=job.output, prefix=".convert-") as folder:
        file = Path(folder) / f"{job.name}.F16.gguf"
        conversion.write(file, "F16", progress)
        yield file, {}


def _importance(job: Job, source: Path, progress: Progress) -> Importance | None:
    if job.importance is not None:
        return imatrix.load(job.importance).importance()
    if not NEED_IMPORTANCE.intersection(job.targets):
        return None
    with phase(progress, f"{job.name}: gathering importance, in chunks", None):
        found = imatrix.collect(
            source,
            texts.calibration(),
            dataset="calibration.txt",
            threads=job.threads,
            step=lambda done, _total: progress.update(done),
        )
    return found.importance()


def _make(
    job: Job,
    source: Path,
    format: str,
    importance: Importance | None,
    notes: Mapping[str, str | int],
    progress: Progress,
) -> Path:
    target = _target(job, format)
    check_room(target.name, job.output, source.stat().st_size)
    part = target.with_name(f"{target.name}.part")
    try:
        with phase(progress, f"writing {target.name}", None):
            quantize(
                source,
                part,
                format,
                threads=job.threads,
                requantize=job.requantize,
                importance=importance,
                metadata=notes,
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def requantize(source: Path, format: str, target: Path, progress: Progress) -> None:
    """Write one GGUF file in another format, for measurements; `target` is NAME.FORMAT.gguf."""
    name = target.name.removesuffix(f".{format}.gguf")
    targets, threads = [format], probe().cores
    run(
        Job(source=source, name=name, targets=targets, output=target.parent, threads=threads, requantize=True), progress
    )
