"""Models that were put on another's graph quantize as those do for which it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from localchat.hub.progress import SilentProgress
from localchat.llama.quantize import quantize
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from tiny_checkpoints.cases import CASES
from tiny_checkpoints.engine import logits_three_ways

MAPPED = ["btlm", "codegen", "gpt-j", "opt", "replit"]


@pytest.mark.parametrize("type", ["F16", "BF16"])
@pytest.mark.parametrize("name", MAPPED)
def test_mapped_model_quantizes(tmp_path: Path, name: str, type: str) -> None:
    reference = CASES[name].write(tmp_path / "checkpoint")
    source, target = tmp_path / "source.gguf", tmp_path / "target.gguf"
    plan_conversion(Checkpoint(tmp_path / "checkpoint")).write(source, type, SilentProgress())
    quantize(source, target, "Q8_0", threads=1, requantize=False)
    tokens = [int(token) for token in np.random.default_rng(1).integers(3, 480, 40)]
    wanted = reference(tokens)
    _, found = logits_three_ways(target, tokens, 25)["alone"]
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


def test_btlm_is_padded_to_where_all_its_matrices_quantize(tmp_path: Path) -> None:
    case = CASES["btlm"]
    case.write(tmp_path / "checkpoint")
    conversion = plan_conversion(Checkpoint(tmp_path / "checkpoint"))
    assert conversion.metadata["jais.feed_forward_length"] == 512
    conversion.write(tmp_path / "source.gguf", "F16", SilentProgress())
    quantize(tmp_path / "source.gguf", tmp_path / "target.gguf", "Q4_0", threads=1, requantize=False)
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "target.gguf").tensors}
    assert types["blk.0.ffn_down.weight"] in ("Q4_0", "Q4_1")
