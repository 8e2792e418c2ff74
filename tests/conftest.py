"""What tests of every kind share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

from localchat.hub.fetch import fetch
from localchat.hub.progress import SilentProgress
from localchat.registry import load_registry
from localchat.settings import load_settings

settings.register_profile("localchat", deadline=None)  # machines are busy: no test fails for being slow
settings.load_profile("localchat")

EMBEDDED_MODEL = "smollm2-135m-instruct"


def pytest_unconfigure() -> None:
    """Close what llama_cpp opens on import and leaves to the interpreter, which warns of it as its last word."""
    if module := sys.modules.get("llama_cpp._utils"):
        module.outnull_file.close()
        module.errnull_file.close()


@pytest.fixture(scope="session")
def embedded_model_path() -> Path:
    """Real weights, in the user's own models folder: only the first run on a machine fetches them."""
    return fetch(load_registry().resolve(EMBEDDED_MODEL), load_settings().models_dir, SilentProgress())
