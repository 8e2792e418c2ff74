"""The fingerprint changes with what an answer comes from, part by part, and with nothing else."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from localchat.fingerprint import fingerprint
from localchat.hardware import probe
from localchat.hub.progress import SilentProgress
from localchat.launch import prepare
from localchat.registry import load_registry
from localchat.settings import load_settings
from tiny_models import build

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
WEIGHTS, QUANT, PROMPT, ENGINE = range(4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("weights") / "model.gguf", "llama", chat_template=TEMPLATE)


def parts_of(path: Path, models_dir: Path, **settings: Any) -> list[str]:
    resolved = load_settings(models_dir=models_dir, tuned=False, **settings)
    launch = prepare(str(path), resolved, load_registry(), probe(), SilentProgress())
    prefix, _, parts = launch.fingerprint.partition("_")
    assert prefix == "fp"
    return parts.split("-")


def test_same_file_has_the_same_fingerprint_wherever_it_is(weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(weights, tmp_path / "copy.gguf"))
    assert parts_of(weights, tmp_path) == parts_of(copy, tmp_path)


def test_other_weights_change_their_part_alone(weights: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other.gguf", "llama", chat_template=TEMPLATE, seed=1)
    one, two = parts_of(weights, tmp_path), parts_of(other, tmp_path)
    assert one[WEIGHTS] != two[WEIGHTS]
    assert one[1:] == two[1:]


def test_other_template_changes_its_part_alone(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(TEMPLATE + "!")
    one, two = parts_of(weights, tmp_path), parts_of(weights, tmp_path, chat_template=tmp_path / "own.jinja")
    assert one[PROMPT] == hashlib.sha256(TEMPLATE.encode()).hexdigest()[:8] != two[PROMPT]
    assert (one[:PROMPT], one[ENGINE]) == (two[:PROMPT], two[ENGINE])


def test_model_without_a_template_says_so(tmp_path: Path) -> None:
    assert parts_of(build(tmp_path / "bare.gguf", "llama"), tmp_path)[PROMPT] == "none"


@pytest.mark.parametrize("setting", [{"flash_attn": "off"}, {"threads": 3}, {"kv_unified": True}])
def test_what_rounds_otherwise_changes_the_part_of_the_engine(
    weights: Path, tmp_path: Path, setting: dict[str, Any]
) -> None:
    one, two = parts_of(weights, tmp_path, threads=1), parts_of(weights, tmp_path, **{"threads": 1, **setting})
    assert one[ENGINE] != two[ENGINE]
    assert one[:ENGINE] == two[:ENGINE]


def test_settings_that_round_nothing_otherwise_change_nothing(weights: Path, tmp_path: Path) -> None:
    assert parts_of(weights, tmp_path, parallel=2, mmap=False, queue_size=1) == parts_of(weights, tmp_path)


def test_known_digest_of_a_file_is_its_name(weights: Path, tmp_path: Path) -> None:
    settings, registry = load_settings(models_dir=tmp_path), load_registry()
    launch = prepare(str(weights), settings, registry, probe(), SilentProgress())
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    quant = launch.choice.quant.model_copy(update={"sha256": digest})
    named = fingerprint(type(launch.choice)(launch.choice.spec, quant), launch.load, tmp_path, None)
    assert named.startswith(f"fp_{digest[:8]}-{quant.name}-none-")
