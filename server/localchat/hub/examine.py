"""A second look at an installed file: its content, and the structure of its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localchat.errors import ChecksumMismatch, WeightsError
from localchat.hub import ledger
from localchat.hub.checksum import Digest, bad_blocks, check_size, digest_of
from localchat.hub.form import check_structure
from localchat.hub.ledger import Record
from localchat.hub.place import claimed_sha256, commit_of, content_of
from localchat.hub.progress import Progress, format_bytes, phase
from localchat.hub.quarantine import quarantine
from localchat.registry import Choice


@dataclass(frozen=True)
class Verdict:
    """What was found; `moved` is where a bad file was put, unless it is not ours to move."""

    path: Path
    digest: Digest
    problem: WeightsError | None = None
    moved: Path | None = None

    @property
    def is_good(self) -> bool:
        """Whether the file may be used."""
        return self.problem is None

    def describe(self) -> str:
        """What is wrong, and where the file is now."""
        return f"{self.problem}; it was moved to {self.moved}" if self.moved else str(self.problem)


def examine(choice: Choice, path: Path, models_dir: Path, progress: Progress) -> Verdict:
    """Read the whole file. A good one is noted in the ledger, a bad one quarantined."""
    record = ledger.find(choice, models_dir)
    with phase(progress, f"{choice.spec.id} {choice.quant.name}: checking", path.stat().st_size):
        digest = digest_of(path, progress)
    expected = choice.quant.sha256 or (record and record.digest.sha256) or claimed_sha256(choice, path)
    try:
        if expected is not None and digest.sha256 != expected:
            raise ChecksumMismatch(_describe(path, digest, expected, record))
        check_size(str(path), digest.size, choice.quant.size)
        check_structure(path, str(path))
    except WeightsError as error:
        is_ours = _is_ours(choice, path, digest, record)
        content = content_of(choice, path)
        return Verdict(path, digest, error, quarantine(content, content) if is_ours else None)
    ledger.write(choice, models_dir, path, digest, commit_of(choice, path))
    return Verdict(path, digest)


def _describe(path: Path, digest: Digest, expected: str, record: Record | None) -> str:
    text = f"{path} is not what it should be: its SHA-256 is {digest.sha256}, expected {expected}"
    if record is None or record.digest.sha256 != expected:
        return text
    bad, size = bad_blocks(digest, record.digest), record.digest.size
    blocks = f"{len(bad)} of {len(record.digest.blocks)} blocks are bad"
    return f"{text}; {blocks}" + (f", and it has {format_bytes(digest.size)} of {size}" if digest.size != size else "")


def _is_ours(choice: Choice, path: Path, digest: Digest, record: Record | None) -> bool:
    """Whether a bad file may be moved: not a person's own, and not what the Hub really has under this name."""
    if choice.quant.source.kind == "hf":
        claimed = claimed_sha256(choice, path) or (record and record.digest.sha256)
        return claimed is not None and claimed != digest.sha256
    return choice.quant.source.kind != "path"
