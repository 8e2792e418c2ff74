"""A folder as Hugging Face models come: config.json, weights in one file or many, tokenizer files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from localchat.errors import ConfigError, WeightsError
from localchat_quantize.weights import ALL, Array, WeightsFile, open_weights

_SINGLE = ("model.safetensors", "pytorch_model.bin")


class Checkpoint:
    """What a converter reads. With `base`, the folder holds the difference to that one, and reads give the sum.

    Raises WeightsError for what is missing or broken.
    """

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder; give the one that holds config.json and the weights")
        self.folder = folder
        config = self.json("config.json")
        if config is None:
            raise WeightsError(f"{folder} has no config.json; give the folder of a Hugging Face checkpoint")
        if not isinstance(config, Mapping):
            raise WeightsError(f"{folder / 'config.json'} holds no settings by name; fetch it again")
        self.config: Mapping[str, Any] = config
        """As it is written: transformers renames old keys on reading, and converters need those."""
        self._files = _find_weights(folder)
        self._open = cache(open_weights)
        self._base = Checkpoint(base) if base else None
        if self._base:
            self._check_base(self._base)

    @property
    def architecture(self) -> str:
        """The class that the model was made with, as in `GPTNeoXForCausalLM`."""
        named = self.config.get("architectures")
        if not isinstance(named, list) or not named or not isinstance(named[0], str):
            raise WeightsError(
                f'{self.folder / "config.json"} names no architecture; add "architectures": [class name]'
            )
        return named[0]

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors."""
        return tuple(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """How long a tensor is in each dimension."""
        return self._file(name).shape(name)

    def dtype(self, name: str) -> str:
        """The type that a tensor is stored in: F32, F16, BF16."""
        return self._file(name).dtype(name)

    def read(self, name: str, rows: slice = ALL) -> Array:
        """A tensor, or some of its rows, in float32."""
        values = self._file(name).read(name, rows)
        return values if self._base is None else self._summed(self._base, name, rows, values)

    def json(self, name: str) -> Any:
        """The content of one of its JSON files, or None where there is no such file."""
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{path} is no JSON ({error}); fetch it again") from error

    def _file(self, name: str) -> WeightsFile:
        path = self._files.get(name)
        if path is None:
            raise WeightsError(f"{self.folder} has no tensor {name}; the checkpoint is incomplete, or of another kind")
        file = self._open(path)
        if name not in file.names():
            raise WeightsError(f"{path} does not hold {name}, which the index says it does; fetch it again")
        return file

    def _check_base(self, base: Checkpoint) -> None:
        if not set(self.names) & set(base.names):
            raise ConfigError(f"{base.folder} shares no tensor with {self.folder}: it is not the base of these deltas")

    def _summed(self, base: Checkpoint, name: str, rows: slice, delta: Array) -> Array:
        """Rows past the base's end are those of added tokens, and stand in the delta as they are."""
        shape = base.shape(name)
        if len(shape) != delta.ndim or shape[1:] != self.shape(name)[1:]:
            raise WeightsError(
                f"{name} is {self.shape(name)} in {self.folder} and {shape} in {base.folder}; name the right base"
            )
        first = rows.start or 0
        common = min(len(delta), shape[0] - first) if delta.ndim else 1
        if common > 0:
            delta[:common] += base.read(name, slice(first, first + common))
        return np.asarray(delta)


def _find_weights(folder: Path) -> dict[str, Path]:
    """Tensor → file. One kind of file only: folders often hold the same weights in both."""
    for single in _SINGLE:
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return dict.fromkeys(open_weights(folder / single).names(), folder / single)
        if index.is_file():
            return _read_index(folder, index)
    raise WeightsError(f"{folder} has no weights: no {' and no '.join(_SINGLE)}, and no index of shards")


def _read_index(folder: Path, index: Path) -> dict[str, Path]:
    try:
        shards: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: folder / Path(shard).name for name, shard in shards.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of shards ({error!r}); fetch it again") from error
    missing = sorted({path.name for path in files.values() if not path.is_file()})
    if missing:
        raise WeightsError(f"{folder} lacks {', '.join(missing)}; fetch the checkpoint again")
    return files
