"""Weights in .bin files, which torch reads and no code in them is run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint

ROWS = torch.arange(12, dtype=torch.float32).reshape(4, 3)


def write(folder: Path, content: Any, *, name: str = "pytorch_model.bin", **options: Any) -> Path:
    (folder / "config.json").write_text("{}")
    torch.save(content, folder / name, **options)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_file(tmp_path: Path, dtype: torch.dtype) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS.to(dtype), "b": torch.tensor(7.0), "epoch": 3}))
    assert checkpoint.names == ("a", "b")
    assert checkpoint.shape("a") == (4, 3)
    assert checkpoint.read("a").dtype == np.float32
    assert np.array_equal(checkpoint.read("a"), ROWS.numpy())
    assert np.array_equal(checkpoint.read("a", slice(1, 3)), ROWS.numpy()[1:3])
    assert checkpoint.read("b") == 7


def test_what_is_read_may_be_changed(tmp_path: Path) -> None:
    """Deltas are added in place."""
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}))
    checkpoint.read("a")[:] = 0
    assert np.array_equal(checkpoint.read("a"), ROWS.numpy())


def test_shards(tmp_path: Path) -> None:
    write(tmp_path, {"a": ROWS}, name="pytorch_model-00001-of-00002.bin")
    write(tmp_path, {"b": ROWS + 1}, name="pytorch_model-00002-of-00002.bin")
    places = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert np.array_equal(Checkpoint(tmp_path).read("b"), (ROWS + 1).numpy())


def test_format_that_cannot_be_mapped(tmp_path: Path) -> None:
    """From before torch 1.6."""
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}, _use_new_zipfile_serialization=False))
    assert np.array_equal(checkpoint.read("a"), ROWS.numpy())


def test_transposed_weights(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS.T, "b": torch.nn.Parameter(ROWS)}))
    assert np.array_equal(checkpoint.read("a"), ROWS.T.numpy())
    assert np.array_equal(checkpoint.read("b"), ROWS.numpy())


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


def test_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin is broken or holds more than tensors; it is not read"):
        Checkpoint(write(tmp_path, {"a": ROWS, "b": Hostile()}))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("size", [0, 100, -64])
def test_broken_file_is_named(tmp_path: Path, size: int) -> None:
    file = write(tmp_path, {"a": ROWS}) / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[: size or 0])
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin is broken"):
        Checkpoint(tmp_path)


def test_file_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a Tensor and no tensors by name"):
        Checkpoint(write(tmp_path, ROWS))


def test_weights_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": torch.ones(2, dtype=torch.int8)}))
    with pytest.raises(WeightsError, match=r"a in pytorch_model\.bin is int8; only F32, F16, BF16"):
        checkpoint.read("a")
