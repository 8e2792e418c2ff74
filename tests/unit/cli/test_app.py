"""The `localchat` command: what it imports, prints, and exits with."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat import __version__
from localchat.cli import app as cli
from localchat.errors import LocalchatError


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    code = caught.value.code
    assert isinstance(code, int)
    return code


def register(monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> None:
    """Put a command of the test's own in the place of `list`."""
    monkeypatch.setattr(importlib.import_module("localchat.cli.list"), "command", command)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"localchat {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command_and_what_it_does(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) in (0, 2)
    shown = capsys.readouterr()
    for name, (_, purpose) in cli.COMMANDS.items():
        assert name in shown.out + shown.err
        assert purpose.split(";")[0][:30] in shown.out + shown.err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(name, "--help") == 0
    assert "--help" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["dance"], ["serve", "--dance"], ["list", "extra"], ["health", "--timeout", "x"]]
)
def test_misuse_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_error_made_on_purpose_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.toml"
    assert exit_code("list", "--registry", str(missing)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    [line] = shown.err.splitlines()
    assert line.startswith("localchat: ")
    assert str(missing) in line


def test_error_of_any_kind_in_the_tree_is_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise LocalchatError("it is raining")

    register(monkeypatch, fail)
    assert exit_code("list") == 1
    assert capsys.readouterr().err == "localchat: it is raining\n"


def test_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    register(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    register(monkeypatch, interrupt)
    assert exit_code("list") == 130


def test_only_the_called_command_is_imported() -> None:
    program = (
        "import sys\n"
        "from localchat.cli.app import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'fastapi', 'uvicorn', 'httpx', 'huggingface_hub', 'llama_cpp', 'numpy', 'jinja2', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_output_that_nobody_reads_is_no_trace() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m localchat list | true"], capture_output=True, text=True, check=True
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:8000", "http://", "http://a:b", "http://a:99999", "ftp://a"]
)
def test_health_wants_an_http_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("health", "--url", url) == 2
    assert "is not an" in capsys.readouterr().err
