"""`instructor` against a real server. It keeps to older packages than the others, so it has an environment of its own.

It forces its calls. `LOCALCHAT_SKIP_INSTRUCTOR=1` leaves these tests out.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from ..serving import MODEL, RunningServer

SOURCE = Path(__file__).parent / "instructor"
SKIP = "LOCALCHAT_SKIP_INSTRUCTOR"

pytestmark = pytest.mark.skipif(os.environ.get(SKIP) == "1", reason=f"{SKIP} is 1")


@pytest.fixture(scope="session")
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter that has the package, kept for the next run; pip's own configuration says from where."""
    version = hashlib.sha256((SOURCE / "requirements.txt").read_bytes()).hexdigest()[:12]
    folder = Path(request.config.cache.mkdir(f"instructor-{version}"))
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True)
        install = [str(interpreter), "-m", "pip", "install", "-q", "-r", str(SOURCE / "requirements.txt")]
        done = subprocess.run(install, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"pip could not install instructor:\n{done.stderr}"
        (folder / "installed").touch()
    return interpreter


@pytest.fixture(scope="session")
def results(python: Path, server: RunningServer) -> dict[str, Any]:
    """What the script found, by mode."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = [str(python), str(SOURCE / "client.py"), f"{server.url}/v1", MODEL]
    done = subprocess.run(script, env=own | {"NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", ["tool_call", "json_schema_mode"])
def test_model_comes_whole_and_in_pieces(results: dict[str, Any], mode: str) -> None:
    assert isinstance(results[mode]["whole"]["age"], int)
    assert results[mode]["pieces"] == results[mode]["whole"]
