"""A checkpoint's way into a GGUF file: planned first, as far as can be told without reading weights."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import WeightsError
from localchat.hub.progress import Progress
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert.source import Source
from localchat_quantize.convert.table import converter_for
from localchat_quantize.vocabulary import read_vocabulary
from localchat_quantize.vocabulary.vocabulary import Metadata
from localchat_quantize.writer import TensorPlan, write_gguf

_MISFITS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class Conversion:
    """All that a file will hold."""

    architecture: str
    """llama.cpp's name of the graph."""
    metadata: Metadata
    plans: Sequence[TensorPlan]

    def size(self, type: str) -> int:
        """Bytes of tensors in a file of this type."""
        return sum(plan.nbytes(type) for plan in self.plans)

    def write(self, target: Path, type: str, progress: Progress) -> None:
        """Write the file. Nothing half-written is left. Raises ConfigError, WeightsError."""
        with _one_line(str(self.metadata["general.name"])):
            write_gguf(target, self.architecture, self.metadata, self.plans, type, progress)


def plan_conversion(checkpoint: Checkpoint, name: str | None = None) -> Conversion:
    """What a checkpoint becomes; `name` is the model's, the folder's by default. Raises WeightsError, ConfigError."""
    converter, source = converter_for(checkpoint), Source(checkpoint)
    with _one_line(checkpoint.folder.name):
        hparams = converter.hparams(source)
        plans = tuple(converter.tensors(source))
    source.check_all_taken()
    rows = next(plan.tensor.shape[0] for plan in plans if plan.name == "token_embd.weight")
    vocabulary = read_vocabulary(checkpoint).fitted(rows)
    metadata: Metadata = {"general.type": "model", "general.name": name or checkpoint.folder.name}
    metadata |= {f"{converter.graph}.{key}": value for key, value in hparams.items()}
    metadata[f"{converter.graph}.vocab_size"] = rows
    return Conversion(converter.graph, metadata | vocabulary.metadata(), plans)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Settings are used as they stand: those that are no numbers, or no sizes of these weights, fail somewhere."""
    try:
        yield
    except _MISFITS as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WeightsError(
            f"{name}: config.json and the weights do not fit each other ({why}); take both from one checkpoint"
        ) from error
