"""One command takes a checkpoint to a model that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localchat.hub.progress import SilentProgress
from localchat_quantize.pipeline import Job, run
from tiny_checkpoints.cases import CASES
from tiny_checkpoints.engine import logits_three_ways


@pytest.mark.parametrize("name", ["gpt-j", "mpt", "llama"])
def test_checkpoint_becomes_a_file_that_says_what_it_said(tmp_path: Path, name: str) -> None:
    reference = CASES[name].write(tmp_path / "checkpoint")
    [made] = run(
        Job(
            source=tmp_path / "checkpoint",
            name=name,
            targets=["Q8_0"],
            output=tmp_path / "out",
            threads=1,
            measure=False,
        ),
        SilentProgress(),
    )
    tokens = [int(token) for token in np.random.default_rng(1).integers(3, 480, 40)]
    wanted = reference(tokens)
    _, found = logits_three_ways(made.path, tokens, 25)["alone"]
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
    assert [path.name for path in (tmp_path / "out").iterdir()] == [made.path.name]
