"""From a checkpoint folder or a GGUF file to GGUF files of other formats, measured."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localchat.errors import ConfigError
from localchat.hardware import probe, read_header
from localchat.hardware.formats import format_of
from localchat.hub.progress import Progress, phase
from localchat.hub.store import check_room
from localchat.llama.quantize import NEED_IMPORTANCE, Importance, check_format
from localchat.registry.spec import Measured
from localchat_quantize import imatrix, texts
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from localchat_quantize.measuring import Text, Yardstick, yardstick
from localchat_quantize.quantizing import check_importance, quantize_apart
from localchat_quantize.writer import TYPES


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made of what."""

    source: Path
    """A checkpoint folder, or a GGUF file."""
    name: str
    targets: Sequence[str]
    output: Path
    threads: int
    type: str = "F16"
    """What a checkpoint is converted to before it is quantized, and compared with after."""
    base: Path | None = None
    """What a checkpoint is a difference to."""
    importance: Path | None = None
    """An importance matrix; one is gathered where a format needs it and none is given."""
    gather: bool = False
    """Whether to gather an importance matrix for all targets."""
    requantize: bool = False
    """Whether a file that is quantized already may be a source."""
    measure: bool = True
    text: Path | None = None
    """What to measure by; the text that comes with the program where absent."""


@dataclass(frozen=True)
class Product:
    """A file that was made; `measured` unless that was not wanted."""

    path: Path
    format: str
    measured: Measured | None = None
    original: Measured | None = None
    """The figures of what it was made of."""
    requantized_from: str | None = None


@dataclass(frozen=True)
class _Original:
    """The GGUF file that is quantized."""

    path: Path
    format: str
    is_ours: bool
    """Whether it was made for this, and goes when all is done."""

    @property
    def requantized_from(self) -> str | None:
        """What its products are to say of it, if it had lost something already."""
        return None if self.format in TYPES else self.format


def run(job: Job, progress: Progress) -> list[Product]:
    """Make the files, in the order of the targets. Raises ConfigError, WeightsError, EngineError.

    A file has its name only when it is whole.
    """
    for format in job.targets:
        check_format(format)
        if _target(job, format).exists():
            raise ConfigError(f"{_target(job, format)} exists already; remove it, or name another --output")
    given = imatrix.load(job.importance).importance() if job.importance else None
    with ExitStack() as stack:
        folder = stack.enter_context(_workplace(job.output))
        original = _original(job, folder, progress)
        _check_room(job, original)
        importance = _importance(job, original.path, given, progress)
        ruler = stack.enter_context(_ruler(job, original, folder, progress)) if job.measure else None
        products = [_make(job, original, format, importance, ruler, progress) for format in job.targets]
        return products if ruler is None else _timed(products, ruler, progress)


def _target(job: Job, format: str) -> Path:
    return job.output / f"{job.name}.{format}.gguf"


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """A folder for what does not stay, inside the one for what does."""
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=output, prefix=".quantize-")
    except OSError as error:
        raise ConfigError(f"nothing can be written to {output} ({error.strerror}); name another --output") from error
    try:
        with made as folder:
            yield Path(folder)
    finally:
        if is_new:
            with suppress(OSError):  # not empty: there is something to stay
                output.rmdir()


def _original(job: Job, folder: Path, progress: Progress) -> _Original:
    if job.source.is_file():
        format = read_header(job.source).quant or "unknown"
        if format not in TYPES and not job.requantize:
            raise ConfigError(
                f"{job.source.name} is quantized already ({format}); a second rounding adds to the loss of the first:"
                " take the original, or allow it with --requantize"
            )
        return _Original(job.source, format, is_ours=False)
    conversion = plan_conversion(Checkpoint(job.source, job.base), job.name)
    file = folder / f"{job.name}.{job.type}.gguf"
    conversion.write(file, job.type, progress)
    return _Original(file, job.type, is_ours=True)


def _check_room(job: Job, original: _Original) -> None:
    """All files at once, so that the last does not fail after hours."""
    wanted = sum(_size(original, format) for format in job.targets)
    check_room(f"{job.name} in {' and '.join(job.targets)}", job.output, wanted)


def _size(original: _Original, format: str) -> int:
    """About what the original takes in another format."""
    size, known, now = original.path.stat().st_size, format_of(format), format_of(original.format)
    return int(size * known.bits / now.bits) if known and now else size


def _importance(job: Job, source: Path, given: Importance | None, progress: Progress) -> Importance | None:
    if given is not None:
        check_importance(source, given)
        return given
    if not job.gather and not NEED_IMPORTANCE.intersection(job.targets):
        return None
    text = texts.calibration()
    with phase(progress, f"{job.name}: gathering importance", len(text)):
        found = imatrix.collect(
            source,
            text,
            dataset="calibration.txt",
            threads=job.threads,
            step=lambda done, total: progress.update(len(text) * done // total),
        )
    return found.importance()


@contextmanager
def _ruler(job: Job, original: _Original, folder: Path, progress: Progress) -> Iterator[Yardstick]:
    path = job.text or folder / "measuring.txt"
    if job.text is None:
        path.write_text(texts.measuring(), encoding="utf-8")
    machine = probe().cpu.name
    with yardstick(original.path, Text(path, path.name), folder, job.threads, machine, progress) as ruler:
        yield ruler


def _make(
    job: Job,
    original: _Original,
    format: str,
    importance: Importance | None,
    ruler: Yardstick | None,
    progress: Progress,
) -> Product:
    target = _target(job, format)
    part = target.with_name(f"{target.name}.part")
    notes = {"localchat.requantized_from": original.requantized_from} if original.requantized_from else {}
    try:
        if format == original.format:
            _copy(original, part)
        else:
            size = _size(original, format)
            with phase(progress, f"writing {target.name}", size):
                quantize_apart(
                    original.path,
                    part,
                    format,
                    threads=job.threads,
                    requantize=job.requantize,
                    importance=importance,
                    metadata=notes,
                    step=lambda written: progress.update(min(written, size)),
                )
        # Measured under its last name but one: what cannot be loaded does not become a file to serve.
        measured = _measure(ruler, original, part, format, importance is not None, progress)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Product(target, format, measured, ruler.of_original() if ruler else None, original.requantized_from)


def _copy(original: _Original, target: Path) -> None:
    """Under another name where that can be, for it may be as large as the disk."""
    if original.is_ours:
        with suppress(OSError):
            os.link(original.path, target)
            return
    shutil.copyfile(original.path, target)


def _measure(
    ruler: Yardstick | None, original: _Original, path: Path, format: str, by_importance: bool, progress: Progress
) -> Measured | None:
    if ruler is None:
        return None
    return ruler.of_original() if format == original.format else ruler.measure(path, progress, imatrix=by_importance)


def _timed(products: Sequence[Product], ruler: Yardstick, progress: Progress) -> list[Product]:
    """With speeds that were measured in turn, the original's among them."""
    paths = [ruler.original, *(product.path for product in products)]
    known = [ruler.of_original(), *(product.measured for product in products if product.measured)]
    original, *others = ruler.in_turn(paths, known, progress)
    return [replace(product, measured=own, original=original) for product, own in zip(products, others, strict=True)]


def requantize(source: Path, format: str, target: Path, progress: Progress) -> None:
    """Write one GGUF file in another format, for measurements; `target` is NAME.FORMAT.gguf."""
    name = target.name.removesuffix(f".{format}.gguf")
    run(
        Job(
            source=source,
            name=name,
            targets=[format],
            output=target.parent,
            threads=probe().cores,
            requantize=True,
            measure=False,
        ),
        progress,
    )
