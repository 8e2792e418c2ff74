"""The registry file and the names resolved against it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localchat.errors import ConfigError, ModelNotFound, WeightsError
from localchat.registry import Registry, load_registry
from localchat.registry.spec import HubSource, PathSource, WheelSource

TWO_MODELS = """
[[model]]
id = "small-chat"
title = "Small Chat"

[[model.quant]]
name = "Q4_0"
source = { kind = "url", url = "http://host/small.Q4_0.gguf" }

[[model.quant]]
name = "Q8_0"
source = { kind = "url", url = "http://host/small.Q8_0.gguf" }

[[model]]
id = "big-chat"
title = "Big Chat"

[[model.quant]]
name = "Q4_K_M"
source = { kind = "path", path = "weights/big.gguf" }
"""


@pytest.fixture
def registry_file(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


@pytest.fixture
def registry(registry_file: Path) -> Registry:
    registry_file.write_text(TWO_MODELS)
    return load_registry(registry_file)


def refusal(registry_file: Path, text: str) -> str:
    registry_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_registry(registry_file)
    assert "\n" not in str(caught.value)
    assert str(registry_file) in str(caught.value)
    return str(caught.value)


def test_registry_of_the_program_is_found_without_a_path() -> None:
    choice = load_registry(None).resolve("smollm2-135m-instruct")
    assert isinstance(choice.quant.source, WheelSource)
    assert choice.quant.size == 98362432


def test_models_keep_the_order_of_the_file(registry: Registry) -> None:
    assert [spec.id for spec in registry.models][-2:] == ["small-chat", "big-chat"]


def test_entry_of_a_later_file_takes_the_place_of_the_earlier_one(registry_file: Path) -> None:
    registry_file.write_text(TWO_MODELS.replace('id = "small-chat"', 'id = "smollm2-135m-instruct"'))
    ids = [spec.id for spec in load_registry(registry_file).models]
    assert ids.count("smollm2-135m-instruct") == 1
    assert load_registry(registry_file).find("smollm2-135m-instruct").title == "Small Chat"


def test_registry_beside_the_config_file_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "registry.toml").write_text(TWO_MODELS)
    registry = load_registry()
    assert registry.find("big-chat")
    assert registry.find("smollm2-135m-instruct")


def test_source_of_an_entry_holds_for_its_files(registry_file: Path) -> None:
    registry_file.write_text(
        """
