"""One frozen settings object, resolved once: flag, then `LOCALCHAT_*`, then the config file, then the default."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import platformdirs
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from localchat.errors import ConfigError
from localchat.quantities import Duration, Room, Size

Auto = Literal["auto"]
PositiveInt = Annotated[int, Field(ge=1)]
Names = Annotated[list[str], NoDecode, BeforeValidator(lambda value: _split(value))]
"""A list; environment variables give it as JSON, or as one text with commas."""
Secrets = Annotated[
    list[Annotated[SecretStr, Field(min_length=1)]], NoDecode, BeforeValidator(lambda value: _split(value, blanks=True))
]
"""The same of what must not be shown. An empty one is an error: it would protect nothing."""
KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


def config_file() -> Path:
    """Where the config file is looked for; it need not exist."""
    chosen = os.environ.get("LOCALCHAT_CONFIG")
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("localchat")) / "config.toml"


def user_registry() -> Path:
    """Where a person's own models are looked for, beside the config file; it need not exist."""
    return config_file().with_name("registry.toml")


class Settings(BaseSettings):
    """Every option of `localchat serve`; a field's description is its help text."""

    model_config = SettingsConfigDict(env_prefix="LOCALCHAT_", frozen=True, extra="forbid", env_ignore_empty=True)

    model: Names = Field(
        ["smollm2-135m-instruct"],
        min_length=1,
        description="Registry id, FILE.gguf, or hf:owner/repo/file.gguf; give it again for several models.",
    )
    on_demand: bool = Field(False, description="Also load other models of the registry when a request names them.")
    alias: Names = Field([], description="NAME=MODEL: another name for a model, as in gpt-4o-mini=mpt-7b-chat.")
    memory: Auto | Size = Field(
        "auto", description="Most RAM for all models, as in 8G; auto leaves a tenth of the machine."
    )
    keep_alive: Duration = Field(
        -1, validate_default=True, description="How long a model stays loaded unused: 10m; -1 is for ever."
    )
    commercial: bool = Field(False, description="Refuse models whose license does not allow commercial use.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_key: Secrets = Field([], description="Bearer token that clients must send; give it again for several clients.")
    background_api_key: Secrets = Field([], description="The same, for a client whose requests run in the background.")
    insecure: bool = Field(False, description="Allow a non-loopback address without an API key.")

    ctx_size: Auto | PositiveInt = Field("auto", description="Context tokens of each sequence; auto fits memory.")
    parallel: PositiveInt = Field(4, le=256, description="Sequences that decode together.")
    load_queue: int = Field(64, ge=0, description="Requests that may wait for models to load; more get 503.")
    queue_size: int = Field(256, ge=0, description="Requests of one key and lane that may wait; more get 503.")
    threads: Auto | PositiveInt = Field("auto", description="Compute threads; auto takes the physical cores.")
    single_row_threads: Auto | PositiveInt = Field(
        "auto", description="Compute threads of a step with a single row; auto measures while loading."
    )
    batch_size: PositiveInt = Field(512, description="Most tokens of one engine step.")
    ubatch_size: PositiveInt = Field(512, description="Most tokens of one pass through the graph.")
    max_step_ms: float = Field(
        70.0,
        gt=0,
        description="About how long a step takes at most while replies are written; four times that if prompts queue.",
    )
    adapt_threads: bool = Field(
        True, description="Compute with fewer threads while another program keeps a core busy; it may change the text."
    )
    kv_type: KvType = Field("f16", description="Type of the KV cache.")
    kv_unified: bool = Field(False, description="One KV buffer for all sequences instead of one for each.")
    prefix_cache: Auto | Room = Field(
        "auto",
        description="Most RAM for prefixes that lost their slot; 0 is none, auto 1/16 of what is left, at most 512M.",
    )
    prefix_disk: Room = Field(
        4 * 2**30, description="Most disk for prefixes that outlive the process, as in 2G; 0 keeps none."
    )
    prefix_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("localchat")) / "prefixes",
        description="Where these are kept; only the user can read them.",
    )
    flash_attn: Literal["auto", "on", "off"] = Field("auto", description="Flash attention.")
    gpu_layers: Auto | Annotated[int, Field(ge=0)] = Field("auto", description="Layers on the GPU; auto fits VRAM.")
    mmap: bool = Field(True, description="Map the weights instead of reading them.")
    tuned: bool = Field(True, description="Use what `localchat tune` found for this machine and model.")
    speculate: Literal["auto", "off"] = Field(
        "auto", description="Guess tokens ahead where that is faster: by what the text repeats, and by --draft."
    )
    draft: str = Field("", description="Registry id or FILE.gguf of a smaller model that guesses ahead for the model.")
    force: bool = Field(False, description="Load even when memory seems too small.")

    chat_template: Path | None = Field(None, description="Jinja file to use instead of the model's own template.")
    registry: Path | None = Field(None, description="Registry file that adds to the packaged one and overrides it.")
    models_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("localchat")) / "models",
        description="Where downloaded weights are kept.",
    )

    store: Literal["off"] | Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("localchat")) / "store.sqlite3",
        description="File that keeps responses and stored chat completions; off keeps none.",
    )
    store_age: Duration = Field(
        30 * 86400, validate_default=True, description="How long the store keeps anything, as in 7d; -1 is for ever."
    )
    store_size: Size = Field(2**30, description="Most bytes in the store; what rested longest goes first.")
    drain_seconds: float = Field(10.0, ge=0, description="How long running streams may go on after Ctrl-C.")
    load_seconds: float = Field(600.0, gt=0, description="How long a request may wait for its model to load.")
    lenient: bool = Field(
        False, description="Ignore fields that nobody documents, and list them in x-localchat-ignored; else refuse."
    )
    max_body_mb: PositiveInt = Field(16, description="Largest request body.")
    allowed_hosts: Names = Field([], description="Host headers to accept besides loopback names; * accepts all.")
    cors_origins: Names = Field([], description="Web origins that may call the API from a browser.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level to log.")

    @property
    def asks_for_key(self) -> bool:
        """Whether clients must send a key."""
        return bool(self.api_key or self.background_api_key)

    @property
    def serves_several(self) -> bool:
        """Whether there may be more than one model."""
        return self.on_demand or len(self.model) > 1

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


def _split(value: Any, *, blanks: bool = False) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if blanks or part.strip()]


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
    is_secret = Settings.model_fields[name].annotation in get_args(Secrets)
    value = "what it says" if is_secret else repr(given.get(name, first["input"]))
    return f"{source}: {value} is not valid: {first['msg'][0].lower()}{first['msg'][1:]}"
