"""BTLM as its public configuration tells it; transformers has no class for it."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class Conv1D(nn.Module):
    """A linear layer that keeps its weights (in, out)."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(3 * width, width)
        self.c_proj = Conv1D(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        batch, length, width = hidden.shape
        head_width = width // self.heads
        query, key, value = (
            part.view(batch, length, self.heads, head_width).transpose(1, 2)
            for part in self.c_attn(hidden).split(width, dim=-1)
        )
        positions = torch.arange(length)
        distance = (positions[None] - positions[:, None]).float()
        scores = query @ key.transpose(-1, -2) / head_width + slopes(self.heads)[:, None, None] * distance
        scores = scores.masked_fill(distance > 0, -math.inf)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        out: torch.Tensor = self.c_proj(mixed)
        return out


class Mlp(nn.Module):
    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(length, width)
        self.c_fc2 = Conv1D(length, width)
        self.c_proj = Conv1D(width, length)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.c_proj(self.c_fc(hidden) * functional.silu(self.c_fc2(hidden)))
        return out


class Block(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, length)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.attn(self.ln_1(hidden))
        out: torch.Tensor = hidden + self.mlp(self.ln_2(hidden))
        return out


class Transformer(nn.Module):
    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.h = nn.ModuleList(Block(width, heads, length) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)


class Btlm(nn.Module):
    """The whole model, with a tied head."""

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        heads: int,
        layers: int,
        length: int,
        embeddings_scale: float,
        output_scale: float,
    ) -> None:
        super().__init__()
        self.transformer = Transformer(vocabulary, width, heads, layers, length)
        self.embeddings_scale, self.output_scale = embeddings_scale, output_scale

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer.wte(tokens) * self.embeddings_scale
        for block in self.transformer.h:
            hidden = block(hidden)
        out: torch.Tensor = self.transformer.ln_f(hidden) @ self.transformer.wte.weight.T * self.output_scale
        return out


def slopes(heads: int) -> torch.Tensor:
    """ALiBi's slopes; where heads are no power of two, those between come from twice as many."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-4 * (2 * head + 1) / power) for head in range(heads - power)]
    return torch.tensor(first + between)
