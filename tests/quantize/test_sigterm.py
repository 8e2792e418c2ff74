"""A polite end of the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import build


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_terminated_command_leaves_nothing(tmp_path: Path) -> None:
    source = build(tmp_path / "tiny.gguf", "qwen2")
    program = "from localchat.cli.app import main; main()"
    command = [sys.executable, "-c", program, "quantize", str(source), "--to", "IQ2_XS"]
    environment = {**os.environ, "LOCALCHAT_MODELS_DIR": str(tmp_path / "models")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "gathering importance" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 130
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
