"""Every format of llama.cpp's: what becomes of a model in it, and which are not made, or not without an importance
matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from gguf import GGUFReader

from localchat.errors import ConfigError, EngineError
from localchat.hardware import read_header
from localchat.llama import quantize as ours
from localchat.llama.quantize import FORMATS, NEED_IMPORTANCE, NOT_MADE, Importance, check_format, quantize
from tiny_checkpoints.case import Logits
from tiny_checkpoints.engine import logits_three_ways
from tiny_models import build

TRAINED_SO = {"TQ1_0": "ternary", "TQ2_0": "ternary", "Q2_0": "ternary", "Q1_0": "signs"}
"""Formats for models that were trained to have few different weights; others say noise in them."""

LEAST = ((15, 0.9998), (8, 0.997), (6.5, 0.985), (5.4, 0.96), (4.4, 0.86), (3.4, 0.7), (2.8, 0.45), (0, 0.3))
"""Bits a weight, and how much the logits must agree at least (correlation), for weights that are noise."""

TOKENS = [int(token) for token in np.random.default_rng(1).integers(3, 200, 40)]
WIDTH = 256


def logits(path: Path) -> Logits:
    return logits_three_ways(path, TOKENS, 25)["alone"][1]


def bits_per_weight(path: Path) -> float:
    tensors = read_header(path).tensors
    return 8 * sum(tensor.nbytes for tensor in tensors) / sum(int(np.prod(tensor.shape)) for tensor in tensors)


def change(path: Path, edit: Callable[[str, Logits], Logits]) -> Path:
    """Other numbers in the matrices of a file."""
    for tensor in GGUFReader(path, "r+").tensors:
        if len(tensor.shape) == 2:
            tensor.data[:] = edit(tensor.name, np.array(tensor.data))
    return path


def ternary(_name: str, values: Logits) -> Logits:
    size = np.abs(values).mean()
    found: Logits = np.sign(values) * (np.abs(values) > 0.8 * size) * size
    return found


def signs(_name: str, values: Logits) -> Logits:
    found: Logits = np.sign(values) * np.abs(values).mean()
    return found


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    made = {
        name: build(folder / f"{name}.gguf", "llama", width=WIDTH, layers=1) for name in ("any", "ternary", "signs")
    }
    change(made["ternary"], ternary)
    change(made["signs"], signs)
    return made


@pytest.fixture(scope="module")
def importance(originals: dict[str, Path]) -> Importance:
    """As of a text that asks all columns alike."""
    tensors = read_header(originals["any"]).tensors
    matrices = [tensor for tensor in tensors if len(tensor.shape) == 2 and tensor.name.startswith("blk.")]
    return {matrix.name: np.ones(matrix.shape[0], np.float32) for matrix in matrices}


@pytest.mark.parametrize("format", FORMATS)
def test_model_says_nearly_the_same(
    originals: dict[str, Path], importance: Importance, tmp_path: Path, format: str
) -> None:
    source, target = originals[TRAINED_SO.get(format, "any")], tmp_path / "target.gguf"
    needed = importance if format in NEED_IMPORTANCE else None
    quantize(source, target, format, threads=1, requantize=False, importance=needed)
    assert read_header(target).quant == format
    found = logits(target)
    assert np.isfinite(found).all()
    least = 0.9 if format in TRAINED_SO else next(least for bits, least in LEAST if bits_per_weight(target) >= bits)
    assert np.corrcoef(found.ravel(), logits(source).ravel())[0, 1] >= least


@pytest.mark.parametrize("format", sorted(NEED_IMPORTANCE))
def test_importance_that_is_needed_is_asked_for(originals: dict[str, Path], tmp_path: Path, format: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{format} takes an importance matrix"):
        quantize(originals["any"], tmp_path / "target.gguf", format, threads=1, requantize=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", sorted(NOT_MADE))
def test_format_that_llama_cpp_does_not_make_is_refused(
    originals: dict[str, Path], tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=rf"^{format} is a format that llama\.cpp reads and does not make"):
        check_format(format)
    monkeypatch.setattr(ours, "NOT_MADE", frozenset())
    monkeypatch.setattr(ours, "FORMATS", {format: getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{format}")})
    with pytest.raises(EngineError, match="invalid output file type"):
        quantize(originals["any"], tmp_path / "target.gguf", format, threads=1, requantize=False)
