"""Real processes: two that want the same file, and one that is killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import Fault, HubServer, tiny_gguf

SIZE = 3_000_000
CONTENT = tiny_gguf(SIZE)
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture(params=["hf", "url"])
def start(request: pytest.FixtureRequest, hub: HubServer, tmp_path: Path) -> Start:
    """Starts `localchat pull tiny` in a process of its own."""
    hub.add("owner/big", "big.gguf", CONTENT)
    address = hub.serve("big", CONTENT)
    hf, url = 'kind = "hf", repo = "owner/big", file = "big.gguf"', f'kind = "url", url = "{address}"'
    source = hf if request.param == "hf" else url
    registry = tmp_path / "registry.toml"
    registry.write_text(
        f'[[model]]\nid = "tiny"\ntitle = "Tiny"\n[[model.quant]]\nname = "F32"\nsource = {{ {source} }}\n'
    )
    own = {"LOCALCHAT_REGISTRY": str(registry), "LOCALCHAT_MODELS_DIR": str(tmp_path / "models")}
    environment = os.environ | hub.environment(tmp_path / "hf") | own
    command = [sys.executable, "-m", "localchat", "pull", "tiny"]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )

    return start


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    while text not in (line := process.stderr.readline()):
        assert line, f"it ended without saying {text!r}"


def test_two_processes_download_once(start: Start, hub: HubServer) -> None:
    hub.faults = [Fault(hold=1_000_000)]
    first = start()
    assert hub.holding.wait(30)
    second = start()
    read_until(second, "waiting for another process that downloads it")
    hub.release()
    said = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert said[0] == said[1]
    assert hub.sent == len(CONTENT)


def test_process_that_was_killed_is_gone_on_for(start: Start, hub: HubServer, tmp_path: Path) -> None:
    hub.faults = [Fault(hold=2_000_000)]
    first = start()
    assert hub.holding.wait(30)
    read_until(first, "downloading: ")
    part = next(path for path in tmp_path.rglob("*") if path.name.endswith((".incomplete", ".part")))
    while part.stat().st_size < 1_000_000:
        assert first.poll() is None
    first.kill()
    first.communicate()
    arrived = part.stat().st_size
    hub.release()
    second = start()
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "checking what is here already" in err
    assert Path(out.splitlines()[0].removeprefix("tiny:F32 is ")).read_bytes() == CONTENT
    assert hub.content_ranges == [None, f"bytes={arrived}-"]
