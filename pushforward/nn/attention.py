"""Self-attention over a sequence of tokens, as the U-Net and the transformer use it."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Attention"]

HEAD = 64  # features of a head, at least, where the width allows
FEW_TOKENS = 64  # tokens whose products with each other are small


class Attention(nn.Module):
    """``W_o softmax(q k^T / sqrt(d)) v`` over the tokens of each row, ``[n, tokens, width] -> [n, tokens, width]``.

    As many heads as have 64 features each or more. One fused call (Vaswani et al. 2017); products and a softmax where a
    compiler for CPUs sees few tokens, for it fuses what is around them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = next(h for h in range(max(1, width // HEAD), 0, -1) if width % h == 0)
        self.proj_in, self.proj_out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n tokens width"]:
        qkv = self.proj_in(h)
        if torch.compiler.is_compiling() and h.device.type == "cpu" and h.shape[1] <= FEW_TOKENS:
            # of each head by itself, for products of slices need no copies of them
            parts = zip(*(part.chunk(self.heads, 2) for part in qkv.chunk(3, 2)), strict=True)
            mixed = torch.cat([(q @ k.mT / math.sqrt(q.shape[2])).softmax(2) @ v for q, k, v in parts], 2)
        else:
            q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj_out(mixed))
