"""The checkpoints that are proved: every converter, and what its config.json may turn on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers as hf

from .btlm import Btlm
from .case import Case
from .vocabulary import byte_level, llama, t5

TOKENS = 512
_EAGER = {"attn_implementation": "eager"}


def _model(model: Any, config: Any, **settings: Any) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        made: torch.nn.Module = model._from_config(config(vocab_size=TOKENS, **settings), **_EAGER)
        return made

    return make


def _llama(old: Mapping[str, Any] | None = None, **settings: Any) -> Case:
    told = {
        "hidden_size": 128,
        "intermediate_size": 224,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        **settings,
    }
    config = {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "vocab_size": TOKENS, **told, **(old or {})}
    return Case(_model(hf.LlamaForCausalLM, hf.LlamaConfig, **told), "model.norm", config, llama())


def _mpt(*, replit: bool = False, **settings: Any) -> Case:
    told = {"d_model": 128, "n_layers": 2, "n_heads": 4, "expansion_ratio": 4, "max_seq_len": 128, **settings}
    attention = {"alibi": True, "alibi_bias_max": 8, **told.pop("attn_config", {})}
    make = _model(
        hf.MptForCausalLM, hf.MptConfig, **told, attn_config={"attn_type": "multihead_attention", **attention}
    )
    if not replit:
        section = {"attn_type": "multihead_attention", "attn_uses_sequence_id": False, "qk_ln": False, **attention}
        config = {"architectures": ["MPTForCausalLM"], **told, "attn_config": section, "no_bias": True}
        return Case(make, "transformer.norm_f", config, gelu=True)
    flat = {"alibi": True, "alibi_bias_max": 8, "attn_clip_qkv": attention.get("clip_qkv"), "attn_qk_ln": False}
    del told["expansion_ratio"]
    config = {"architectures": ["ReplitLM"], **told, **flat, "mlp_ratio": 4, "no_bias": True}
    return Case(make, "transformer.norm_f", config, t5(config={"tokenizer_class": "ReplitLMTokenizer"}), _replit, True)


def _replit(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {"norm_1": "ln_1", "norm_2": "ln_2", "norm_f": "ln_f", "ffn.up_proj": "mlp.mlp_up"}
    names["ffn.down_proj"] = "mlp.mlp_down"

    def renamed(name: str) -> str:
        for new, old in names.items():
            name = name.replace(new, old)
        return name

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _neox(**settings: Any) -> Case:
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    told = {**sizes, "max_position_embeddings": 128, "layer_norm_eps": 1e-5, "hidden_act": "gelu", **settings}
    old = {"rotary_pct": 0.25, "rotary_emb_base": 10000}
    make = _model(hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig, **told, **old)
    config = {"architectures": ["GPTNeoXForCausalLM"], **told, **old}
    return Case(make, "gpt_neox.final_layer_norm", config, gelu=True)


def _gpt2(*, bare: bool = False, **settings: Any) -> Case:
    told = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 128, "layer_norm_epsilon": 1e-5, **settings}
    config = {"architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", **told}
    make = _model(hf.GPT2LMHeadModel, hf.GPT2Config, **told)
    return Case(make, "transformer.ln_f", config, rename=_bare if bare else dict, gelu=True)


def _bare(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As saved from the model without its head."""
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items() if name != "lm_head.weight"}


def _bloom() -> Case:
    told = {"hidden_size": 128, "n_layer": 2, "n_head": 4, "layer_norm_epsilon": 1e-5}
    config = {"architectures": ["BloomForCausalLM"], "n_embed": 128, "seq_length": 2048, **told}
    make = _model(hf.BloomForCausalLM, hf.BloomConfig, **told)
    return Case(make, "transformer.ln_f", config, byte_level("bloom"), _bare, True)


def _falcon(config: Mapping[str, Any], **settings: Any) -> Case:
    told = {"hidden_size": 128, "layer_norm_epsilon": 1e-5, "bias": False, "alibi": False, **settings}
    make = _model(hf.FalconForCausalLM, hf.FalconConfig, num_hidden_layers=2, num_attention_heads=4, **told)
    shared = {key: told[key] for key in ("hidden_size", "layer_norm_epsilon", "bias", "alibi")}
    return Case(make, "transformer.ln_f", {**shared, **config}, byte_level("falcon"), gelu=True)


def _starcoder(**settings: Any) -> Case:
    told = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_inner": 512, "n_positions": 128, **settings}
    config = {"architectures": ["GPTBigCodeForCausalLM"], "activation_function": "gelu_pytorch_tanh", **told}
    make = _model(hf.GPTBigCodeForCausalLM, hf.GPTBigCodeConfig, **told)
    return Case(make, "transformer.ln_f", config, byte_level("starcoder"), gelu=True, seed=1)


