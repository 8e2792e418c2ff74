"""What can go wrong with `localchat quantize`: each is one line, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from localchat.cli import quantize as command
from localchat.cli.app import main
from localchat.llama.activations import Use
from localchat_quantize.convert.table import REFUSED
from localchat_quantize.imatrix import ImportanceMatrix
from tiny_checkpoints.cases import CASES
from tiny_checkpoints.encoder_decoders import ENCODER_DECODERS
from tiny_models import build

SHARD = "model-00001-of-00001.safetensors"
PROGRESS = re.compile(r"writing \S+: |(?!localchat: )\S+: (gathering|hashing)")


class Run(NamedTuple):
    """A command that failed: its exit code, and what it said but for its progress."""

    code: Any
    said: list[str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "llama"
    CASES["llama grouped"].write(folder)
    (folder / "config.new.json").unlink()
    return folder


@pytest.fixture
def checkpoint(written: Path, tmp_path: Path) -> Path:
    """A whole checkpoint, to be spoiled."""
    return shutil.copytree(written, tmp_path / "llama")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LOCALCHAT_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def quantize(models: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs the command, which fails; nothing of it is left."""

    def run(*arguments: str | Path, to: str = "Q8_0") -> Run:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["quantize", *map(str, arguments), "--to", to, "--no-measure", "--register"])
        out, err = capfd.readouterr()
        assert out == ""
        assert list(models.glob("*")) == []
        assert not (models.parent / "registry.toml").exists()
        return Run(caught.value.code, [line for line in err.splitlines() if not PROGRESS.match(line)])

    return run


def set_config(folder: Path, **changes: Any) -> None:
    told = json.loads((folder / "config.json").read_text())
    changed = {key: value for key, value in {**told, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(changed))


def write_index(folder: Path, *, shard: bool) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / SHARD)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, SHARD)}))
    if not shard:
        (folder / SHARD).unlink()


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def write_bin(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def cast(folder: Path, dtype: torch.dtype) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"].to(dtype)
    save_file(tensors, folder / "model.safetensors")


def drop(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def shift(folder: Path) -> None:
    """A broken header: it says that tensors begin before the file does."""
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content.replace(b'"data_offsets":[0,', b'"data_offsets":[-,', 1))


def word_level(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {}}}))


def shard_cut(folder: Path) -> None:
    write_index(folder, shard=True)
    cut(folder / SHARD, 50_000)


