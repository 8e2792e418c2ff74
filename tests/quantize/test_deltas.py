"""Checkpoints that are told as the difference to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

from localchat.hub.progress import SilentProgress
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from tiny_checkpoints.case import write_checkpoint
from tiny_checkpoints.cases import CASES


def test_deltas_and_base_make_the_file_of_the_whole(tmp_path: Path) -> None:
    """The base has a token less, as where one was added to pad with."""
    case = CASES["llama"]
    case.write(tmp_path / "whole")
    whole = load_file(tmp_path / "whole/model.safetensors")
    rows = case.config["vocab_size"] - 1
    base = {name: torch.randn_like(tensor[:rows]) for name, tensor in whole.items()}
    delta = {name: tensor.clone() for name, tensor in whole.items()}
    for name, tensor in base.items():
        delta[name][: len(tensor)] -= tensor
    write_checkpoint(tmp_path / "base", {**case.config, "vocab_size": rows}, base)
    write_checkpoint(tmp_path / "delta", case.config, delta)
    case.tokenizer(tmp_path / "delta")
    plan_conversion(Checkpoint(tmp_path / "whole"), "m").write(tmp_path / "whole.gguf", "F32", SilentProgress())
    merged = Checkpoint(tmp_path / "delta", tmp_path / "base")
    plan_conversion(merged, "m").write(tmp_path / "merged.gguf", "F32", SilentProgress())
    wanted, found = GGUFReader(tmp_path / "whole.gguf"), GGUFReader(tmp_path / "merged.gguf")
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in wanted.tensors]
    for one, other in zip(found.tensors, wanted.tensors, strict=True):
        assert np.allclose(one.data, other.data, atol=1e-5)
