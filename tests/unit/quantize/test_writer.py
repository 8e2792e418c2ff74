"""GGUF files: what is in them, and what is left when they cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from numpy.typing import NDArray

from localchat.errors import ConfigError, FetchFailed, WeightsError
from localchat.hub.progress import SilentProgress
from localchat_quantize.tensor import Tensor
from localchat_quantize.vocabulary import vocabulary
from localchat_quantize.writer import TensorPlan, write_gguf

METADATA: vocabulary.Metadata = {
    "llama.block_count": 2,
    "llama.epsilon": 1e-5,
    "llama.name": "tiny",
    "llama.parallel": True,
    "llama.tokens": ["a", "ä", "\n"],
    "llama.types": [1, 3, 6],
    "llama.scores": [0.5, -1.0, 2.0],
    "llama.bytes": b"\x00\xff",
}


def plan(name: str, values: NDArray[np.float32]) -> TensorPlan:
    return TensorPlan(name, Tensor(values.shape, lambda rows: values[rows], by_rows=True))


def write(path: Path, plans: list[TensorPlan], type: str = "F32") -> GGUFReader:
    write_gguf(path, "llama", METADATA, plans, type, SilentProgress())
    return GGUFReader(path)


def test_metadata(tmp_path: Path) -> None:
    fields = write(tmp_path / "a.gguf", []).fields
    assert {key: fields[key].contents() for key in METADATA if key not in ("llama.epsilon", "llama.bytes")} == {
        key: value for key, value in METADATA.items() if key not in ("llama.epsilon", "llama.bytes")
    }
    assert fields["llama.epsilon"].contents() == pytest.approx(1e-5)
    assert fields["llama.bytes"].contents() == [0, 255]
    assert fields["general.architecture"].contents() == "llama"


def test_types_of_tensors(tmp_path: Path) -> None:
    matrix, vector = np.ones((3, 5), np.float32), np.ones(5, np.float32)
    plans = [
        plan("token_embd.weight", matrix),
        plan("blk.0.attn_norm.weight", vector),
        plan("blk.0.attn_q_norm.weight", matrix),
        plan("position_embd.weight", matrix),
        plan("blk.0.attn_q.bias", vector),
    ]
    for type in ("F32", "F16", "BF16"):
        found = {
            tensor.name: tensor.tensor_type.name for tensor in write(tmp_path / f"{type}.gguf", plans, type).tensors
        }
        assert found.pop("token_embd.weight") == type
        assert set(found.values()) == {"F32"}


def test_values_of_tensors(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
    plans = [plan("a.weight", values), plan("b.weight", values[:3] * 2), plan("c.bias", values[0])]
    exact = {tensor.name: tensor for tensor in write(tmp_path / "a.gguf", plans).tensors}
    assert np.array_equal(exact["a.weight"].data, values)
    assert np.array_equal(exact["b.weight"].data, values[:3] * 2)
    assert list(exact["a.weight"].shape) == [33, 7]
    half = {tensor.name: tensor for tensor in write(tmp_path / "b.gguf", plans, "F16").tensors}
    assert np.array_equal(half["a.weight"].data, values.astype(np.float16))
    assert np.array_equal(half["c.bias"].data, values[0])


def test_bfloat16_is_the_nearest(tmp_path: Path) -> None:
    values = np.array([[1.0, 1.00390625, 1.01171875, -3.14159, np.inf, np.nan, 3.4e38]], np.float32)
    data = write(tmp_path / "a.gguf", [plan("a.weight", values)], "BF16").tensors[0].data.view(np.uint16)
    found = (data.astype(np.uint32) << 16).view(np.float32).ravel()
    assert found == pytest.approx([1.0, 1.0, 1.015625, -3.140625, np.inf, np.nan, np.inf], nan_ok=True)


def test_value_that_a_half_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.weight has values that F16 cannot hold; convert to BF16 or F32"):
        write(tmp_path / "a.gguf", [plan("a.weight", np.full((2, 2), 7e4, np.float32))], "F16")
    assert not list(tmp_path.iterdir())


def test_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Q4_K_M is no type to convert to; these are: F32, F16, BF16"):
        write(tmp_path / "a.gguf", [], "Q4_K_M")


def test_interrupted_run_leaves_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    def interrupt(rows: slice) -> NDArray[np.float32]:
        assert list(tmp_path.glob("*.part"))
        raise KeyboardInterrupt

    target = tmp_path / "a.gguf"
    target.write_bytes(b"what was there")
    with pytest.raises(KeyboardInterrupt):
        write(
            target, [plan("a.weight", np.ones((2, 2), np.float32)), TensorPlan("b.weight", Tensor((2, 2), interrupt))]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
    assert target.read_bytes() == b"what was there"


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    def never(rows: slice) -> NDArray[np.float32]:
        raise AssertionError

    with pytest.raises(FetchFailed, match=r"a\.gguf needs 4\.0 TB free in"):
        write(tmp_path / "a.gguf", [TensorPlan("a.weight", Tensor((10**6, 10**6), never))])
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"a\.gguf could not be written"):
        write(tmp_path / "file" / "a.gguf", [])
