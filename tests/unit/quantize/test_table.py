"""The table of converters, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert import CONVERTERS, converter_for
from localchat_quantize.convert.source import Source
from localchat_quantize.convert.table import REFUSED


def checkpoint(folder: Path, architecture: str, **config: Any) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], **config}))
    save_file({"x": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return Checkpoint(folder)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_out_wrong_is_refused_by_name(tmp_path: Path, name: str) -> None:
    assert name not in CONVERTERS
    with pytest.raises(WeightsError, match=rf"\({name}\) is not converted: "):
        converter_for(checkpoint(tmp_path, name))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LlamaForCausalML", "LlamaForCausalLM"),
        ("MistralForCausalLM", r"\w+ForCausalLM"),
        ("UMT5ForConditionalGeneration", "MT5ForConditionalGeneration"),
    ],
)
def test_unknown_class_names_the_nearest(tmp_path: Path, name: str, nearest: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"{name} is no class of models that is converted; the nearest .*: {nearest}$"
    ):
        converter_for(checkpoint(tmp_path, name))


LLAMA = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "rms_norm_eps": 1e-6,
}
MPT = {"d_model": 8, "n_layers": 1, "n_heads": 2}
T5 = {"num_layers": 2, "d_model": 8}


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-silu"}, r"gated-silu \(as UL2's\)"),
        ("T5ForConditionalGeneration", {**T5, "num_decoder_layers": 3}, r"decoder has more layers \(3\)"),
        ("T5ForConditionalGeneration", {**T5, "relative_attention_max_distance": 256}, "another distance"),
        ("ChatGLMModel", {"position_encoding_2d": True}, "ChatGLM of the first version"),
        ("ChatGLMModel", {"inner_hidden_size": 16384}, "ChatGLM of the first version"),
        ("ChatGLMModel", {"add_bias_linear": True}, "it has add_bias_linear = true"),
        ("FalconForCausalLM", {"alibi": True}, "falcon-rw"),
        ("RWForCausalLM", {"bias": True}, "it has biases"),
        ("RWForCausalLM", {"multi_query": False}, "keys and values for every head"),
        ("OPTForCausalLM", {"hidden_size": 8, "do_layer_norm_before": False}, "as OPT-350m"),
        ("OPTForCausalLM", {"hidden_size": 8, "word_embed_proj_dim": 4}, "as OPT-350m"),
        ("GPT2LMHeadModel", {"activation_function": "relu"}, "its activation is relu"),
        ("GPTNeoXForCausalLM", {"hidden_act": "silu"}, "its activation is silu"),
        ("LlamaForCausalLM", {**LLAMA, "hidden_act": "gelu"}, "its activation is gelu"),
        ("LlamaForCausalLM", {**LLAMA, "rope_scaling": {"type": "yarn", "factor": 2}}, "stretched by yarn"),
        ("MPTForCausalLM", {**MPT, "attn_config": {"alibi": False}}, "no ALiBi"),
        ("MPTForCausalLM", {**MPT, "attn_config": {"alibi": True, "qk_ln": True}}, "attention has qk_ln"),
        ("MPTForCausalLM", {**MPT, "attn_config": {"alibi": True}, "logit_scale": 0.5}, "logits are scaled"),
        ("BTLMLMHeadModel", {"position_embedding_type": "learned"}, "positions are learned"),
        ("BTLMLMHeadModel", {"activation_function": "gelu"}, "its activation is gelu"),
        ("BloomForCausalLM", {"apply_residual_connection_post_layernorm": True}, "after a norm"),
        ("BertModel", {"position_embedding_type": "relative_key"}, "positions are relative_key"),
        ("PhiForCausalLM", {"qk_layernorm": True}, "norms queries and keys"),
    ],
)
def test_setting_that_the_graph_does_not_have_is_refused(
    tmp_path: Path, name: str, config: dict[str, Any], complaint: str
) -> None:
    found = checkpoint(tmp_path, name, **config)
    with pytest.raises(WeightsError, match=rf"\({name}\) is not converted: .*{complaint}"):
        CONVERTERS[name].hparams(Source(found))


def test_stretching_that_begins_past_the_trained_length_is_left_out(tmp_path: Path) -> None:
    config = {**LLAMA, "max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    keys = CONVERTERS["LlamaForCausalLM"].hparams(Source(checkpoint(tmp_path, "LlamaForCausalLM", **config)))
    assert keys["context_length"] == 64
    assert not [key for key in keys if "scaling" in key]


def test_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json has no num_attention_heads"):
        CONVERTERS["LlamaForCausalLM"].hparams(Source(checkpoint(tmp_path, "LlamaForCausalLM")))


def test_tensor_that_nobody_takes_is_named(tmp_path: Path) -> None:
    source = Source(checkpoint(tmp_path, "LlamaForCausalLM"))
    with pytest.raises(WeightsError, match="it holds x, which a model of this class does not have"):
        source.check_all_taken()
    source.ignore("x")
    source.check_all_taken()
