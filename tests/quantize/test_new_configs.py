"""config.json as transformers writes it today, with keys renamed and told in other places, means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import plan_conversion
from tiny_checkpoints.case import NEW_CONFIG
from tiny_checkpoints.cases import CASES

OTHER_CLASS = {"replit", "chatglm2", "btlm", "btlm of six heads"}
"""Computed by a class that is not the checkpoint's own."""

TOLD_NOWHERE = {"codegen2"}
"""transformers' class does not know of eight machines."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in OTHER_CLASS | TOLD_NOWHERE])
def test_new_config_makes_the_same_file(tmp_path: Path, name: str) -> None:
    CASES[name].write(tmp_path)
    old = plan_conversion(Checkpoint(tmp_path))
    (tmp_path / NEW_CONFIG).replace(tmp_path / "config.json")
    new = plan_conversion(Checkpoint(tmp_path))
    assert new.metadata == old.metadata
    assert [plan.name for plan in new.plans] == [plan.name for plan in old.plans]
