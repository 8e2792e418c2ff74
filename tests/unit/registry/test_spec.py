"""What an entry may and must say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from localchat.registry.spec import ModelSpec


def entry(**keys: Any) -> ModelSpec:
    return ModelSpec.model_validate({"id": "m", "title": "M", **keys})


def files(spec: ModelSpec) -> list[tuple[str, str]]:
    return [(quant.source.repo, quant.source.file) for quant in spec.quants if quant.source.kind == "hf"]


def test_file_of_the_shared_source_is_named_after_each_row() -> None:
    rows = [{"name": "Q4_0"}, {"name": "Q8_0"}]
    spec = entry(source={"kind": "hf", "repo": "a/b", "file": "m-{name}.gguf"}, quant=rows)
    assert files(spec) == [("a/b", "m-Q4_0.gguf"), ("a/b", "m-Q8_0.gguf")]


def test_row_may_name_a_file_or_a_source_of_its_own() -> None:
    other = {"kind": "hf", "repo": "c/d", "file": "m.Q6_K.gguf"}
    rows = [{"name": "F16", "file": "m-f16.gguf"}, {"name": "Q6_K", "source": other}]
    spec = entry(source={"kind": "hf", "repo": "a/b", "file": "m-{name}.gguf"}, quant=rows)
    assert files(spec) == [("a/b", "m-f16.gguf"), ("c/d", "m.Q6_K.gguf")]


def test_row_without_any_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="file"):
        entry(source={"kind": "hf", "repo": "a/b"}, quant=[{"name": "Q4_0"}])


def test_checkpoint_to_convert_needs_no_files() -> None:
    spec = entry(source={"kind": "convert", "repo": "a/b"}, quant=[{"name": "Q4_K_M"}, {"name": "Q8_0"}])
    assert [(quant.name, quant.source.kind) for quant in spec.quants] == [("Q4_K_M", "convert"), ("Q8_0", "convert")]


def test_only_what_cannot_run_may_have_no_weights() -> None:
    assert entry(unsupported="no graph").quants == ()
    with pytest.raises(ValidationError, match="needs a quant, or unsupported with the reason"):
        entry()


def test_unverified_names_keys_as_they_are_written() -> None:
    assert entry(unsupported="no graph", unverified=["license", "quant"]).unverified == ("license", "quant")
    with pytest.raises(ValidationError, match="unverified names 'licence', which is no field"):
        entry(unsupported="no graph", unverified=["licence"])


@pytest.mark.parametrize(
    ("said", "count"), [("135M", 135_000_000), ("6.7B", 6_700_000_000), ("1.54B", 1_540_000_000), (None, None)]
)
def test_parameters_are_a_number_too(said: str | None, count: int | None) -> None:
    assert entry(unsupported="no graph", parameters=said).parameter_count == count
