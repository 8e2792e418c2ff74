"""Starts real servers for the tests, and asks and waits for what they do."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai
import psutil

MODEL = "smollm2-135m-instruct"
FLAGS = ("--parallel", "8", "--ctx-size", "1024", "--threads", "1")
CTX = 1024
# For texts that are compared: what else runs, and what is kept of it, must not turn a near-tie.
SAME: dict[str, Any] = {"extra_body": {"deterministic": True}}

_T = TypeVar("_T")
_ADDRESS = re.compile(r"API +(http://\S+)/v1")


def until(condition: Callable[[], _T | None], seconds: float = 30.0, what: str = "the condition") -> _T:
    """The first value of `condition` that is true; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class RunningServer:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def words(self) -> str:
        """What it has said on standard error."""
        return self.log.read_text(errors="replace")

    @property
    def worker(self) -> psutil.Process | None:
        """Its worker process, while there is one."""
        children = psutil.Process(self.process.pid).children()
        return children[0] if children else None

    def http(self, **options: Any) -> httpx.Client:
        """A plain HTTP client of it."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def sdk(self, **options: Any) -> openai.OpenAI:
        """The official client of it, which tries nothing twice."""
        return openai.OpenAI(
            **{"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0, "timeout": 60, **options}
        )

    def async_sdk(self) -> openai.AsyncOpenAI:
        """The same for asyncio."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def wait(self, seconds: float = 30.0) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(seconds)


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without a person's own settings of localchat."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LOCALCHAT_")}
    ours = {"LOCALCHAT_CONFIG": str(folder / "none.toml"), "LOCALCHAT_STORE": str(folder / "store.sqlite3")}
    ours["LOCALCHAT_PREFIX_DIR"] = str(folder / "prefixes")
    return own | ours | {"NO_PROXY": "127.0.0.1", **(extra or {})}


def command(*arguments: str | Path) -> list[str]:
    """The command line of `localchat`."""
    return [sys.executable, "-m", "localchat", *map(str, arguments)]


def run(
    folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `localchat` to its end."""
    return subprocess.run(
        command(*arguments), input=stdin, env=environment(folder, env), capture_output=True, text=True, timeout=seconds
    )


@contextlib.contextmanager
def serve(
    folder: Path, models_dir: Path, *flags: str, env: Mapping[str, str] | None = None, ready: bool = True
) -> Iterator[RunningServer]:
    """A server on a free port, ready to answer; it is ended by its process id when the block is left."""
    log = folder / "server.log"
    arguments = command("serve", "--port", "0", "--models-dir", models_dir, *FLAGS, *flags)
    with log.open("wb") as sink:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=sink, env=environment(folder, env))
    children: list[psutil.Process] = []
    try:
        url = until(lambda: _address(process, log), what="an address in the log")
        server = RunningServer(process, url, log)
        if ready:
            until(lambda: _is_ready(server), what="/ready")
        yield server
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str | None:
    text = log.read_text(errors="replace")
    assert process.poll() is None, f"the server ended with {process.returncode}: {text}"
    found = _ADDRESS.search(text)
    return found[1] if found else None


def _is_ready(server: RunningServer) -> bool:
    assert server.process.poll() is None, f"the server ended with {server.process.returncode}: {server.words}"
    try:
        return httpx.get(f"{server.url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
