"""One frozen settings object, resolved once: flag, then `LOCALCHAT_*`, then the config file, then the default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from localchat.errors import ConfigError

Auto = Literal["auto"]
PositiveInt = Annotated[int, Field(ge=1)]
KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


def config_file() -> Path:
    """Where the config file is looked for; it need not exist."""
    chosen = os.environ.get("LOCALCHAT_CONFIG")
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("localchat")) / "config.toml"


class Settings(BaseSettings):
    """Every option of `localchat serve`; a field's description is its help text."""

    model_config = SettingsConfigDict(env_prefix="LOCALCHAT_", frozen=True, extra="forbid", env_ignore_empty=True)

    model: str = Field("smollm2-135m-instruct", description="Registry id, FILE.gguf, or hf:owner/repo/file.gguf.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_key: str | None = Field(None, min_length=1, description="Bearer token that clients must send.")
    insecure: bool = Field(False, description="Allow a non-loopback address without an API key.")

    ctx_size: Auto | PositiveInt = Field("auto", description="Context tokens of each sequence; auto fits memory.")
    parallel: PositiveInt = Field(4, le=256, description="Sequences that decode together.")
    queue_size: int = Field(256, ge=0, description="Requests that may wait; more are refused with 503.")
    threads: Auto | PositiveInt = Field("auto", description="Compute threads; auto takes the physical cores.")
    batch_size: PositiveInt = Field(512, description="Most tokens of one engine step.")
    ubatch_size: PositiveInt = Field(512, description="Most tokens of one pass through the graph.")
    kv_type: KvType = Field("f16", description="Type of the KV cache.")
    kv_unified: bool = Field(False, description="One KV buffer for all sequences instead of one for each.")
    flash_attn: Literal["auto", "on", "off"] = Field("auto", description="Flash attention.")
    gpu_layers: Auto | Annotated[int, Field(ge=0)] = Field("auto", description="Layers on the GPU; auto fits VRAM.")
    mmap: bool = Field(True, description="Map the weights instead of reading them.")
    force: bool = Field(False, description="Load even when memory seems too small.")

    chat_template: Path | None = Field(None, description="Jinja file to use instead of the model's own template.")
    registry: Path | None = Field(None, description="Registry file to use instead of the packaged one.")
    models_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("localchat")) / "models",
        description="Where downloaded weights are kept.",
    )

    drain_seconds: float = Field(10.0, ge=0, description="How long running streams may go on after Ctrl-C.")
    load_seconds: float = Field(600.0, gt=0, description="How long a request may wait for its model to load.")
    max_body_mb: PositiveInt = Field(16, description="Largest request body.")
    allowed_hosts: list[str] = Field([], description="Host headers to accept besides loopback names; * accepts all.")
    cors_origins: list[str] = Field([], description="Web origins that may call the API from a browser.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level to log.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, environment, config file; in this order."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())


def load_settings(**flags: Any) -> Settings:
    """Resolve the settings; flags that are None were not given. Raises ConfigError on the first bad value."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigError(_explain(error, given)) from None
    except ValueError as error:  # the config file is not TOML, or an environment variable not JSON
        raise ConfigError(f"{config_file()} or the environment cannot be read: {error}") from None


def _explain(error: ValidationError, given: dict[str, Any]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"{name} is not a setting (found in {config_file()})"
    if name in given:
        source = f"--{name.replace('_', '-')}"
    elif (env := f"LOCALCHAT_{name.upper()}") in os.environ:
        source = env
    else:
        source = f"{name} in {config_file()}"
    value = given.get(name, first["input"])
    return f"{source}: {value!r} is not valid: {first['msg'][0].lower()}{first['msg'][1:]}"
