"""One kind of checkpoint: how to make it, how its config.json was written, and what its logits are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from .vocabulary import Write, byte_level
from .weights import randomize, scale_logits

NEW_CONFIG = "config.new.json"
Logits = NDArray[np.float32]
Reference = Callable[[Sequence[int]], Logits]


@dataclass(frozen=True)
class Case:
    """A tiny checkpoint and the model that it came from."""

    make: Callable[[], torch.nn.Module]
    """The model, with weights of no account."""
    norm: str
    """The name of its last norm."""
    config: Mapping[str, Any]
    """config.json, with the keys of its time."""
    tokenizer: Write = field(default_factory=byte_level)
    rename: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict
    """From the names of the class that computes here to those of the checkpoint."""
    gelu: bool = False
    """Whether llama.cpp's table of GELU is in the way of more than four digits."""
    seed: int = 0
    """Of the weights; another where two tokens come out as likely as each other."""

    def write(self, folder: Path) -> Reference:
        """Make the checkpoint; what it computes."""
        model = self.make().float().eval()
        randomize(model, self.seed)
        probe = torch.arange(64)[None] % 300 + 3

        def logits(tokens: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                out = model(tokens)
            return out if isinstance(out, torch.Tensor) else out.logits

        scale_logits(model.get_submodule(self.norm), lambda: logits(probe[:, :40]))
        write_checkpoint(folder, self.config, self.rename(saved_tensors(model, folder)))
        self.tokenizer(folder)
        return lambda tokens: logits(torch.tensor([list(tokens)]))[0].numpy()


def saved_tensors(model: torch.nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    """Under the names that the model's class saves them by, which may differ from those in memory."""
    if not isinstance(model, PreTrainedModel):
        return dict(model.state_dict())
    model.save_pretrained(folder)  # with a config.json of today, which is kept for who wants to see it
    (folder / "config.json").rename(folder / NEW_CONFIG)
    return load_file(folder / "model.safetensors")


def write_checkpoint(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