SPOILED: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "no config.json": (lambda f: drop(f, "config.json"), r"llama has no config\.json"),
    "config.json is no JSON": (lambda f: cut(f / "config.json", 40), r"config\.json is no JSON \("),
    "config.json is a list": (lambda f: (f / "config.json").write_text("[1]"), r"config\.json holds no settings"),
    "config.json nests without end": (
        lambda f: (f / "config.json").write_text("[" * 10**6),
        r"config\.json is no JSON",
    ),
    "no setting": (lambda f: set_config(f, num_attention_heads=None), r"config\.json has no num_attention_heads"),
    "no class": (lambda f: set_config(f, architectures=7), "names no architecture"),
    "unknown class": (
        lambda f: set_config(f, architectures=["LlamaForCausalML"]),
        "LlamaForCausalML is no class of models that is converted; the nearest that is: LlamaForCausalLM",
    ),
    "setting of another model": (lambda f: set_config(f, num_attention_heads=3), "do not fit each other"),
    "setting that is no number": (lambda f: set_config(f, hidden_size="wide"), "do not fit each other"),
    "setting past all numbers": (lambda f: set_config(f, intermediate_size=1 << 70), "do not fit each other"),
    "more layers than there are": (lambda f: set_config(f, num_hidden_layers=3), r"has no tensor model\.layers\.2\."),
    "fewer layers than there are": (lambda f: set_config(f, num_hidden_layers=1), r"it holds model\.layers\.1\."),
    "no weights": (lambda f: drop(f, "model.safetensors"), "has no weights: no model.safetensors and no pytorch_"),
    "no shard": (lambda f: write_index(f, shard=False), rf"lacks {SHARD}; fetch the checkpoint again"),
    "shard cut short": (shard_cut, rf"{SHARD} is no safetensors file, or broken \(it ends at byte 50000, and"),
    "weights cut short": (lambda f: cut(f / "model.safetensors", 1000), r"model\.safetensors is no safetensors file"),
    "empty weights": (lambda f: cut(f / "model.safetensors", 0), r"model\.safetensors is no safetensors file"),
    "broken header": (shift, r"model\.safetensors is no safetensors file"),
    "broken .bin": (lambda f: write_bin(f, b"PK\x03\x04" + bytes(500)), r"pytorch_model\.bin is broken or holds more"),
    "text as .bin": (lambda f: write_bin(f, b"version https://example"), r"pytorch_model\.bin is broken or holds more"),
    "whole numbers": (
        lambda f: cast(f, torch.int8),
        r"up_proj\.weight in model\.safetensors is I8; only F32, F16, BF16",
    ),
    "small floats": (lambda f: cast(f, torch.float8_e4m3fn), r"up_proj\.weight in model\.safetensors is F8_E4M3; only"),
    "no tokenizer": (
        lambda f: drop(f, "tokenizer.model", "tokenizer_config.json"),
        "has no tokenizer: no tokenizer.js",
    ),
    "tokenizer of another kind": (word_level, r"tokenizer\.json is of the kind WordLevel"),
    "broken tokenizer": (lambda f: (f / "tokenizer.model").write_bytes(b"\xff" * 99), r"tokenizer\.model"),
    "token of a huge id": (
        lambda f: (f / "added_tokens.json").write_text(json.dumps({"<x>": 1 << 60})),
        r"the tokenizer files in .* are broken \(",
    ),
    **{
        name: (lambda f, name=name: set_config(f, architectures=[name]), rf"\({name}\) is not converted: ")  # type: ignore[misc]
        for name in REFUSED
    },
}


@pytest.mark.parametrize(("spoil", "complaint"), SPOILED.values(), ids=SPOILED)
def test_spoiled_checkpoint(
    checkpoint: Path, quantize: Callable[..., Run], spoil: Callable[[Path], object], complaint: str
) -> None:
    spoil(checkpoint)
    code, said = quantize(checkpoint)
    assert code == 1
    assert len(said) == 1
    assert re.search(rf"^localchat: .*{complaint}", said[0])


OTHERS: Mapping[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "UL2": (ENCODER_DECODERS["flan-t5"].write, {"feed_forward_proj": "gated-silu"}, "gated-silu"),
    "ChatGLM of the first version": (CASES["chatglm2"].write, {"position_encoding_2d": True}, "ChatGLM of the first"),
    "falcon-rw": (CASES["falcon 7b"].write, {"alibi": True}, "falcon-rw"),
    "OPT-350m": (CASES["opt"].write, {"do_layer_norm_before": False}, "OPT-350m"),
}


@pytest.mark.parametrize(("write", "changes", "complaint"), OTHERS.values(), ids=OTHERS)
def test_model_that_would_come_out_wrong(
    tmp_path: Path,
    quantize: Callable[..., Run],
    write: Callable[[Path], object],
    changes: dict[str, Any],
    complaint: str,
) -> None:
    write(tmp_path / "model")
    set_config(tmp_path / "model", **changes)
    code, [line] = quantize(tmp_path / "model")
    assert code == 1
    assert re.search(rf"^localchat: model \(\w+\) is not converted: .*{complaint}", line)


