"""A checkpoint as a converter reads it: what is taken is remembered, so that nothing is left behind unseen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.tensor import Tensor
from localchat_quantize.writer import TensorPlan

Change = Callable[[Tensor], Tensor]


class Source:
    """Tensors and settings of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._names = frozenset(checkpoint.names)
        self._taken: set[str] = set()

    def setting(self, *names: str, default: Any = None) -> Any:
        """The first of these keys that config.json has a value for: the same thing has had several names."""
        config = self._checkpoint.config
        value = next((config[name] for name in names if config.get(name) is not None), default)
        if value is None:
            raise WeightsError(f"config.json has no {names[0]}; take the one that the checkpoint came with")
        return value

    def json(self, name: str) -> Any:
        """The content of one of the checkpoint's JSON files, or None."""
        return self._checkpoint.json(name)

    def refuse(self, why: str) -> WeightsError:
        """The error to raise where a file would be made that computes something else."""
        return WeightsError(f"{self._checkpoint.folder.name} ({self._checkpoint.architecture}) is not converted: {why}")

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self._names

    def prefix(self, *candidates: str, of: str) -> str:
        """The candidate under which there is a tensor `of`: a bare model's names lack what a whole one's begin with."""
        return next((prefix for prefix in candidates if self.has(prefix + of)), candidates[0])

    def take(self, name: str) -> Tensor:
        """A tensor of the checkpoint."""
        self._taken.add(name)
        read = self._checkpoint.read
        return Tensor(self._checkpoint.shape(name), lambda rows: read(name, rows), by_rows=True)

    def copy(self, target: str, name: str, change: Change | None = None) -> Iterator[TensorPlan]:
        """The weight and, where there is one, the bias of a layer."""
        for kind in ("weight", "bias"):
            if kind == "weight" or self.has(f"{name}.{kind}"):
                tensor = self.take(f"{name}.{kind}")
                yield TensorPlan(f"{target}.{kind}", change(tensor) if change else tensor)

    def copy_all(self, target: str, prefix: str, names: Mapping[str, str]) -> Iterator[TensorPlan]:
        """Several layers as they are: llama.cpp's name → the checkpoint's, each after its prefix."""
        for new, old in names.items():
            yield from self.copy(target + new, prefix + old)

    def head(self, name: str, embedding: str, *, tied: bool, needed: bool = False) -> Iterator[TensorPlan]:
        """The output matrix. A tied one is the embedding, whatever the checkpoint holds; some graphs need it all the
        same."""
        if not self.setting("tie_word_embeddings", default=tied):
            yield from self.copy("output", name)
            return
        self.ignore(re.escape(name) + r"\.weight")
        if needed:
            yield TensorPlan("output.weight", self.take(f"{embedding}.weight"))

    def ignore(self, pattern: str) -> None:
        """Tensors that the graph has no use for."""
        self._taken |= {name for name in self._names if re.fullmatch(pattern, name)}

    def check_all_taken(self) -> None:
        """WeightsError if the checkpoint has more than was taken or ignored: what is missing would be missed."""
        left = sorted(self._names - self._taken)
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise self.refuse(f"it holds {', '.join(left[:3])}{more}, which a model of this class does not have")