def _stablelm(config: Mapping[str, Any], **settings: Any) -> Case:
    sizes = {"hidden_size": 128, "intermediate_size": 224, "num_hidden_layers": 2, "num_attention_heads": 4}
    told = {**sizes, "num_key_value_heads": 2, "max_position_embeddings": 128, **settings}
    make = _model(hf.StableLmForCausalLM, hf.StableLmConfig, **told, partial_rotary_factor=0.25)
    return Case(make, "model.norm", {**told, **config})


def _chatglm() -> Case:
    sizes = {"hidden_size": 128, "intermediate_size": 224, "num_hidden_layers": 2, "num_attention_heads": 4}
    told = {**sizes, "num_key_value_heads": 2, "head_dim": 32, "attention_bias": True, "pad_token_id": 0}
    make = _model(hf.GlmForCausalLM, hf.GlmConfig, **told, rms_norm_eps=1e-5, max_position_embeddings=128)
    config = {
        "architectures": ["ChatGLMModel"],
        "hidden_size": 128,
        "ffn_hidden_size": 224,
        "num_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 32,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "layernorm_epsilon": 1e-5,
        "seq_length": 128,
        "rmsnorm": True,
        "post_layer_norm": True,
        "apply_residual_connection_post_layernorm": False,
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "padded_vocab_size": TOKENS,
        "tie_word_embeddings": False,
    }
    return Case(make, "model.norm", config, llama(config={"tokenizer_class": "ChatGLMTokenizer"}), _to_chatglm2)


