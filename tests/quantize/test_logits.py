"""The proof of each converter: what our engine computes from its file is what the model's own class computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localchat.hub.progress import SilentProgress
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from tiny_checkpoints.case import Case, Logits
from tiny_checkpoints.cases import CASES, TOKENS
from tiny_checkpoints.encoder_decoders import ENCODER_DECODERS, EncoderDecoderCase
from tiny_checkpoints.engine import logits_after_source, logits_three_ways

LENGTH = 40
SHARED = 25

EXACT = 1e-5
"""Of the range of logits, where all that is computed is computed alike."""

GELU = 1e-3
"""llama.cpp looks GELU up in a table of half floats; what that costs is more than what its forms differ by."""


def assert_same(found: Logits, wanted: Logits, tolerance: float) -> None:
    difference = float(np.abs(found - wanted).max() / (wanted.max() - wanted.min()))
    assert difference <= tolerance, f"differs by {difference:.1e} of the range"
    assert (found.argmax(-1) == wanted.argmax(-1)).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_file_has_the_logits_of_the_model(case: Case, tmp_path: Path) -> None:
    reference = case.write(tmp_path / "checkpoint")
    file = tmp_path / "model.gguf"
    plan_conversion(Checkpoint(tmp_path / "checkpoint")).write(file, "F32", SilentProgress())
    tokens = [int(token) for token in np.random.default_rng(1).integers(3, TOKENS - 20, LENGTH)]
    wanted = reference(tokens)
    assert 2 <= wanted.std() <= 10
    for first, found in logits_three_ways(file, tokens, SHARED).values():
        assert_same(found, wanted[first:], GELU if case.gelu else EXACT)


@pytest.mark.parametrize("length", [24, 300])
@pytest.mark.parametrize("case", ENCODER_DECODERS.values(), ids=ENCODER_DECODERS)
def test_file_of_an_encoder_decoder_has_its_logits(case: EncoderDecoderCase, length: int, tmp_path: Path) -> None:
    reference = case.write(tmp_path / "checkpoint")
    file = tmp_path / "model.gguf"
    plan_conversion(Checkpoint(tmp_path / "checkpoint")).write(file, "F32", SilentProgress())
    numbers = np.random.default_rng(3)
    source = numbers.integers(3, TOKENS - 20, length).tolist()
    tokens = [0, *numbers.integers(3, TOKENS - 20, LENGTH).tolist()]
    wanted = reference(source, tokens)
    assert 2 <= wanted.std() <= 10
    for found in logits_after_source(file, source, tokens).values():
        assert_same(found, wanted, GELU if case.gelu else EXACT)
