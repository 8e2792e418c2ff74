"""What stands in the way of a model is said before a process is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localchat.cli.prepare import describe
from localchat.draft import find_draft
from localchat.errors import ConfigError, DoesNotFit, LicenseForbids
from localchat.hardware import Machine, probe, read_header
from localchat.hardware.plan import ram_budget
from localchat.hub.progress import SilentProgress
from localchat.launch import prepare
from localchat.registry import load_registry
from localchat.settings import load_settings
from tiny_models import build


@pytest.mark.parametrize(("architecture", "embeds"), [("bert", True), ("llama", False)])
def test_an_encoder_makes_vectors(tmp_path: Path, architecture: str, embeds: bool) -> None:
    path = build(tmp_path / "model.gguf", architecture)
    launch = prepare(str(path), load_settings(), load_registry(), probe(), SilentProgress())
    assert launch.load.embeds is embeds


@pytest.mark.parametrize("architecture", ["llama", "mamba", "t5"])
def test_what_writes_text_is_launched(tmp_path: Path, architecture: str) -> None:
    path = build(tmp_path / "writer.gguf", architecture, context_length=640)
    launch = prepare(str(path), load_settings(), load_registry(), probe(), SilentProgress())
    assert (launch.id, launch.load.path, launch.load.n_ctx) == ("writer", str(path), 640)


def test_installed_quant_that_fits_the_machine_is_not_given_up_for_a_share_of_it(tmp_path: Path) -> None:
    path = build(tmp_path / "here.gguf", "llama")
    absent = '{ kind = "hf", repo = "owner/none", file = "none.gguf" }'
    (tmp_path / "models.toml").write_text(
        f"""
[[model]]
id = "own"
title = "Own"
quant = [
  {{ name = "F32", source = {{ kind = "path", path = "{path}" }} }},
  {{ name = "Q4_0", size = 1000, source = {absent} }},
]
"""
    )
    registry, settings = load_registry(tmp_path / "models.toml"), load_settings(models_dir=tmp_path / "models")
    whole = Machine(1, 8 << 30, 8 << 30)
    need = prepare("own", settings, registry, whole, SilentProgress()).plan.memory
    # What is kept back, and room for the smaller weights alone.
    share = replace(whole, ram_available=(8 << 30) - ram_budget(whole) + need.total - need.weights // 2)
    with pytest.raises(DoesNotFit, match=r"here\.gguf does not fit"):
        prepare("own", settings, registry, share, SilentProgress(), whole)


def test_draft_is_planned_beside_its_model(tmp_path: Path) -> None:
    path = build(tmp_path / "large.gguf", "llama", context_length=640)
    draft = build(tmp_path / "small.gguf", "llama", context_length=256)
    plain = prepare(str(path), load_settings(), load_registry(), probe(), SilentProgress())
    launch = prepare(str(path), load_settings(draft=str(draft)), load_registry(), probe(), SilentProgress())
    assert launch.load.draft is not None
    assert (launch.load.draft.path, launch.load.draft.n_ctx, launch.load.n_ctx) == (str(draft), 256, 640)
    assert launch.plan.memory.kv_cache == plain.plan.memory.kv_cache * (768 + 256) // 768  # in whole pages
    assert launch.plan.memory.weights > plain.plan.memory.weights
    assert "draft     small, 256 tokens; its memory is counted above" in describe(launch)


@pytest.mark.parametrize(
    ("architecture", "draft", "message"),
    [
        ("llama", "gpt2", r"--draft .*draft\.gguf: draft\.gguf splits text into other tokens than model\.gguf"),
        ("llama", "mamba", r"wrong guesses cannot be taken back from a model like draft\.gguf \(mamba\)"),
        ("mamba", "llama", r"wrong guesses cannot be taken back from a model like model\.gguf \(mamba\)"),
        ("t5", "t5", r"wrong guesses cannot be taken back from a model like model\.gguf \(t5\)"),
    ],
)
def test_draft_that_cannot_guess_is_refused(tmp_path: Path, architecture: str, draft: str, message: str) -> None:
    path, other = build(tmp_path / "model.gguf", architecture), build(tmp_path / "draft.gguf", draft)
    with pytest.raises(ConfigError, match=message):
        prepare(str(path), load_settings(draft=str(other)), load_registry(), probe(), SilentProgress())


def test_draft_whose_license_is_unknown_is_refused_for_commercial_use(tmp_path: Path) -> None:
    draft = build(tmp_path / "draft.gguf", "llama")
    settings = load_settings(draft=str(draft), commercial=True)
    with pytest.raises(LicenseForbids, match=r"^draft \(no license"):
        find_draft(read_header(draft), probe(), settings, load_registry(), SilentProgress())


def test_draft_is_left_out_where_nothing_is_to_be_guessed(tmp_path: Path) -> None:
    path = build(tmp_path / "model.gguf", "llama")
    settings = load_settings(draft="no-such-model", speculate="off")
    launch = prepare(str(path), settings, load_registry(), probe(), SilentProgress())
    assert (launch.load.draft, launch.load.speculate) == (None, False)


def test_draft_that_does_not_fit_beside_its_model_is_refused(tmp_path: Path) -> None:
    path, draft = build(tmp_path / "model.gguf", "llama"), build(tmp_path / "draft.gguf", "llama")
    registry, machine = load_registry(), Machine(1, 8 << 30, 8 << 30)
    plan = prepare(str(path), load_settings(), registry, machine, SilentProgress()).plan
    tight = replace(machine, ram_available=(8 << 30) - ram_budget(machine) + plan.memory.total + (1 << 20))
    with pytest.raises(DoesNotFit, match=r"does not fit"):
        prepare(str(path), load_settings(draft=str(draft)), registry, tight, SilentProgress())
