"""Every setting is a flag of `localchat serve`, made from the settings themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner

from localchat.cli.flags import with_settings
from localchat.cli.serve import command as serve
from localchat.errors import ConfigError
from localchat.settings import Settings

NAMES = list(Settings.model_fields)
VALUES: dict[str, tuple[list[str], Any]] = {
    "model": (["--model", "a.gguf", "--model", "b"], ["a.gguf", "b"]),
    "host": (["--host", "::1"], "::1"),
    "port": (["--port", "0"], 0),
    "api_key": (["--api-key", "a", "--api-key", "b"], [SecretStr("a"), SecretStr("b")]),
    "background_api_key": (["--background-api-key", "a"], [SecretStr("a")]),
    "insecure": (["--insecure"], True),
    "ctx_size": (["--ctx-size", "4096"], 4096),
    "parallel": (["--parallel", "8"], 8),
    "on_demand": (["--on-demand"], True),
    "alias": (["--alias", "gpt-4o-mini=a", "--alias", "b=c"], ["gpt-4o-mini=a", "b=c"]),
    "memory": (["--memory", "8G"], 8 * 2**30),
    "keep_alive": (["--keep-alive", "1h30m"], 5400.0),
    "commercial": (["--commercial"], True),
    "load_queue": (["--load-queue", "0"], 0),
    "queue_size": (["--queue-size", "0"], 0),
    "threads": (["--threads", "auto"], "auto"),
    "single_row_threads": (["--single-row-threads", "1"], 1),
    "batch_size": (["--batch-size", "64"], 64),
    "ubatch_size": (["--ubatch-size", "64"], 64),
    "kv_type": (["--kv-type", "q8_0"], "q8_0"),
    "kv_unified": (["--kv-unified"], True),
    "flash_attn": (["--flash-attn", "off"], "off"),
    "gpu_layers": (["--gpu-layers", "0"], 0),
    "prefix_cache": (["--prefix-cache", "1G"], 2**30),
    "prefix_disk": (["--prefix-disk", "1G"], 2**30),
    "prefix_dir": (["--prefix-dir", "p"], Path("p")),
    "mmap": (["--no-mmap"], False),
    "max_step_ms": (["--max-step-ms", "50"], 50.0),
    "adapt_threads": (["--no-adapt-threads"], False),
    "speculate": (["--speculate", "off"], "off"),
    "draft": (["--draft", "b.gguf"], "b.gguf"),
    "tuned": (["--no-tuned"], False),
    "force": (["--force"], True),
    "chat_template": (["--chat-template", "a.jinja"], Path("a.jinja")),
    "registry": (["--registry", "a.toml"], Path("a.toml")),
    "models_dir": (["--models-dir", "/models"], Path("/models")),
    "store": (["--store", "off"], "off"),
    "store_age": (["--store-age", "7d"], 604800.0),
    "store_size": (["--store-size", "2G"], 2**31),
    "drain_seconds": (["--drain-seconds", "0"], 0.0),
    "load_seconds": (["--load-seconds", "1.5"], 1.5),
    "lenient": (["--lenient"], True),
    "max_body_mb": (["--max-body-mb", "2"], 2),
    "allowed_hosts": (["--allowed-hosts", "a", "--allowed-hosts", "b"], ["a", "b"]),
    "cors_origins": (["--cors-origins", "https://a"], ["https://a"]),
    "log_level": (["--log-level", "debug"], "debug"),
}


def parse(*arguments: str) -> Settings:
    """The settings that a command with all flags is given."""
    got: list[Settings] = []
    app = typer.Typer()
    app.command()(with_settings(NAMES)(got.append))
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


def options() -> dict[str, Any]:
    """The flags of `localchat serve`, by setting."""
    app = typer.Typer()
    app.command()(serve)
    command: Any = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in command.params if parameter.name in NAMES}


def test_every_setting_is_a_flag_of_serve_and_its_description_is_the_help() -> None:
    flags = options()
    assert set(flags) == set(NAMES)
    for name, flag in flags.items():
        assert f"--{name.replace('_', '-')}" in flag.opts
        description = Settings.model_fields[name].description
        assert description
        assert flag.help.startswith(description)
        assert flag.default is None


def test_default_is_shown_unless_it_is_nothing() -> None:
    flags = options()
    assert flags["port"].help.endswith("[default: 8000]")
    assert flags["mmap"].help.endswith("[default: on]")
    assert "default" not in flags["force"].help + flags["api_key"].help + flags["allowed_hosts"].help


def test_no_setting_is_left_out_of_this_table() -> None:
    assert set(VALUES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_flag_arrives_as_its_setting(name: str) -> None:
    arguments, value = VALUES[name]
    settings = parse(*arguments)
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value) or isinstance(value, Path)
    assert settings == Settings(**{name: value})


def test_without_flags_the_defaults_hold() -> None:
    assert parse() == Settings()


def test_flag_is_stronger_than_the_environment_and_that_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('port = 1001\nparallel = 11\nlog_level = "error"\n')
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(config))
    monkeypatch.setenv("LOCALCHAT_PORT", "1002")
    monkeypatch.setenv("LOCALCHAT_PARALLEL", "12")
    settings = parse("--port", "1003")
    assert (settings.port, settings.parallel, settings.log_level) == (1003, 12, "error")


def test_flag_that_is_off_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_MMAP", "true")
    assert parse("--no-mmap").mmap is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ctx-size", "many"], "--ctx-size"),
        (["--threads", "0"], "--threads"),
        (["--kv-type", "q3"], "--kv-type"),
        (["--flash-attn", "maybe"], "--flash-attn"),
    ],
)
def test_value_that_the_settings_refuse_names_the_flag(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(*arguments)


def test_command_may_have_some_of_the_flags() -> None:
    app = typer.Typer()
    app.command()(with_settings(["port"])(lambda _: None))
    runner = CliRunner()
    assert runner.invoke(app, ["--port", "1"]).exit_code == 0
    assert runner.invoke(app, ["--host", "a"]).exit_code == 2
