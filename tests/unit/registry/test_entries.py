"""The packaged registry: every model of the catalog, and what each entry owes its reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localchat.errors import UnsupportedModel
from localchat.hardware.ggml_types import FILE_TYPES
from localchat.registry import FROM_FILE, ModelSpec, Registry, load_registry
from localchat.registry.spec import NO_TEMPLATE, ConvertSource, HubSource

CATALOG = Path(__file__).with_name("catalog_ids.txt").read_text(encoding="utf-8").split()

# Repositories with another checkpoint than the entry's: siblings, successors, bases of an adapter.
SUBSTITUTES = {
    "Pi3141/alpaca-7b-native-enhanced-GGUF",
    "TheBloke/LLongMA-2-7B-GGUF",
    "TheBloke/Llama-2-7B-32K-Instruct-GGUF",
    "TheBloke/VicUnlocked-30B-LoRA-GGUF",
    "TheBloke/WizardLM-13B-1.0-GGUF",
    "TheBloke/WizardLM-30B-GGUF",
    "TheBloke/vicuna-13B-v1.5-GGUF",
    "TheBloke/vicuna-7B-v1.5-GGUF",
    "RichardErkhov/bigscience_-_bloom-1b7-gguf",
    "SlyEcho/open_llama_3b_gguf",
    "brayniac/OpenLlama-7B-GGUF",
    "maddes8cht/h2oai-h2ogpt-gm-oasst1-en-2048-falcon-7b-v3-gguf",
    "maddes8cht/openlm-research-open_llama_7b_v2-gguf",
    "mradermacher/gpt2-GGUF",
    "mradermacher/stablelm-tuned-alpha-3b-16bit-GGUF",
    "tensorblock/bloom-7b1-GGUF",
    "tensorblock/pythia-70m-v0-GGUF",
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def models(registry: Registry) -> tuple[ModelSpec, ...]:
    return registry.models


def test_every_model_of_the_catalog_is_there(models: tuple[ModelSpec, ...]) -> None:
    assert len(CATALOG) == 163
    assert set(CATALOG) <= {spec.id for spec in models}


def test_embedded_default_is_the_first(models: tuple[ModelSpec, ...]) -> None:
    assert models[0].id == "smollm2-135m-instruct"


def test_license_is_said_or_said_to_be_unseen(models: tuple[ModelSpec, ...]) -> None:
    assert [spec.id for spec in models if not (spec.license or "license" in spec.unverified)] == []


def test_commercial_use_is_judged_with_a_reason(models: tuple[ModelSpec, ...]) -> None:
    default = ModelSpec.model_fields["commercial"].get_default()
    assert [spec.id for spec in models if spec.commercial == default or not spec.commercial.why] == []


@pytest.mark.parametrize(
    ("model", "use", "clause"),
    [
        ("mpt-7b-chat", "no", "NonCommercial clause of CC-BY-NC-SA-4.0"),
        ("mpt-7b-instruct", "yes", "CC-BY-SA-3.0"),
        ("llama-7b", "no", "non-commercial research"),
        ("llama-2-7b-chat", "yes", "700 million"),
        ("oasst-sft-1-pythia-12b", "yes", "Apache-2.0"),
        ("oasst-sft-4-pythia-12b", "no", "surveyed as non-commercial"),
    ],
)
def test_commercial_use_is_what_license_and_surveys_say(registry: Registry, model: str, use: str, clause: str) -> None:
    commercial = registry.find(model).commercial
    assert commercial.use == use
    assert clause in commercial.why


def test_non_commercial_licenses_are_never_taken_for_commercial_ones(models: tuple[ModelSpec, ...]) -> None:
    restricted = re.compile(r"-NC|non-commercial|research", re.IGNORECASE)
    assert [spec.id for spec in models if restricted.search(spec.license or "") and spec.commercial.use != "no"] == []


def test_files_are_gguf_files(models: tuple[ModelSpec, ...]) -> None:
    files = [quant.source.file for spec in models for quant in spec.quants if isinstance(quant.source, HubSource)]
    assert files
    assert [file for file in files if not file.endswith(".gguf") or "{" in file] == []


def test_file_says_the_quant_that_its_row_says(models: tuple[ModelSpec, ...]) -> None:
    rows = [(quant.name, quant.source) for spec in models for quant in spec.quants]
    assert [source for name, source in rows if isinstance(source, HubSource) and name not in source.file.upper()] == []


def test_quants_are_named_as_llama_cpp_names_them(models: tuple[ModelSpec, ...]) -> None:
    known = set(FILE_TYPES.values())
    assert {quant.name for spec in models for quant in spec.quants} <= known


def test_default_quant_is_q4_k_m_where_there_is_one(models: tuple[ModelSpec, ...]) -> None:
    names = {spec.id: [quant.name for quant in spec.quants] for spec in models}
    assert [model for model, quants in names.items() if "Q4_K_M" in quants and quants[0] != "Q4_K_M"] == []


def test_sizes_ascend_after_the_default(models: tuple[ModelSpec, ...]) -> None:
    for spec in models:
        sizes = [quant.about_bytes for quant in spec.quants[1:] if quant.about_bytes]
        assert sizes == sorted(sizes), spec.id


def test_hash_pins_one_file(models: tuple[ModelSpec, ...]) -> None:
    hashes = [quant.sha256 for spec in models for quant in spec.quants if quant.sha256]
    assert len(hashes) == len(set(hashes))


def test_what_cannot_run_says_why_in_a_line(registry: Registry) -> None:
    reasons = {spec.id: spec.unsupported for spec in registry.models if spec.unsupported is not None}
    assert {"glm-10b", "chatglm-6b", "rwkv-4-raven-7b", "flan-ul2", "oasst-rm-2-pythia-1-4b"} <= reasons.keys()
    assert [model for model, reason in reasons.items() if not reason.strip() or "\n" in reason] == []
    with pytest.raises(UnsupportedModel, match="glm-10b cannot run: GLM fills in blanks"):
        registry.resolve("glm-10b")


def test_what_can_run_has_weights(models: tuple[ModelSpec, ...]) -> None:
    assert [spec.id for spec in models if spec.unsupported is None and not spec.quants] == []


def test_models_that_were_not_trained_to_talk_have_no_template(models: tuple[ModelSpec, ...]) -> None:
    # CodeGeeX2 writes code to an instruction, which its authors write as a comment.
    silent = [spec for spec in models if spec.kind in ("base", "code", "reward") and spec.id != "codegeex2-6b"]
    assert [spec.id for spec in silent if spec.template != NO_TEMPLATE] == []


def test_models_that_talk_name_a_family_or_their_file(registry: Registry) -> None:
    talking = [spec for spec in registry.models if spec.kind in ("chat", "instruct")]
    assert [spec.id for spec in talking if spec.template == NO_TEMPLATE] == []
    assert [spec.id for spec in talking if spec.id in CATALOG and spec.template == FROM_FILE] == []


def test_no_other_checkpoint_passes_for_the_model(models: tuple[ModelSpec, ...]) -> None:
    repos = {quant.source.repo for spec in models for quant in spec.quants if isinstance(quant.source, HubSource)}
    assert repos & SUBSTITUTES == set()


def test_what_is_converted_names_its_checkpoint(models: tuple[ModelSpec, ...]) -> None:
    twins = {"santacoder"}  # converted from a copy of a class that llama.cpp knows
    for spec in models:
        repos = {quant.source.repo for quant in spec.quants if isinstance(quant.source, ConvertSource)}
        assert repos <= {spec.checkpoint} or spec.id in twins, spec.id


@pytest.mark.parametrize(
    "id", ["oasst-sft-6-llama-30b", "oasst-sft-7e3-llama-30b", "llama-30b-sft-v8", "oasst-rlhf-3-llama-30b"]
)
def test_sum_is_never_taken_for_what_undoes_an_xor(registry: Registry, id: str) -> None:
    with pytest.raises(UnsupportedModel, match=r"cannot run: .* the XOR of .*xor_codec\.py, quantize the folder"):
        registry.resolve(id)


def test_notes_are_single_lines(models: tuple[ModelSpec, ...]) -> None:
    assert [spec.id for spec in models if spec.note is not None and ("\n" in spec.note or not spec.note)] == []


@pytest.mark.parametrize("id", ["oasst-sft-6-llama-30b", "oasst-sft-7-llama-30b", "oasst-falcon-40b-sft-top1-560"])
def test_openassistant_answers_as_its_demo_did(id: str) -> None:
    sampling = load_registry().find(id).sampling
    wanted = (0.8, 0.9, 1.2, 1024)
    assert (sampling.temperature, sampling.top_p, sampling.repeat_penalty, sampling.max_tokens) == wanted