def _to_chatglm2(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' class of the later GLM computes the same under other names."""
    renamed = {
        "transformer.embedding.word_embeddings.weight": tensors["model.embed_tokens.weight"],
        "transformer.encoder.final_layernorm.weight": tensors["model.norm.weight"],
        "transformer.output_layer.weight": tensors["lm_head.weight"],
        "transformer.rotary_pos_emb.inv_freq": torch.ones(8),
    }
    for layer in range(2):
        old, new = f"model.layers.{layer}.", f"transformer.encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            parts = [tensors[f"{old}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            renamed[f"{new}self_attention.query_key_value.{kind}"] = torch.cat(parts)
        renamed[f"{new}self_attention.dense.weight"] = tensors[f"{old}self_attn.o_proj.weight"]
        renamed[f"{new}mlp.dense_h_to_4h.weight"] = tensors[f"{old}mlp.gate_up_proj.weight"]
        renamed[f"{new}mlp.dense_4h_to_h.weight"] = tensors[f"{old}mlp.down_proj.weight"]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            renamed[f"{new}{norm}.weight"] = tensors[f"{old}{norm}.weight"]
    return renamed


def _phi() -> Case:
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    told = {**sizes, "max_position_embeddings": 128, "partial_rotary_factor": 0.5, "hidden_act": "gelu_new"}
    config = {"architectures": ["PhiForCausalLM"], **told}
    return Case(_model(hf.PhiForCausalLM, hf.PhiConfig, **told), "model.final_layernorm", config, gelu=True)


def _gptj() -> Case:
    told = {"n_embd": 128, "n_layer": 2, "n_head": 2, "n_positions": 128, "rotary_dim": 32}
    config = {"architectures": ["GPTJForCausalLM"], "activation_function": "gelu_new", "n_inner": None, **told}
    return Case(_model(hf.GPTJForCausalLM, hf.GPTJConfig, **told), "transformer.ln_f", config, gelu=True)


def _codegen(machines: int) -> Case:
    told = {"n_embd": 256, "n_layer": 2, "n_head": 8, "n_positions": 128, "rotary_dim": 16}
    config = {"architectures": ["CodeGenForCausalLM"], "activation_function": "gelu_new", "n_inner": None, **told}
    if machines == 8:
        config["head_dim"] = 128  # how these files are told apart; here it is no width of a head
    make = _model(hf.CodeGenForCausalLM, hf.CodeGenConfig, **told)
    return Case(make, "transformer.ln_f", config, rename=_for_eight if machines == 8 else dict, gelu=True)


def _for_eight(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights in the order of eight machines: transformers' class knows that of four only."""
    found = dict(tensors)
    for name, fused in tensors.items():
        if name.endswith("qkv_proj.weight"):
            width = fused.shape[1]
            parts = fused.view(4, 3, width // 4, width).transpose(0, 1).reshape(3, 8, width // 8, width)
            found[name] = parts.transpose(0, 1).reshape(3 * width, width)
    return found


def _btlm(heads: int) -> Case:
    config = {
        "architectures": ["BTLMLMHeadModel"],
        "activation_function": "swiglu",
        "position_embedding_type": "alibi",
        "n_embd": 192,
        "n_layer": 2,
        "n_head": heads,
        "n_inner": 344,
        "n_positions": 128,
        "layer_norm_epsilon": 1e-5,
        "mup_embeddings_scale": 14.6,
        "mup_output_alpha": 2.2,
        "mup_width_scale": 0.1,
        "mup_scale_qk_dot_by_d": True,
    }
    sizes = {"vocabulary": TOKENS, "width": 192, "heads": heads, "layers": 2, "length": 344}
    return Case(lambda: Btlm(**sizes, embeddings_scale=14.6, output_scale=2.2 * 0.1), "transformer.ln_f", config)


def _opt(activation: str, **settings: Any) -> Case:
    told = {"hidden_size": 128, "ffn_dim": 512, "num_hidden_layers": 2, "num_attention_heads": 4, **settings}
    told |= {"max_position_embeddings": 128, "activation_function": activation, "word_embed_proj_dim": 128}
    config = {"architectures": ["OPTForCausalLM"], "do_layer_norm_before": True, "pad_token_id": 1, **told}
    make = _model(hf.OPTForCausalLM, hf.OPTConfig, **told)
    tokenizer = byte_level(config={"add_bos_token": True})
    return Case(make, "model.decoder.final_layer_norm", config, tokenizer, gelu=activation == "gelu")


_FALCON_7B = {"architectures": ["RWForCausalLM"], "n_layer": 2, "n_head": 4, "multi_query": True, "parallel_attn": True}
_FALCON_40B = {"architectures": ["RWForCausalLM"], "n_layer": 2, "n_head": 4, "n_head_kv": 2, "parallel_attn": True}
_FALCON_NEW = {"architectures": ["FalconForCausalLM"], "num_hidden_layers": 2, "num_attention_heads": 4}
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}

CASES: Mapping[str, Case] = {
    "llama": _llama(),
    "llama grouped": _llama(num_key_value_heads=2),
    "llama with biases": _llama(attention_bias=True, mlp_bias=True),
    "llama tied": _llama(tie_word_embeddings=True),
    "llama stretched": _llama(rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "llama stretched as in 3.1": _llama(rope_scaling={"rope_type": "llama3", **_LLAMA3}),
    "llama of another base": _llama(
        {"rope_theta": 500000.0}, rope_parameters={"rope_type": "default", "rope_theta": 5e5}
    ),
    "mpt": _mpt(),
    "mpt of six heads, clipped": _mpt(d_model=192, n_heads=6, attn_config={"clip_qkv": 2.0}),
    "replit": _mpt(replit=True),
    "gpt-neox parallel": _neox(use_parallel_residual=True),
    "gpt-neox sequential": _neox(use_parallel_residual=False),
    "gpt-2": _gpt2(),
    "gpt-2 bare": _gpt2(bare=True),
    "cerebras-gpt": _gpt2(activation_function="gelu", n_inner=384),
    "gpt-2 scaled by layer": _gpt2(scale_attn_by_inverse_layer_idx=True),
    "bloom": _bloom(),
    "falcon 7b": _falcon(_FALCON_7B, multi_query=True, parallel_attn=True, new_decoder_architecture=False),
    "falcon 40b": _falcon(_FALCON_40B, num_kv_heads=2, new_decoder_architecture=True),
    "falcon 40b of later": _falcon(
        {**_FALCON_NEW, "num_kv_heads": 2, "new_decoder_architecture": True},
        num_kv_heads=2,
        new_decoder_architecture=True,
    ),
    "starcoder": _starcoder(multi_query=True),
    "starcoder of many heads": _starcoder(multi_query=False),
    "stablelm": _stablelm(
        {"architectures": ["StableLMEpochForCausalLM"], "rope_pct": 0.25, "norm_eps": 1e-5},
        use_qkv_bias=True,
        layer_norm_eps=1e-5,
    ),
    "stablelm parallel": _stablelm(
        {"architectures": ["StableLmForCausalLM"], "partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5},
        use_parallel_residual=True,
        qk_layernorm=True,
    ),
    "chatglm2": _chatglm(),
    "phi": _phi(),
    "gpt-j": _gptj(),
    "codegen": _codegen(4),
    "codegen2": _codegen(8),
    "btlm": _btlm(4),
    "btlm of six heads": _btlm(6),
    "opt": _opt("relu"),
    "galactica": _opt("gelu", enable_bias=False),
}
"""Decoders; encoder-decoders and encoders have other proofs."""
