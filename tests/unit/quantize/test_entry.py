"""Registry entries of measured files, and their place in a person's own registry."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.errors import ConfigError
from localchat.registry import Measured, ModelSpec, load_registry
from localchat.registry.spec import ConvertSource, HubSource, PathSource, Quant
from localchat.settings import user_registry
from localchat_quantize.card import Row
from localchat_quantize.entry import entry, register
from tiny_models import build

from .cards import any_measured, card, row

OWN = '''\
# my models
[alias]
fast = "one"  # for the editor

[[model]]
id = "one"
title = "One"  # the first
quant = [
  { name = "Q8_0", source = { kind = "path", path = "one.gguf" } },
]

# ---- what I quantized ----

[[model]]  # by hand
id = "tiny"
title = "Old"
[[model.quant]]
name = "Q8_0"
source = { kind = "path", path = "old.gguf" }

# ---- templates ----
[template.mine]
description = """
[[model]]
id = "tiny"
"""
jinja = "{{ x }}"

# three
[[model]]
id = "three"
title = "Three"
template = "mine"
[[model.quant]]
name = "Q4_0"
source = { kind = "path", path = "three.gguf" }
# the end
'''
NEW = """\
[[model]]
id = "tiny"
title = "New"
[[model.quant]]
name = "Q4_0"
source = { kind = "path", path = "new.gguf" }
"""


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_CONFIG", str(tmp_path / "config" / "config.toml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of all six formats, where the models folder has them."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    made = build(tmp_path / "tiny.gguf", "qwen2").read_bytes()
    for one in card().rows:
        (folder / one.file).write_bytes(made)
    return folder


def loaded(text: str, id: str = "tiny") -> ModelSpec:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "registry.toml"
        path.write_text(text, encoding="utf-8")
        return load_registry(path).find(id)


def known(*quants: Quant) -> ModelSpec:
    values = {"id": "tiny", "title": "Tiny", "keep_alive": "-1", "stop": ["\n", '"'], "license": "MIT"}
    return ModelSpec.model_validate(values | {"sampling": {"top_p": 0.9}, "quant": quants})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_measured)
def test_entry_gives_back_the_figures(folder: Path, measured: Measured) -> None:
    one = Row(format="Q4_0", file="tiny.Q4_0.gguf", sha256="0" * 64, measured=measured)
    [quant] = loaded(entry(card(one), None, folder)).quants
    assert quant.measured is not None
    for name, value in measured:
        found = getattr(quant.measured, name)
        assert found == (pytest.approx(value, rel=5e-4) if isinstance(value, float) else value)


def test_figures_have_four_digits(folder: Path) -> None:
    text = entry(card(row("Q4_0")), None, folder)
    assert "perplexity = 18.23\n" in text
    assert "decode_speed = 48.71\n" in text
    assert "[model.quant.measured]\nsize = 92000000\n" in text


def test_unknown_model_is_described_by_its_file(folder: Path) -> None:
    spec = loaded(entry(card(), None, folder))
    assert (spec.title, spec.architecture, spec.context_length) == ("Tiny qwen2", "qwen2", 512)
    assert [quant.name for quant in spec.quants] == ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K"]
    for quant in spec.quants:
        assert quant.source == PathSource(kind="path", path=str(folder / f"tiny.{quant.name}.gguf"))


def test_only_files_that_are_there_are_told_of(folder: Path) -> None:
    (folder / "tiny.Q8_0.gguf").unlink()
    assert "Q8_0" not in [quant.name for quant in loaded(entry(card(), None, folder)).quants]
    with pytest.raises(ConfigError, match="none of the files on the card of tiny is in"):
        entry(card(row("F16", 270, None)), None, folder)


def test_known_model_keeps_what_the_registry_says(folder: Path) -> None:
    published = Quant(name="Q4_1", source=HubSource(kind="hf", repo="owner/tiny", file="tiny.gguf"), size=5)
    before = known(published)
    after = loaded(entry(card(row("Q4_0")), before, folder))
    assert after.model_copy(update={"quants": before.quants}) == before
    assert after.quants[0] == published
    assert after.quants[1].source == PathSource(kind="path", path=str(folder / "tiny.Q4_0.gguf"))


def test_what_is_converted_is_looked_for_in_the_models_folder(folder: Path) -> None:
    source = ConvertSource(kind="convert", repo="owner/tiny")
    before = known(Quant(name="Q4_K_M", source=source))
    made = card(row("Q4_K_M"), row("Q8_0"))
    after = loaded(entry(made, before, folder))
    assert [(quant.name, quant.source, quant.sha256) for quant in after.quants] == [
        ("Q4_K_M", source, made.rows[1].sha256),
        ("Q8_0", source, made.rows[0].sha256),
    ]
    elsewhere = folder.rename(folder.parent / "elsewhere")
    assert {quant.source.kind for quant in loaded(entry(made, before, elsewhere)).quants} == {"path"}


def test_published_file_keeps_its_source_only_if_it_is_the_one_that_was_measured(folder: Path) -> None:
    made = row("Q4_0")
    source = HubSource(kind="hf", repo="owner/tiny", file="tiny.gguf")
    same = loaded(entry(card(made), known(Quant(name="Q4_0", source=source, sha256=made.sha256)), folder))
    other = loaded(entry(card(made), known(Quant(name="Q4_0", source=source, sha256="0" * 64)), folder))
    assert [quant.source.kind for quant in same.quants] == ["hf"]
    assert [(quant.source.kind, quant.sha256) for quant in other.quants] == [("path", made.sha256)]


def test_id_that_is_none_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^-tiny cannot be a registry entry: id: "):
        entry(card(row("Q4_0"), id="-tiny"), None, folder)


def test_first_entry_makes_the_file(folder: Path) -> None:
    text = entry(card(), None, folder)
    register(text)
    assert user_registry().read_text(encoding="utf-8") == text
    assert len(load_registry().find("tiny").quants) == 6


def test_entry_of_the_same_id_is_replaced_and_the_rest_stays_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    register(NEW, path)
    start, end = OWN.index("[[model]]  # by hand"), OWN.index("\n# ---- templates")
    assert path.read_text(encoding="utf-8") == OWN[:start] + NEW + OWN[end:]
    assert load_registry(path).find("tiny").title == "New"


def test_new_entry_goes_to_the_end(tmp_path: Path) -> None:
    path, other = tmp_path / "own.toml", NEW.replace('"tiny"', '"other"')
    path.write_text(OWN, encoding="utf-8")
    register(other, path)
    assert path.read_text(encoding="utf-8") == f"{OWN}\n{other}"


@pytest.mark.parametrize(
    "text", [OWN, OWN.replace("\n", "\r\n"), OWN.rstrip("\n"), OWN.replace("[[model]]", "[[ model ]]"), ""]
)
def test_registering_again_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(text.encode())
    register(NEW, path)
    once = path.read_bytes()
    register(NEW, path)
    assert path.read_bytes() == once
    assert load_registry(path).find("tiny").title == "New"


@settings(max_examples=20)
@given(st.permutations(["one", "tiny", "three"]), st.lists(st.sampled_from(["", "# a", "[[model]] # b"]), max_size=3))
def test_other_entries_and_comments_survive(ids: list[str], remarks: list[str]) -> None:
    comments = "".join(f"# {remark}\n" for remark in remarks)
    blocks = [f"{comments}{NEW.replace('tiny', id)}" for id in ids]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.toml"
        path.write_text("".join(blocks), encoding="utf-8")
        register(NEW.replace("New", "Newer"), path)
        assert path.read_text(encoding="utf-8") == "".join(blocks).replace(NEW, NEW.replace("New", "Newer"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[model", "is not valid TOML"),
        ("[[model]]\nid = 'x'\n", "x: title: field required"),
        ('model = [ { id = "x", title = "X", unsupported = "no" } ]\n', "are no \\[\\[model\\]\\]; add it by hand"),
        ("\udcff", "cannot be read"),
    ],
)
def test_file_that_cannot_take_an_entry_is_left_as_it_is(tmp_path: Path, text: str, why: str) -> None:
    path, before = tmp_path / "own.toml", text.encode("utf-8", "surrogateescape")
    path.write_bytes(before)
    with pytest.raises(ConfigError, match=rf"own\.toml.*{why}") as caught:
        register(NEW, path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ["own.toml"]


def test_entry_that_cannot_be_loaded_is_not_put_in(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.toml: tiny: template: no family is called 'none such'"):
        register(NEW.replace('title = "New"', 'title = "New"\ntemplate = "none such"'), path)
    assert path.read_text(encoding="utf-8") == OWN
