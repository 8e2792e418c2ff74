"""Importance matrices: how much each column of each matrix matters, gathered while a model reads a text.

They are kept as llama.cpp's tools keep them: a GGUF file with `NAME.in_sum2` (sums of squares) and `NAME.counts`
(tokens) for each matrix, so that either program can use the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localchat.errors import ConfigError, EngineError
from localchat.llama.activations import Activations, Use
from localchat.llama.model import Model
from localchat_quantize.chunks import Step, chunk_size, chunks_of, read, reader

_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class ImportanceMatrix:
    """The use of each matrix over `chunks` chunks of `chunk_size` tokens of the text that `dataset` names."""

    uses: dict[str, Use]
    dataset: str
    chunks: int
    chunk_size: int

    def importance(self) -> dict[str, NDArray[np.float32]]:
        """The mean square of each column's input, as the quantizer takes it; 1 for an expert that was never asked."""
        return {name: _mean_squares(use) for name, use in self.uses.items()}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        from gguf import GGUFWriter  # noqa: PLC0415 - an extra

        part = path.with_name(f"{path.name}.part")
        writer = GGUFWriter(part, "imatrix")
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", [self.dataset])
        writer.add_uint32("imatrix.chunk_count", self.chunks)
        writer.add_uint32("imatrix.chunk_size", self.chunk_size)
        for name, use in sorted(self.uses.items()):
            writer.add_tensor(name + _SUMS, use.squares.astype(np.float32))
            writer.add_tensor(name + _COUNTS, use.counts.astype(np.float32)[:, None])
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def collect(path: Path, text: str, *, dataset: str, threads: int, step: Step | None = None) -> ImportanceMatrix:
    """Let the model in `path` read a text. Raises ConfigError for a short text, EngineError, ModelLoadFailed."""
    model, seen = Model(path), Activations()
    try:
        if not model.has_decoder:
            raise ConfigError(f"{path.name} writes no text, so that nothing tells which of its weights matter")
        size = chunk_size(model)
        chunks = chunks_of(model.vocabulary, text, size)
        with reader(model, threads, seen) as context:
            for _ in read(context, chunks, step, whole=True):
                if seen.error is not None:
                    break
    finally:
        model.close()
    if isinstance(seen.error, KeyboardInterrupt):
        raise seen.error
    if seen.error is not None:
        raise EngineError(f"the importance of {path.name} could not be gathered: {seen.error}") from seen.error
    return ImportanceMatrix(seen.uses, dataset, len(chunks), size)


def load(path: Path) -> ImportanceMatrix:
    """Read a file that this or llama.cpp's llama-imatrix wrote. Raises ConfigError for anything else."""
    from gguf import GGUFReader  # noqa: PLC0415 - an extra

    try:
        reader = GGUFReader(path)
        tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        fields = {name: field.contents() for name, field in reader.fields.items()}
        names = [name.removesuffix(_SUMS) for name in tensors if name.endswith(_SUMS)]
        uses = {name: _use(tensors[name + _SUMS], tensors[name + _COUNTS]) for name in names}
        chunks, size = int(fields["imatrix.chunk_count"]), int(fields["imatrix.chunk_size"])
        return ImportanceMatrix(uses, ", ".join(fields["imatrix.datasets"]), chunks, size)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"{path} is not an importance matrix in GGUF form: {error}") from None


def _use(sums: NDArray[np.float32], counts: NDArray[np.float32]) -> Use:
    matrices = counts.size
    return Use(sums.reshape(matrices, -1).astype(np.float64), counts.reshape(-1).round().astype(np.int64))


def _mean_squares(use: Use) -> NDArray[np.float32]:
    asked = use.counts[:, None] > 0
    means = np.where(asked, use.squares / np.maximum(use.counts[:, None], 1), 1.0)
    return np.ascontiguousarray(means.reshape(-1), dtype=np.float32)
