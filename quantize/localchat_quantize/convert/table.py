"""Which converter is for which class of models, and which classes have none, and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.convert.bert import BERT
from localchat_quantize.convert.bloom import BLOOM
from localchat_quantize.convert.btlm import BTLM
from localchat_quantize.convert.chatglm import CHATGLM
from localchat_quantize.convert.converter import Converter
from localchat_quantize.convert.falcon import FALCON
from localchat_quantize.convert.gpt2 import GPT2
from localchat_quantize.convert.gptj import GPTJ
from localchat_quantize.convert.gptneox import GPT_NEOX
from localchat_quantize.convert.llama import LLAMA
from localchat_quantize.convert.mpt import MPT
from localchat_quantize.convert.opt import OPT
from localchat_quantize.convert.phi import PHI
from localchat_quantize.convert.stablelm import STABLELM
from localchat_quantize.convert.starcoder import STARCODER
from localchat_quantize.convert.t5 import T5

CONVERTERS: Mapping[str, Converter] = {
    "BTLMLMHeadModel": BTLM,
    "BertForMaskedLM": BERT,
    "BertModel": BERT,
    "BloomForCausalLM": BLOOM,
    "BloomModel": BLOOM,
    "ChatGLMForConditionalGeneration": CHATGLM,
    "ChatGLMModel": CHATGLM,
    "CodeGenForCausalLM": GPTJ,
    "FalconForCausalLM": FALCON,
    "GPT2LMHeadModel": GPT2,
    "GPTBigCodeForCausalLM": STARCODER,
    "GPTJForCausalLM": GPTJ,
    "GPTNeoXForCausalLM": GPT_NEOX,
    "LLaMAForCausalLM": LLAMA,
    "LlamaForCausalLM": LLAMA,
    "MPTForCausalLM": MPT,
    "MT5ForConditionalGeneration": T5,
    "MptForCausalLM": MPT,
    "OPTForCausalLM": OPT,
    "PhiForCausalLM": PHI,
    "RWForCausalLM": FALCON,
    "ReplitLM": MPT,
    "ReplitLMForCausalLM": MPT,
    "StableLMEpochForCausalLM": STABLELM,
    "StableLmForCausalLM": STABLELM,
    "T5ForConditionalGeneration": T5,
    "T5WithLMHeadModel": T5,
}
"""By the class that config.json names."""

REFUSED: Mapping[str, str] = {
    "CodeT5pEncoderDecoderModel": "llama.cpp has no graph of an encoder and a decoder of this kind",
    "GLMForConditionalGeneration": "llama.cpp has no graph for the first GLM",
    "GLMModel": "llama.cpp has no graph for the first GLM",
    "GPTNeoForCausalLM": "every other layer looks back 256 tokens only, which no graph of llama.cpp does",
    "GPTNeoXRewardModel": "it gives a score and writes no text",
    "RwkvForCausalLM": "llama.cpp's graphs of RWKV begin with version 6, and this is 4",
}
"""Classes that are known and would come out wrong."""


def converter_for(checkpoint: Checkpoint) -> Converter:
    """The converter of a checkpoint's class. Raises WeightsError, naming the nearest class for one that is unknown."""
    name = checkpoint.architecture
    if name in REFUSED:
        raise WeightsError(f"{checkpoint.folder.name} ({name}) is not converted: {REFUSED[name]}")
    if name not in CONVERTERS:
        near = difflib.get_close_matches(name, CONVERTERS, n=1, cutoff=0.0)[0]
        raise WeightsError(f"{name} is no class of models that is converted; the nearest that is: {near}")
    return CONVERTERS[name]
