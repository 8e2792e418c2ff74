"""What a registry may say that was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.errors import ConfigError
from localchat.registry import Measured, load_registry

ENTRY = """
[[model]]
id = "m"
title = "M"

[[model.quant]]
name = "Q4_0"
source = { kind = "path", path = "m.Q4_0.gguf" }

[model.quant.measured]
size = 91_000_000
bits_per_weight = 4.6
"""
ALL = """
perplexity = 21.5
kl_mean = 0.0
kl_p99 = 0.31
top1 = 0.89
cosine = 0.998
prompt_speed = 345
decode_speed = 61.5
peak_rss = 180_000_000
tokens = 8160
threads = 2
text = "measure.txt"
reference = "F16"
machine = "Some CPU"
imatrix = true
"""


def load(folder: Path, more: str) -> Measured | None:
    file = folder / "models.toml"
    file.write_text(ENTRY + more)
    return load_registry(file).resolve("m").quant.measured


def test_table_under_a_quant_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, ALL)
    assert found is not None
    assert set(Measured.model_fields) == found.model_fields_set
    assert (found.size, found.kl_mean, found.imatrix) == (91_000_000, 0, True)


def test_only_the_sizes_are_needed(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Measured(size=91_000_000, bits_per_weight=4.6)


@pytest.mark.parametrize(
    "wrong",
    [
        "kl_mean = -0.01",
        "kl_p99 = nan",
        "top1 = 1.01",
        "cosine = 1.01",
        "perplexity = inf",
        "decode_speed = 0",
        "peak_rss = 0",
        "tokens = 1.5",
        "speed = 3",
    ],
)
def test_wrong_figure_names_file_entry_and_field(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, wrong)
    field = wrong.partition(" ")[0]
    assert f"{tmp_path / 'models.toml'}: m: quant[0].measured.{field}: " in str(caught.value)
    assert "\n" not in str(caught.value)
