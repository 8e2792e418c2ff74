"""The `llm` command, with the server as a model of its `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from ..serving import MODEL, RunningServer

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def folder(tmp_path: Path, server: RunningServer) -> Path:
    """A folder of llm's settings that knows the server."""
    model = {
        "model_id": "local",
        "model_name": MODEL,
        "api_base": f"{server.url}/v1",
        "supports_schema": True,
        "supports_tools": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    return tmp_path


def llm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    env = {**os.environ, "LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "llm", *arguments]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


GREEDY = ("-m", "local", "-o", "temperature", "0", "-o", "max_tokens", "40")


def test_streamed_and_plain_answers_are_printed(folder: Path) -> None:
    streamed = llm(folder, *GREEDY, "Name three colours.")
    plain = llm(folder, *GREEDY, "--no-stream", "Name three colours.")
    assert streamed.returncode == plain.returncode == 0, streamed.stderr + plain.stderr
    assert streamed.stdout.strip()
    assert plain.stdout.strip()


def test_conversation_goes_on(folder: Path) -> None:
    assert llm(folder, *GREEDY, "My name is Ann.").returncode == 0
    again = llm(folder, "-c", "-o", "temperature", "0", "-o", "max_tokens", "40", "What is my name?")
    assert again.returncode == 0, again.stderr
    logged = json.loads(llm(folder, "logs", "--json", "-n", "2").stdout)
    assert len({entry["conversation_id"] for entry in logged}) == 1
    assert all(entry["output_tokens"] > 0 for entry in logged)


def test_schema_is_kept(folder: Path) -> None:
    done = llm(folder, *GREEDY, "--schema", json.dumps(PERSON), "Tell me of a person.")
    assert done.returncode == 0, done.stderr
    jsonschema.validate(json.loads(done.stdout), PERSON)


def test_refusal_is_told_in_our_words(folder: Path) -> None:
    done = llm(folder, "-m", "local", "-o", "max_tokens", "40", "-o", "logit_bias", '{"999999999": 1}', "Hi")
    assert done.returncode == 1
    assert "999999999" in done.stderr
