"""What --commercial refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.errors import LicenseForbids
from localchat.registry import ModelSpec, load_registry
from localchat.registry.choice import choose_from_hub
from localchat.registry.license import check_commercial


def spec_of(**fields: Any) -> ModelSpec:
    quant = {"name": "Q4_0", "source": {"kind": "path", "path": "a.gguf"}}
    return ModelSpec.model_validate({"id": "a", "title": "a", "quant": [quant], **fields})


def test_allowed_model_passes() -> None:
    check_commercial(spec_of(license="MIT", commercial={"use": "yes", "why": "MIT allows it"}))


def test_forbidden_model_is_refused_with_license_and_clause() -> None:
    spec = spec_of(license="CC-BY-NC-4.0", commercial={"use": "no", "why": "the NonCommercial clause"})
    with pytest.raises(LicenseForbids, match=r"^a \(CC-BY-NC-4.0\) may not be used commercially: the NonCommercial"):
        check_commercial(spec)


def test_what_nobody_has_read_is_no_permission() -> None:
    with pytest.raises(LicenseForbids, match=r'the registry does not say.*commercial = \{ use = "yes"'):
        check_commercial(spec_of(license="odd"))


def test_file_without_an_entry_is_refused_and_an_entry_asked_for() -> None:
    with pytest.raises(LicenseForbids, match="say so in a registry of your own"):
        check_commercial(choose_from_hub("hf:owner/repo/some.gguf").spec)


@pytest.mark.parametrize(("model", "is_allowed"), [("mpt-7b-chat", False), ("mpt-7b-instruct", True)])
def test_models_of_the_packaged_registry_are_told_apart(model: str, is_allowed: bool) -> None:
    spec = load_registry().find(model)
    if is_allowed:
        check_commercial(spec)
    else:
        with pytest.raises(LicenseForbids, match="NonCommercial"):
            check_commercial(spec)
