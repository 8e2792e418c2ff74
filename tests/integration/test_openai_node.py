"""The official `openai` package for Node against a real server; `LOCALCHAT_SKIP_NODE=1` leaves these tests out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .serving import CTX, MODEL, RunningServer

SOURCE = Path(__file__).parent / "node"
SKIP = "LOCALCHAT_SKIP_NODE"

pytestmark = pytest.mark.skipif(os.environ.get(SKIP) == "1", reason=f"{SKIP} is 1")


def tool(name: str) -> str:
    """The path of `node` or `npm`."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"there is no {name} here; install Node 20 or newer, or set {SKIP}=1 to leave these tests out")
    return path


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Path:
    """A folder with the package installed, kept for the next run; npm's own configuration says from where."""
    version = hashlib.sha256((SOURCE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(request.config.cache.mkdir(f"node-{version}"))
    for file in SOURCE.iterdir():
        shutil.copy(file, folder)
    if not (folder / "installed").exists():
        install = [tool("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"npm could not install the openai package:\n{done.stderr}"
        (folder / "installed").touch()
    return folder


@pytest.fixture(scope="session")
def results(project: Path, server: RunningServer) -> dict[str, Any]:
    """What the script found, by step."""
    script = [tool("node"), "client.mjs", f"{server.url}/v1", MODEL]
    done = subprocess.run(script, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_plain_chat(results: dict[str, Any]) -> None:
    plain = results["plain"]
    assert plain["text"]
    assert plain["finish"] == "stop"
    assert plain["id"].startswith("req_")
    assert plain["usage"]["total_tokens"] == plain["usage"]["prompt_tokens"] + plain["usage"]["completion_tokens"]


def test_streamed_chat(results: dict[str, Any]) -> None:
    streamed = results["streamed"]
    assert streamed["text"] == results["afterwards"]["text"]
    assert streamed["roles"] == ["assistant", *[None] * (len(streamed["roles"]) - 1)]
    assert streamed["finishes"] == [*[None] * (len(streamed["finishes"]) - 1), "stop"]
    assert streamed["lastChoices"] == 0
    assert streamed["usage"]["completion_tokens"] == results["afterwards"]["usage"]["completion_tokens"]


def test_stream_helper(results: dict[str, Any]) -> None:
    helper = results["helper"]
    assert helper["text"] == helper["joined"] == results["afterwards"]["text"]
    assert helper["finish"] == "stop"


def test_zod_schema_is_kept_and_parsed(results: dict[str, Any]) -> None:
    assert set(results["parsed"]["plain"]) == {"name", "age"}
    assert results["parsed"]["streamed"] == results["parsed"]["plain"]


def test_forced_call_is_run_and_streamed(results: dict[str, Any]) -> None:
    called = results["called"]
    assert called["roles"] == ["assistant", "tool"]
    assert called["name"] == "remember"
    assert called["finish"] in ("stop", "tool_calls")
    assert called["given"] == [called["streamed"]]
    assert set(called["streamed"]) == {"name", "age"}


def test_responses(results: dict[str, Any]) -> None:
    responded = results["responded"]
    assert responded["text"] == responded["joined"] == responded["final"] != ""
    assert responded["status"] == "completed"


def test_text_completion(results: dict[str, Any]) -> None:
    assert results["completion"]["text"].startswith(" Paris")


def test_models(results: dict[str, Any]) -> None:
    assert results["models"] == {"ids": [MODEL], "context": CTX}


def test_unknown_model_is_a_not_found_error(results: dict[str, Any]) -> None:
    error = results["unknownModel"]
    assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")
    assert (error["param"], error["type"]) == ("model", "invalid_request_error")
    assert MODEL in error["message"]


def test_bad_value_is_a_bad_request_error(results: dict[str, Any]) -> None:
    error = results["badValue"]
    assert (error["name"], error["status"], error["param"]) == ("BadRequestError", 400, "temperature")


def test_aborted_stream_ends_and_the_server_goes_on(results: dict[str, Any]) -> None:
    assert results["aborted"]["chunks"] < 20
    assert results["afterwards"]["text"]
