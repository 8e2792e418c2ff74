"""What stands in the way of a model is said before a process is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localchat.errors import DoesNotFit, UnsupportedModel
from localchat.hardware import Machine, probe
from localchat.hardware.plan import ram_budget
from localchat.hub.progress import SilentProgress
from localchat.launch import prepare
from localchat.registry import load_registry
from localchat.settings import load_settings
from tiny_models import build


def test_an_encoder_writes_no_text_and_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "encoder.gguf", "bert")
    with pytest.raises(UnsupportedModel, match=r"encoder cannot run: it is an encoder \(bert\), which writes no text"):
        prepare(str(path), load_settings(), load_registry(), probe(), SilentProgress())


@pytest.mark.parametrize("architecture", ["llama", "mamba", "t5"])
def test_what_writes_text_is_launched(tmp_path: Path, architecture: str) -> None:
    path = build(tmp_path / "writer.gguf", architecture, context_length=640)
    launch = prepare(str(path), load_settings(), load_registry(), probe(), SilentProgress())
    assert (launch.id, launch.load.path, launch.load.n_ctx) == ("writer", str(path), 640)


def test_installed_quant_that_fits_the_machine_is_not_given_up_for_a_share_of_it(tmp_path: Path) -> None:
    path = build(tmp_path / "here.gguf", "llama")
    absent = '{ kind = "hf", repo = "owner/none", file = "none.gguf" }'
    (tmp_path / "models.toml").write_text(
        f"""
[[model]]
id = "own"
title = "Own"
quant = [
  {{ name = "F32", source = {{ kind = "path", path = "{path}" }} }},
  {{ name = "Q4_0", size = 1000, source = {absent} }},
]
"""
    )
    registry, settings = load_registry(tmp_path / "models.toml"), load_settings(models_dir=tmp_path / "models")
    whole = Machine(1, 8 << 30, 8 << 30)
    need = prepare("own", settings, registry, whole, SilentProgress()).plan.memory
    # What is kept back, and room for the smaller weights alone.
    share = replace(whole, ram_available=(8 << 30) - ram_budget(whole) + need.total - need.weights // 2)
    with pytest.raises(DoesNotFit, match=r"here\.gguf does not fit"):
        prepare("own", settings, registry, share, SilentProgress(), whole)
