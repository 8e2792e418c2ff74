"""What stands in the way of a model is said before a process is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.errors import UnsupportedModel
from localchat.hardware import probe
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
