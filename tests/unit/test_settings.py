"""Where a setting comes from, and what a bad one is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from localchat.errors import ConfigError
from localchat.settings import Settings, config_file, load_settings


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file, which does not exist yet; nothing of the user's own settings is left."""
    for name in os.environ:
        if name.startswith("LOCALCHAT_"):
            monkeypatch.delenv(name)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(path))
    return path


def refusal(**flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.ctx_size, settings.parallel) == ("127.0.0.1", 8000, "auto", 4)
    assert settings.model == ["smollm2-135m-instruct"]
    assert settings.api_key == settings.background_api_key == []
    assert not settings.asks_for_key


def test_every_setting_has_a_help_text() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_file_beats_default(file: Path) -> None:
    file.write_text("port = 1000\nallowed_hosts = ['chat.example']\n")
    settings = load_settings()
    assert (settings.port, settings.allowed_hosts) == (1000, ["chat.example"])


def test_environment_beats_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("port = 1000\nparallel = 2\n")
    monkeypatch.setenv("LOCALCHAT_PORT", "2000")
    settings = load_settings()
    assert (settings.port, settings.parallel) == (2000, 2)


def test_flag_beats_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("port = 1000\n")
    monkeypatch.setenv("LOCALCHAT_PORT", "2000")
    monkeypatch.setenv("LOCALCHAT_PARALLEL", "8")
    settings = load_settings(port=3000)
    assert (settings.port, settings.parallel) == (3000, 8)


def test_flag_that_was_not_given_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_API_KEY", "secret")
    assert load_settings(api_key=None).api_key == [SecretStr("secret")]


def test_flag_that_is_off_counts(file: Path) -> None:
    file.write_text("mmap = true\nport = 1000\n")
    settings = load_settings(mmap=False, port=0)
    assert (settings.mmap, settings.port) == (False, 0)


def test_empty_variable_does_not_count(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("port = 1000\n")
    monkeypatch.setenv("LOCALCHAT_PORT", "")
    assert load_settings().port == 1000


def test_name_of_a_variable_may_be_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("localchat_port", "2000")
    assert load_settings().port == 2000


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("2048", 2048)])
def test_size_is_auto_or_a_number(text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_CTX_SIZE", text)
    assert load_settings().ctx_size == value
    assert load_settings(threads=text).threads == value


@pytest.mark.parametrize("text", ["http://a,http://b", '["http://a", "http://b"]'])
def test_list_in_a_variable_has_commas_or_is_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LOCALCHAT_CORS_ORIGINS", text)
    assert load_settings().cors_origins == ["http://a", "http://b"]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_bad_flag_is_named() -> None:
    assert refusal(ctx_size=0).startswith("--ctx-size: 0 is not valid: ")


def test_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_PORT", "65536")
    assert refusal().startswith("LOCALCHAT_PORT: '65536' is not valid: input should be less than or equal to 65535")


def test_bad_entry_of_the_file_is_named(file: Path) -> None:
    file.write_text("kv_type = 'q2_k'\n")
    assert refusal().startswith(f"kv_type in {file}: 'q2_k' is not valid: input should be 'f32'")


def test_bad_flag_is_blamed_although_the_variable_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_PARALLEL", "4")
    assert refusal(parallel=257).startswith("--parallel: 257 is not valid: ")


def test_bad_variable_is_not_looked_at_when_there_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_PORT", "none")
    assert load_settings(port=1).port == 1


def test_unknown_entry_of_the_file_is_named(file: Path) -> None:
    file.write_text("prot = 8080\n")
    assert refusal() == f"prot is not a setting (found in {file})"


@pytest.mark.parametrize("text", ["port = ", "[[[", "port = 1\nport = 2\n"])
def test_file_that_is_not_toml_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    assert refusal().startswith(f"{file} or the environment cannot be read: ")


def test_list_that_begins_as_json_and_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_ALLOWED_HOSTS", '["chat.example')
    assert "LOCALCHAT_ALLOWED_HOSTS" in refusal()


def test_config_file_is_the_one_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_file() == file
    monkeypatch.delenv("LOCALCHAT_CONFIG")
    assert (config_file().parent.name, config_file().name) == ("localchat", "config.toml")


def test_variable_that_names_the_config_file_is_no_setting() -> None:
    assert "config" not in Settings.model_fields
    load_settings()


@pytest.mark.parametrize("name", ["api_key", "background_api_key"])
@pytest.mark.parametrize("value", ["", ["sesame", ""], "sesame,"])
def test_an_empty_api_key_is_refused_because_it_would_protect_nothing(name: str, value: str | list[str]) -> None:
    words = refusal(**{name: value})
    assert f"--{name.replace('_', '-')}" in words
    assert "sesame" not in words


@pytest.mark.parametrize("value", ["sesame, barley", '["sesame", "barley"]'])
def test_there_may_be_several_keys_and_none_of_them_is_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOCALCHAT_API_KEY", value)
    settings = load_settings(background_api_key=["rye"])
    assert settings.api_key == [SecretStr("sesame"), SecretStr("barley")]
    assert settings.asks_for_key
    assert not any(key in f"{settings} {settings!r}" for key in ("sesame", "barley", "rye"))
