"""The servers that are compared: how to start them, and what they take of the machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

DEADLINE = 300


@dataclass(frozen=True)
class Setup:
    """The same for every server: file, threads, sequences, context of each."""

    model: Path
    threads: int
    parallel: int
    ctx_size: int


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    model_id: str
    base: str
    pid: int
    health_seconds: float

    @property
    def resident_bytes(self) -> int:
        """Memory of the process and its children: proportional share, so that nothing counts twice."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family)


def localchat_command(setup: Setup, port: int, extra: Sequence[str] = ()) -> list[str]:
    """Our command line. Files of prefixes from earlier runs are used by none that does not ask for them."""
    if "--prefix-dir" not in extra:
        extra = (*extra, "--prefix-disk", "0")
    return [
        sys.executable, "-m", "localchat", "serve", "--model", str(setup.model), "--port", str(port),
        "--threads", str(setup.threads), "--parallel", str(setup.parallel), "--ctx-size", str(setup.ctx_size), *extra,
    ]  # fmt: skip


def llama_server_command(binary: Path, setup: Setup, port: int, *, unified: bool) -> list[str]:
    """llama-server's: its context is that of all sequences together."""
    return [
        str(binary), "-m", str(setup.model), "--port", str(port), "-t", str(setup.threads),
        "-np", str(setup.parallel), "-c", str(setup.ctx_size * setup.parallel),
        "--kv-unified" if unified else "--no-kv-unified",
    ]  # fmt: skip


@contextmanager
def running(name: str, command: list[str], port: int, model_id: str, log: Path) -> Iterator[Running]:
    """Start a server, wait until it can answer, and end it afterwards."""
    ready = "/ready" if name.startswith("localchat") else "/health"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            start = time.perf_counter()
            _wait(f"http://127.0.0.1:{port}/health", process, statuses=(200, 503))
            health_seconds = time.perf_counter() - start
            _wait(f"http://127.0.0.1:{port}{ready}", process, statuses=(200,))
            yield Running(name, model_id, f"http://127.0.0.1:{port}/v1", process.pid, health_seconds)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes], statuses: tuple[int, ...]) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                status = response.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        if status in statuses:
            return
        time.sleep(0.01)
    raise RuntimeError(f"{url} did not answer within {DEADLINE} s")
