"""Where what is quantized comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_server import COMMIT, HubServer
from localchat.errors import ConfigError, ModelNotFound, UnsupportedModel
from localchat.hub.progress import SilentProgress
from localchat.registry import Registry, load_registry
from localchat_quantize.origin import Origin, find_origin
from tiny_models import build

REGISTRY = """
[[model]]
id = "raw"
title = "Raw"
source = { kind = "convert", repo = "owner/raw", base = "owner/base" }
quant = [{ name = "Q8_0" }]

[[model]]
id = "published"
title = "Published"
checkpoint = "owner/base"
quant = [{ name = "Q8_0", source = { kind = "hf", repo = "owner/gguf", file = "a.gguf" } }]

[[model]]
id = "closed"
title = "Closed"
quant = [{ name = "Q8_0", source = { kind = "hf", repo = "owner/gguf", file = "a.gguf" } }]

[[model]]
id = "impossible"
title = "Impossible"
unsupported = "it is too odd"

[alias]
short = "published"
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text(REGISTRY)
    return load_registry(tmp_path / "registry.toml")


@pytest.fixture
def checkpoints(hub: HubServer) -> HubServer:
    for repo in ("owner/raw", "owner/base"):
        hub.add_regular(repo, "config.json", json.dumps({"of": repo}).encode())
        hub.add(repo, "model.safetensors", b"weights")
    return hub


def find(registry: Registry, source: str, base: str | None = None, name: str | None = None) -> Origin:
    return find_origin(source, base, name, registry, Path("nowhere"), SilentProgress())


def config(folder: Path | None) -> str:
    assert folder is not None
    return str(json.loads((folder / "config.json").read_text())["of"])


def test_entry_to_convert_brings_its_base(registry: Registry, checkpoints: HubServer) -> None:
    origin = find(registry, "raw")
    assert (config(origin.path), config(origin.base)) == ("owner/raw", "owner/base")
    assert (origin.name, origin.label, origin.base_label) == ("raw", f"owner/raw@{COMMIT}", f"owner/base@{COMMIT}")
    assert origin.spec == registry.find("raw")


def test_entry_of_a_published_model_names_its_checkpoint(registry: Registry, checkpoints: HubServer) -> None:
    origin = find(registry, "short")
    assert (config(origin.path), origin.name, origin.base) == ("owner/base", "published", None)


def test_quant_of_an_entry_is_its_published_file(registry: Registry, hub: HubServer, tmp_path: Path) -> None:
    hub.add("owner/gguf", "a.gguf", build(tmp_path / "a.gguf", "llama").read_bytes())
    origin = find(registry, "published:Q8_0")
    assert origin.path.read_bytes() == (tmp_path / "a.gguf").read_bytes()
    assert (origin.name, origin.label, origin.spec) == ("published", "published:Q8_0", registry.find("published"))


def test_repository_needs_no_entry(registry: Registry, checkpoints: HubServer) -> None:
    origin = find(registry, f"hf:owner/base@{COMMIT}", name="mine")
    assert (config(origin.path), origin.name, origin.spec) == ("owner/base", "mine", None)


def test_folder_and_file_are_taken_as_they_are(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw.F16.gguf").touch()
    folder, file = find(registry, str(tmp_path / "raw")), find(registry, str(tmp_path / "raw.F16.gguf"), name="own")
    assert (folder.path, folder.name, folder.label) == (tmp_path / "raw", "raw", "raw")
    assert folder.spec == registry.find("raw")
    assert (file.path, file.name, file.label, file.spec) == (tmp_path / "raw.F16.gguf", "own", "raw.F16.gguf", None)


def test_base_is_a_folder_or_a_repository(registry: Registry, checkpoints: HubServer, tmp_path: Path) -> None:
    for name in ("delta", "base"):
        (tmp_path / name).mkdir()
    delta = str(tmp_path / "delta")
    assert find(registry, delta, str(tmp_path / "base")).base == tmp_path / "base"
    assert config(find(registry, delta, "owner/base").base) == "owner/base"


def test_base_that_is_nowhere_is_a_folder_or_a_repository_as_it_is_written(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "delta").mkdir()
    with pytest.raises(ConfigError, match="there is no /no/such/folder"):
        find(registry, str(tmp_path / "delta"), "/no/such/folder")
    with pytest.raises(ConfigError, match=r"there is no \./folder"):
        find(registry, str(tmp_path / "delta"), "./folder")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("pubished", ModelNotFound, "did you mean published"),
        ("no/such/folder", ConfigError, "there is no no/such/folder; give a folder"),
        ("none.gguf", ConfigError, "there is no none.gguf"),
        ("hf:owner", ConfigError, "not of the form hf:owner/repo"),
        ("impossible", UnsupportedModel, "it is too odd"),
        ("closed", ConfigError, "names no checkpoint of closed"),
    ],
)
def test_what_is_nowhere_is_said(registry: Registry, source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find(registry, source)


def test_name_that_is_no_id_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    with pytest.raises(ConfigError, match="'my model' is no id"):
        find(registry, str(tmp_path / "my model"))
