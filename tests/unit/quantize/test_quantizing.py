"""Quantization in a process of its own: the same file, and errors instead of ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf import GGUFReader

from localchat.errors import ConfigError, EngineError
from localchat.hardware import read_header
from localchat.llama.quantize import Importance, quantize
from localchat_quantize.quantizing import check_importance, quantize_apart
from tiny_models import build

MATRIX = "blk.0.ffn_down.weight"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return build(tmp_path / "source.gguf", "llama", width=256, layers=1)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.gguf"


def importance(source: Path, value: float = 1.0) -> Importance:
    matrices = [tensor for tensor in read_header(source).tensors if tensor.name.startswith("blk.0.ffn_")]
    return {matrix.name: np.full(matrix.shape[0], value, np.float32) for matrix in matrices if len(matrix.shape) == 2}


def apart(source: Path, target: Path, format: str, **options: object) -> None:
    quantize_apart(source, target, format, threads=1, requantize=False, **options)  # type: ignore[arg-type]


def spoil(path: Path, value: float) -> None:
    next(tensor for tensor in GGUFReader(path, "r+").tensors if tensor.name == MATRIX).data[3, 5] = value


def test_file_is_the_one_that_is_made_here(source: Path, target: Path, tmp_path: Path) -> None:
    given = importance(source)
    notes: dict[str, str | int] = {"general.note": "some", "general.count": 7}
    apart(source, target, "Q4_K_M", importance=given, metadata=notes)
    here = tmp_path / "here.gguf"
    quantize(source, here, "Q4_K_M", threads=1, requantize=False, importance=given, metadata=notes)
    assert target.read_bytes() == here.read_bytes()


def test_weights_that_are_no_numbers_are_named(source: Path, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil(source, np.nan)
    with pytest.raises(
        EngineError, match=rf"could not turn source\.gguf into Q8_0: tensor '{MATRIX}' has invalid data"
    ):
        apart(source, target, "Q8_0")
    assert capfd.readouterr().err == ""


def test_weights_that_end_llama_cpp_are_an_error(source: Path, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil(source, 3e38)
    with pytest.raises(EngineError, match=r"gave up turning source\.gguf into IQ3_S \(.+\); its weights may hold"):
        apart(source, target, "IQ3_S")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_importance_that_is_no_mean_square_is_refused(source: Path, target: Path, value: float) -> None:
    with pytest.raises(ConfigError, match=r"numbers for blk\.0\.ffn_\w+\.weight that are no mean squares"):
        apart(source, target, "Q4_K_M", importance=importance(source, value))


def test_importance_of_another_model_is_refused(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"knows none of the matrices of source\.gguf"):
        check_importance(source, {"blk.0.other.weight": np.ones(256, np.float32)})
    with pytest.raises(ConfigError, match=rf"has 256 columns of {MATRIX}, and source\.gguf 1024"):
        check_importance(source, {MATRIX: np.ones(256, np.float32)})


def test_refusals_come_back_as_they_are(source: Path, target: Path) -> None:
    with pytest.raises(ConfigError, match=r"^IQ2_XXS takes an importance matrix"):
        apart(source, target, "IQ2_XXS")
    apart(source, target, "Q4_0")
    with pytest.raises(
        EngineError, match=r"could not turn target\.gguf into Q8_0: .*requantizing from type q6_K is disabled"
    ):
        apart(target, target.with_name("again.gguf"), "Q8_0")


def test_interrupt_ends_the_process(source: Path, target: Path) -> None:
    seen: list[psutil.Process] = []

    def interrupt(_written: int) -> None:
        children = psutil.Process().children()  # others may be there that earlier tests have left to end
        seen.extend(child for child in children if "localchat_quantize.quantizing" in child.cmdline())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apart(source, target, "IQ3_S", importance=importance(source), step=interrupt)
    assert seen
    assert not any(process.is_running() for process in seen)