@pytest.mark.parametrize("free", [0, 1_500_000])
def test_full_disk(checkpoint: Path, quantize: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Before anything is written, and before what is made of the first file is."""
    used = shutil.disk_usage(checkpoint)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: used)
    code, [line] = quantize(checkpoint, to="F32")
    assert code == 1
    assert re.search(r"needs .* free in .*, which has ", line)


@pytest.mark.parametrize("place", ["the folder", "its parent"])
def test_output_that_is_no_folder(checkpoint: Path, quantize: Callable[..., Run], tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" if place == "the folder" else tmp_path / "file" / "folder"
    code, said = quantize(checkpoint, "--output", output)
    assert (code, len(said)) == (1, 1)
    assert str(tmp_path / "file") in said[0]
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("phase", "format"),
    [("writing llama.F16.gguf", "Q4_0"), ("gathering importance", "IQ2_XS"), ("writing llama.Q4_0.gguf", "Q4_0")],
)
def test_interrupt(
    checkpoint: Path, quantize: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, phase: str, format: str
) -> None:
    class Impatient(command.InterruptibleProgress):
        label = ""

        def start(self, label: str, total: int | None) -> None:
            self.label = label

        def update(self, done: int) -> None:
            if phase in self.label:
                raise KeyboardInterrupt

        def finish(self) -> None:
            pass

    monkeypatch.setattr(command, "InterruptibleProgress", Impatient)
    assert quantize(checkpoint, to=format) == Run(130, [])


def test_base_that_is_none(checkpoint: Path, quantize: Callable[..., Run], tmp_path: Path) -> None:
    CASES["gpt-2"].write(tmp_path / "gpt-2")
    code, [line] = quantize(checkpoint, "--base", tmp_path / "gpt-2")
    assert code == 1
    assert "shares no tensor with" in line
    code, [line] = quantize(checkpoint, "--base", tmp_path / "none")
    assert code == 1
    assert str(tmp_path / "none") in line


def matrix_of(**columns: int) -> ImportanceMatrix:
    names = {f"blk.0.{name}.weight": width for name, width in columns.items()}
    uses = {name: Use(np.ones((1, width)), np.array([512])) for name, width in names.items()}
    return ImportanceMatrix(uses, "some.txt", 1, 512)


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        (matrix_of(attn_qkv=128), "knows none of the matrices of"),
        (matrix_of(attn_q=64), r"has 64 columns of blk\.0\.attn_q\.weight, and \S+ 128; it is another model's"),
    ],
)
def test_importance_matrix_of_another_model(
    checkpoint: Path, quantize: Callable[..., Run], tmp_path: Path, matrix: ImportanceMatrix, complaint: str
) -> None:
    matrix.save(tmp_path / "imatrix.gguf")
    code, [line] = quantize(checkpoint, "--imatrix", tmp_path / "imatrix.gguf", to="Q4_K_M")
    assert code == 1
    assert re.search(complaint, line)


def test_importance_matrix_that_is_none(checkpoint: Path, quantize: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no matrix, and no GGUF file either")
    build(tmp_path / "model.gguf", "llama")
    for name, complaint in (("text", "is not an imp"), ("model.gguf", "is not an imp"), ("none", "No such file")):
        code, [line] = quantize(checkpoint, "--imatrix", tmp_path / name)
        assert code == 1
        assert complaint in line


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no GGUF file at all"])
def test_file_that_is_no_model(quantize: Callable[..., Run], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    code, [line] = quantize(tmp_path / "model.gguf")
    assert code == 1
    assert "model.gguf" in line


def test_gguf_file_cut_short(quantize: Callable[..., Run], tmp_path: Path) -> None:
    cut(build(tmp_path / "model.gguf", "llama"), 100_000)
    code, [line] = quantize(tmp_path / "model.gguf")
    assert code == 1
    assert "model.gguf" in line


@pytest.mark.parametrize(("format", "complaint"), [("Q9_9", "is not a format"), ("nvfp4", "reads and does not make")])
def test_format_that_is_not_made(checkpoint: Path, quantize: Callable[..., Run], format: str, complaint: str) -> None:
    code, [line] = quantize(checkpoint, to=format)
    assert code == 1
    assert complaint in line
