"""T5 in its kinds: the first one, those of version 1.1, those with another tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from .case import Logits, write_checkpoint
from .vocabulary import Write, byte_level, t5
from .weights import randomize, scale_logits

TOKENS = 512
Reference = Callable[[Sequence[int], Sequence[int]], Logits]


@dataclass(frozen=True)
class EncoderDecoderCase:
    """A tiny checkpoint whose decoder reads what its encoder read."""

    config: Mapping[str, Any]
    """config.json; transformers takes it as it is."""
    tokenizer: Write
    gelu: bool

    def write(self, folder: Path) -> Reference:
        """Make the checkpoint; what it computes of a source and a text."""
        name = self.config["architectures"][0]
        told = {key: value for key, value in self.config.items() if key != "architectures"}
        kind: Any = hf.MT5Config if name.startswith("MT5") else hf.T5Config
        config = kind(**told, attn_implementation="eager")
        model = getattr(hf, name)(config).float().eval()
        if not told.get("tie_word_embeddings", True):  # transformers ties all heads that it makes anew
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        randomize(model, 0)
        with torch.no_grad():  # T5 does not scale its scores: its queries are trained to be as small as that
            for parameter in (value for key, value in model.named_parameters() if key.endswith("Attention.q.weight")):
                parameter.mul_(config.d_kv**-0.5)

        def logits(source: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
            with torch.no_grad():
                out = model(input_ids=torch.tensor([list(source)]), decoder_input_ids=torch.tensor([list(tokens)]))
            found: torch.Tensor = out.logits[0]
            return found

        scale_logits(model.decoder.final_layer_norm, lambda: logits(range(3, 40), [0, *range(50, 80)]))
        write_checkpoint(folder, self.config, model.state_dict())
        self.tokenizer(folder)
        return lambda source, tokens: logits(source, tokens).numpy()


def _case(
    *, name: str = "T5ForConditionalGeneration", gated: bool, tokenizer: Write, **settings: Any
) -> EncoderDecoderCase:
    config = {
        "architectures": [name],
        "vocab_size": TOKENS,
        "d_model": 128,
        "d_kv": 32,
        "d_ff": 256,
        "num_heads": 4,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "relative_attention_num_buckets": 32,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "n_positions": 512,
        **settings,
    }
    return EncoderDecoderCase(config, tokenizer, gated)


ENCODER_DECODERS: Mapping[str, EncoderDecoderCase] = {
    "t5": _case(gated=False, tokenizer=t5(), num_layers=3),
    "flan-t5": _case(gated=True, tokenizer=t5(), tie_word_embeddings=False),
    "mt0": _case(name="MT5ForConditionalGeneration", gated=True, tokenizer=t5(), tie_word_embeddings=False),
    "codet5+": _case(gated=False, tokenizer=byte_level(config={"tokenizer_class": "RobertaTokenizer"})),
}