[[model]]
id = "shared"
title = "Shared"
source = { kind = "hf", repo = "a/b", revision = "0123456789012345678901234567890123456789" }
quant = [{ name = "Q4_0", file = "b.Q4_0.gguf" }, { name = "Q8_0", source = { kind = "path", path = "/x.gguf" } }]
"""
    )
    first, second = load_registry(registry_file).find("shared").quants
    assert isinstance(first.source, HubSource)
    assert (first.source.repo, first.source.file, first.source.is_pinned) == ("a/b", "b.Q4_0.gguf", True)
    assert isinstance(second.source, PathSource)


def test_alias_stands_for_a_model(registry_file: Path) -> None:
    registry_file.write_text(TWO_MODELS + '\n[alias]\n"gpt-4o-mini" = "small-chat"\n')
    assert load_registry(registry_file).resolve("gpt-4o-mini").spec.id == "small-chat"


def test_family_that_nobody_wrote_is_refused(registry_file: Path) -> None:
    text = TWO_MODELS.replace('title = "Small Chat"', 'title = "Small Chat"\ntemplate = "nobody"')
    assert "small-chat: template: no family is called 'nobody'" in refusal(registry_file, text)


def test_entry_of_a_family_is_prompted_by_it(registry_file: Path) -> None:
    text = TWO_MODELS.replace('title = "Small Chat"', 'title = "Small Chat"\ntemplate = "own"')
    registry_file.write_text(text + "\n[template.own]\ndescription = 'own'\njinja = '{{ messages }}'\n")
    registry = load_registry(registry_file)
    family = registry.family(registry.find("small-chat"))
    assert family is not None
    assert family.jinja == "{{ messages }}"
    assert registry.family(registry.find("big-chat")) is None


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read: No such file"):
        load_registry(tmp_path / "missing.toml")


def test_text_that_is_not_toml_is_refused(registry_file: Path) -> None:
    assert "is not valid TOML" in refusal(registry_file, "[[model]\nid = ")


def test_bytes_that_are_not_utf8_are_refused(registry_file: Path) -> None:
    registry_file.write_bytes(b'title = "\xff"')
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_registry(registry_file)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('title = "Small Chat"', "", "small-chat: title: field required"),
        ('title = "Small Chat"', 'titel = "x"\ntitle = "y"', "small-chat: titel: extra inputs"),
        ('name = "Q8_0"', 'name = "Q8_0"\nsize = -1', "small-chat: quant[1].size: input should be greater than 0"),
        ('path = "weights/big.gguf"', 'file = "x"', "big-chat: quant[0].source.path: field required"),
        ('kind = "path"', 'kind = "ftp"', "big-chat: quant[0].source: input tag 'ftp'"),
        ('id = "big-chat"', "", "entry 2: id: field required"),
        ('id = "big-chat"', 'id = "big chat"', "big chat: id: string should match pattern"),
        ('id = "big-chat"', 'id = "small-chat"', "small-chat: id: 2 entries have this id"),
        ('name = "Q8_0"', 'name = "q4_0"', "small-chat: quant: 2 quants are called Q4_0"),
    ],
)
def test_bad_entry_is_named_with_its_field(registry_file: Path, before: str, after: str, expected: str) -> None:
    assert before in TWO_MODELS
    assert expected in refusal(registry_file, TWO_MODELS.replace(before, after))


def test_file_without_models_adds_none(registry_file: Path) -> None:
    registry_file.write_text("")
    assert load_registry(registry_file).models == load_registry().models


def test_further_errors_are_counted(registry_file: Path) -> None:
    text = TWO_MODELS.replace("title = ", "name = ")
    assert refusal(registry_file, text).endswith("(and 3 more)")


def test_id_alone_means_the_first_quant(registry: Registry) -> None:
    choice = registry.resolve("small-chat")
    assert (choice.spec.id, choice.quant.name) == ("small-chat", "Q4_0")


def test_quant_is_found_whatever_its_case(registry: Registry) -> None:
    assert registry.resolve("small-chat:q8_0").quant.name == "Q8_0"


@pytest.mark.parametrize("quant", ["Q2_K", ""])
def test_unknown_quant_lists_those_there_are(registry: Registry, quant: str) -> None:
    with pytest.raises(ModelNotFound, match=f"small-chat has no quant '{quant}'; it has Q4_0, Q8_0"):
        registry.resolve(f"small-chat:{quant}")


@pytest.mark.parametrize("typed", ["smal-chat", "small_chat", "Small-Chat", "small"])
def test_unknown_model_comes_with_a_suggestion(registry: Registry, typed: str) -> None:
    with pytest.raises(ModelNotFound, match=r"did you mean .*small-chat.*`localchat list`") as caught:
        registry.find(typed)
    assert caught.value.param == "model"


@pytest.mark.parametrize("typed", ["xyzzy", ""])
def test_model_like_no_other_comes_with_the_list_hint_only(registry: Registry, typed: str) -> None:
    with pytest.raises(ModelNotFound, match=f"no model is called '{typed}'; `localchat list` shows all models"):
        registry.resolve(typed)


def test_relative_path_of_an_entry_is_relative_to_the_registry(registry: Registry, tmp_path: Path) -> None:
    source = registry.resolve("big-chat").quant.source
    assert source == PathSource(kind="path", path=str(tmp_path / "weights" / "big.gguf"))


def test_file_name_needs_no_entry(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "My model (new).Q4_K_M.GGUF").touch()
    monkeypatch.chdir(tmp_path)
    choice = registry.resolve("My model (new).Q4_K_M.GGUF")
    assert choice.spec.id == "My-model-new-.Q4_K_M"
    assert choice.spec.quants == (choice.quant,)
    assert choice.quant.name == "Q4_K_M"
    assert choice.quant.source == PathSource(kind="path", path=str(tmp_path / "My model (new).Q4_K_M.GGUF"))


def test_anything_with_a_separator_is_a_path(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    choice = registry.resolve(f"{tmp_path}{os.sep}weights.bin")
    assert (choice.spec.id, choice.quant.name) == ("weights", "GGUF")


@pytest.mark.parametrize("name", ["missing.gguf", "folder/missing"])
def test_missing_file_is_a_weights_error(registry: Registry, name: str) -> None:
    with pytest.raises(WeightsError, match=f"there is no file {name}"):
        registry.resolve(name)


def test_folder_is_not_a_model(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        registry.resolve(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("reference", "repo", "file", "revision"),
    [
        ("hf:owner/repo/model.Q8_0.gguf", "owner/repo", "model.Q8_0.gguf", "main"),
        ("hf:owner/repo/dir/sub/model.gguf", "owner/repo", "dir/sub/model.gguf", "main"),
        ("hf:owner/my.repo-1/model.gguf@v2", "owner/my.repo-1", "model.gguf", "v2"),
        ("hf:owner/repo/model.gguf@refs/pr/3", "owner/repo", "model.gguf", "refs/pr/3"),
    ],
)
def test_hub_reference_needs_no_entry(registry: Registry, reference: str, repo: str, file: str, revision: str) -> None:
    choice = registry.resolve(reference)
    assert choice.quant.source == HubSource(kind="hf", repo=repo, file=file, revision=revision)
    assert choice.spec.id == Path(file).stem


@pytest.mark.parametrize(
    "reference",
    [
        "hf:",
        "hf:model.gguf",
        "hf:owner/model.gguf",
        "hf:owner/repo/model.bin",
        "hf:owner/repo//model.gguf",
        "hf:owner/repo/model.gguf@",
        "hf:owner/re po/model.gguf",
    ],
)
def test_malformed_hub_reference_is_told_the_form(registry: Registry, reference: str) -> None:
    with pytest.raises(ConfigError, match=r"is not of the form hf:owner/repo/file\.gguf"):
        registry.resolve(reference)
