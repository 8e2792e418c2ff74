"""The command's end of the process that measures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import IO

import msgspec

from localchat.errors import EngineError
from localchat.tuning.messages import Open, Refused, Reply, Setup, Times, Trial, Work

_COMMAND = (sys.executable, "-m", "localchat.tuning.process")


class Bencher:
    """Starts the process with the first trial, and again after it died. Leaving the block ends it."""

    def __init__(self, opening: Open) -> None:
        self._opening = opening
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process

    def __enter__(self) -> Bencher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._complaints.close()

    @property
    def pid(self) -> int | None:
        """The process, once there is one."""
        return self._process.pid if self._process else None

    def measure(self, setup: Setup, works: tuple[Work, ...]) -> Times:
        """Do some work in turn. Raises ModelLoadFailed, and EngineError when llama.cpp gives up."""
        try:
            process = self._process or self._start()
            assert process.stdout is not None
            self._send(process, Trial(setup, works))
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:
            self._end()
            raise
        if not line:
            raise EngineError(f"the process that measures {self._opening.path} ended{self._words()}")
        reply: Reply = msgspec.json.decode(line, type=Reply)
        if isinstance(reply, Refused):
            raise reply.exception()
        return reply

    def _start(self) -> subprocess.Popen[bytes]:
        self._complaints.seek(0)
        self._complaints.truncate()
        process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints.fileno()
        )
        self._process = process
        self._send(process, self._opening)
        return process

    def _send(self, process: subprocess.Popen[bytes], message: Open | Trial) -> None:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(message) + b"\n")
        process.stdin.flush()

    def _words(self) -> str:
        """The last that it said, once it has ended."""
        assert self._process is not None
        status = self._process.wait()
        self._end()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f" with status {status}: {said[-1]}" if said else f" with status {status}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # what was not read any more
                    pipe.close()
            process.wait()
