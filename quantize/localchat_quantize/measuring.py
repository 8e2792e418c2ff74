"""Measures GGUF files, each in a process of its own, against the original."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from localchat.errors import EngineError
from localchat.hardware import GgufHeader, read_header
from localchat.hub.progress import Progress, phase
from localchat.registry.spec import Measured
from localchat_quantize.probe import Findings, Speed, Stage

VISITS = 2
"""How often each file's speed is measured again."""


@dataclass(frozen=True)
class Text:
    """What is read while measuring."""

    path: Path
    name: str


@dataclass(frozen=True)
class Yardstick:
    """The original's answers to the text, which those of other files are compared with."""

    original: Path
    format: str
    text: Text
    answers: Path
    threads: int
    machine: str
    findings: Findings

    def measure(self, path: Path, progress: Progress, *, imatrix: bool = False) -> Measured:
        """All figures of a file. Raises EngineError."""
        findings = _run(path, self.text, self.threads, self.answers, progress)
        return self._measured(path, findings, imatrix)

    def of_original(self) -> Measured:
        """The original's own figures."""
        return self._measured(self.original, self.findings, imatrix=False)

    def in_turn(self, paths: Sequence[Path], known: Sequence[Measured], progress: Progress) -> list[Measured]:
        """What is known of files, with the best speeds of `VISITS` more visits to each, in turn.

        Else what slows a machine for minutes would count against one of them. What decodes nothing is not asked again.
        Raises EngineError.
        """
        best = list(known)
        files = [index for index, measured in enumerate(known) if measured.decode_speed is not None]
        sizes = [paths[index].stat().st_size for index in files]
        with phase(progress, "measuring speeds in turn", VISITS * sum(sizes)):
            for visit in range(VISITS):
                for count, index in enumerate(files, 1):
                    (speed,) = _probe(paths[index], self.text, self.threads)
                    assert isinstance(speed, Speed)
                    best[index] = _faster(best[index], speed)
                    progress.update(visit * sum(sizes) + sum(sizes[:count]))
        return best

    def _measured(self, path: Path, findings: Findings, imatrix: bool) -> Measured:
        quality, speed, header = findings.quality, findings.speed, read_header(path)
        return Measured(
            size=header.file_size,
            bits_per_weight=bits_per_weight(header),
            perplexity=_digits(quality.perplexity),
            kl_mean=_digits(quality.kl_mean),
            kl_p99=_digits(quality.kl_p99),
            top1=_digits(quality.top1),
            cosine=_digits(quality.cosine, 6),
            prompt_speed=_digits(speed.prompt),
            decode_speed=_digits(speed.decode),
            peak_rss=findings.peak_rss,
            tokens=quality.tokens,
            threads=self.threads,
            text=self.text.name,
            reference=self.format,
            machine=self.machine,
            imatrix=imatrix,
        )


def _faster(measured: Measured, speed: Speed) -> Measured:
    prompt, decode = max(measured.prompt_speed or 0, speed.prompt), max(measured.decode_speed or 0, speed.decode or 0)
    return measured.model_copy(update={"prompt_speed": _digits(prompt), "decode_speed": _digits(decode)})


def bits_per_weight(header: GgufHeader) -> float:
    """Of the tensors; what else is in the file does not count."""
    weights = sum(math.prod(tensor.shape) for tensor in header.tensors)
    return round(8 * header.weight_bytes / weights, 3)


@contextmanager
def yardstick(
    original: Path, text: Text, folder: Path, threads: int, machine: str, progress: Progress
) -> Iterator[Yardstick]:
    """Ask the original; its answers stay in `folder` as long as the block runs. Raises EngineError, FetchFailed."""
    answers = folder / ".answers.npy"
    try:
        findings = _run(original, text, threads, answers, progress, "--write")
        format = read_header(original).quant or "unknown"
        yield Yardstick(original, format, text, answers, threads, machine, findings)
    finally:
        answers.unlink(missing_ok=True)


def _run(path: Path, text: Text, threads: int, answers: Path, progress: Progress, *flags: str) -> Findings:
    size = text.path.stat().st_size
    with phase(progress, f"measuring {path.name.removesuffix('.part')}", size):
        for fact in _probe(path, text, threads, "--reference", str(answers), *flags):
            if isinstance(fact, Stage):
                progress.update(size * fact.done // fact.total)
    assert isinstance(fact, Findings)
    return fact


def _probe(path: Path, text: Text, threads: int, *flags: str) -> Iterator[Stage | Findings | Speed]:
    """What the process that measures says; the last is what it found. Raises EngineError."""
    command = [sys.executable, "-m", "localchat_quantize.probe", str(path), "--threads", str(threads)]
    command += ["--text", str(text.path), *flags]
    fact = None
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                fact = msgspec.json.decode(line, type=Stage | Findings | Speed)
                yield fact
        except BaseException:
            process.kill()
            raise
        process.wait()
        complaints.seek(0)
        complaint = complaints.read().decode(errors="replace").strip().splitlines()
    if fact is None or isinstance(fact, Stage) or process.returncode:
        why = complaint[-1] if complaint else f"its process ended with {process.returncode}"
        raise EngineError(f"{path.name} could not be measured: {why}")


def _digits(value: float | None, digits: int = 4) -> float | None:
    """Rounded to what is worth keeping."""
    return None if value is None else float(f"{value:.{digits}g}")
