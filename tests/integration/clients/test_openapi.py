"""`schemathesis` over the server's own OpenAPI document: no bug's answer, and none that the document does not list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import Serve
from ..serving import MODEL

SECONDS = 45
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
HOOKS = f'''
import schemathesis

LIMITS = {{"/v1/chat/completions": "max_tokens", "/v1/completions": "max_tokens", "/v1/responses": "max_output_tokens"}}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Three in four models are one that there is, and answers are short, so that the time goes into many requests."""
    body = case.body
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str) and len(body["model"]) % 4 != 1:
        body["model"] = "{MODEL}"
    limit = LIMITS.get(case.operation.path)
    if limit is not None:
        for name, most in ((limit, 2), ("n", 2), ("best_of", 2)):
            if type(body.get(name, most if name == limit else None)) is int:
                body[name] = min(body.get(name, most), most)
'''


@pytest.mark.slow
def test_document_lists_every_answer(tmp_path: Path, serve_with: Serve) -> None:
    server = serve_with()
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--no-color"]
    options = {"checks": ",".join(CHECKS), "phases": "coverage,fuzzing", "max-time": SECONDS, "seed": 1}
    # A request that fails may take long to be made small: that takes more than the time for the run.
    command += [f"--{name}={value}" for name, value in options.items()] + ["--no-shrink", "--continue-on-failure"]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=SECONDS * 4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: " in done.stdout
