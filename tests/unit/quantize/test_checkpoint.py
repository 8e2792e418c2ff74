"""Checkpoints as they come, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from localchat.errors import ConfigError, WeightsError
from localchat_quantize.checkpoint import Checkpoint

Array = NDArray[np.generic]

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(folder: Path, *shards: dict[str, Array], config: object = None) -> Path:
    """A checkpoint of one file, or of several with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"]} if config is None else config)
    )
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors")
        return folder
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file)
        places |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def test_one_file(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS, "b": ROWS[0].astype(np.float16)}))
    assert set(checkpoint.names) == {"a", "b"}
    assert (checkpoint.shape("a"), checkpoint.dtype("a"), checkpoint.dtype("b")) == ((4, 3), "F32", "F16")
    assert np.array_equal(checkpoint.read("a"), ROWS)
    assert checkpoint.read("b").dtype == np.float32


def test_shards(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}, {"b": ROWS + 1}))
    assert np.array_equal(checkpoint.read("b"), ROWS + 1)


def test_some_rows(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}))
    assert np.array_equal(checkpoint.read("a", slice(1, 3)), ROWS[1:3])


def test_scalars_and_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"one": np.array(7, np.float32), "none": np.zeros((0, 3), np.float32)}))
    assert checkpoint.read("one") == 7
    assert checkpoint.read("none").shape == (0, 3)


def test_bfloat16(tmp_path: Path) -> None:
    """numpy has no such type, and safetensors writes none from it: the bytes are put together here."""
    write(tmp_path, {"x": ROWS})
    header = json.dumps({"a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    halves = np.array([1.0, -2.5, 3e38], np.float32).view(np.uint32) >> 16
    content = len(header).to_bytes(8, "little") + header + halves.astype(np.uint16).tobytes()
    (tmp_path / "model.safetensors").write_bytes(content)
    assert Checkpoint(tmp_path).read("a") == pytest.approx([1.0, -2.5, 3e38], rel=1e-2)


def test_config_keeps_its_old_keys(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}, config={"architectures": ["RWForCausalLM"], "n_head_kv": 8}))
    assert (checkpoint.architecture, checkpoint.config["n_head_kv"]) == ("RWForCausalLM", 8)


def test_deltas_are_added_to_their_base(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"a": ROWS, "norm": ROWS[0]})
    delta = write(tmp_path / "delta", {"a": ROWS * 10, "norm": ROWS[1]})
    checkpoint = Checkpoint(delta, base)
    assert np.array_equal(checkpoint.read("a"), ROWS * 11)
    assert np.array_equal(checkpoint.read("a", slice(2, 4)), ROWS[2:4] * 11)
    assert np.array_equal(checkpoint.read("norm"), ROWS[0] + ROWS[1])


def test_rows_of_tokens_that_a_delta_added_stand_as_they_are(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"a": ROWS[:3]})
    checkpoint = Checkpoint(write(tmp_path / "delta", {"a": ROWS}), base)
    assert np.array_equal(checkpoint.read("a"), np.concatenate([ROWS[:3] * 2, ROWS[3:]]))
    assert np.array_equal(checkpoint.read("a", slice(3, 4)), ROWS[3:])
    assert np.array_equal(checkpoint.read("a", slice(2, 4)), np.stack([ROWS[2] * 2, ROWS[3]]))


def test_another_base_is_named(tmp_path: Path) -> None:
    delta = write(tmp_path / "delta", {"a": ROWS})
    with pytest.raises(ConfigError, match="shares no tensor"):
        Checkpoint(delta, write(tmp_path / "other", {"b": ROWS}))
    with pytest.raises(WeightsError, match=r"a is \(4, 3\) in .* and \(4, 2\) in .*; name the right base"):
        Checkpoint(delta, write(tmp_path / "narrow", {"a": ROWS[:, :2].copy()})).read("a")
    with pytest.raises(WeightsError, match="has no tensor b"):
        Checkpoint(write(tmp_path / "more", {"a": ROWS, "b": ROWS}), delta).read("b")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        Checkpoint(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="has no weights"):
        Checkpoint(tmp_path)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": ROWS}, {"b": ROWS})
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks model-00002-of-00002\.safetensors"):
        Checkpoint(tmp_path)


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": ROWS}))
    with pytest.raises(WeightsError, match="has no tensor b"):
        checkpoint.read("b")


def test_shard_without_what_the_index_says_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": ROWS}, {"b": ROWS})
    save_file({"c": ROWS}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(WeightsError, match="does not hold b"):
        Checkpoint(tmp_path).read("b")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "header would be 0 bytes"),
        (b"\xff" * 64, "header would be"),
        (b"\x08" + b"\0" * 7 + b"not json", "Expecting"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    write(tmp_path, {"a": ROWS})
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=f"model.safetensors is no safetensors file, or broken .*{complaint}"):
        Checkpoint(tmp_path)


def test_cut_shard_is_named_before_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"a": ROWS}, {"b": ROWS})
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(WeightsError, match=r"it ends at byte .*, and b at"):
        checkpoint.shape("b")


def test_weights_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write(tmp_path, {"a": np.ones((2, 2), np.int8)}))
    with pytest.raises(WeightsError, match=r"a in model\.safetensors is I8; only F32, F16, BF16"):
        checkpoint.read("a")


@pytest.mark.parametrize("config", [{}, {"architectures": []}, {"architectures": [None]}])
def test_checkpoint_that_names_no_class(tmp_path: Path, config: object) -> None:
    with pytest.raises(WeightsError, match="names no architecture"):
        _ = Checkpoint(write(tmp_path, {"a": ROWS}, config=config)).architecture


def test_file_that_is_no_json(tmp_path: Path) -> None:
    write(tmp_path, {"a": ROWS})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is no JSON"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("index", ["[]", '{"weight_map": 3}', "{", '{"weight_map": {"a": 3}}'])
def test_index_that_is_none(tmp_path: Path, index: str) -> None:
    write(tmp_path, {"a": ROWS}, {"b": ROWS})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match="is no index of shards"):
        Checkpoint(tmp_path)


def test_index_that_leads_outside_the_folder_does_not(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint", {"a": ROWS}, {"b": ROWS})
    save_file({"a": ROWS}, tmp_path / "secret.safetensors")
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "checkpoint/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"lacks secret\.safetensors"):
        Checkpoint(tmp_path / "checkpoint")
