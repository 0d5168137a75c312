"""Networks of diffusers in our calling convention; diffusers itself is not imported."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pushforward.errors import InputError

__all__ = ["FromDiffusers"]


class FromDiffusers(nn.Module):
    """``net(x, t, y)`` of a ``UNet2DModel``, a ``DiTTransformer2DModel`` or any module called like them.

    It is called as ``net(x, scale * t, labels)`` and answers with an object that has ``.sample``. Of twice the channels
    of ``x`` the second half, a learned variance, is left out. With the default ``scale`` times in [0, 1] cover the
    range of their embedding of 1000 steps, which is what a network trained here needs. A network trained elsewhere has
    its own clock: hand ``scale=1`` to `from_ddpm` or `from_diffusers_flow`, which call it with their timesteps.

    ``unlabelled`` is the class that stands for none, for -1 and ``y = None``: the last one, which their transformer
    adds itself (``num_embeds_ada_norm``) and which a U-Net needs one more ``num_class_embeds`` for. Without it, labels
    are passed as they are and -1 is an InputError. In training their transformer drops labels at random, from torch's
    global stream, on its own.
    """

    def __init__(self, net: nn.Module, scale: float = 1000.0, unlabelled: int | None = None) -> None:
        super().__init__()
        self.net, self.scale, self.unlabelled = net, scale, unlabelled

    def forward(
        self, x: Float[Tensor, "n c h w"], t: Float[Tensor, "n"] | Int[Tensor, "n"], y: Int[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        if t.ndim > 1:
            raise InputError(f"a network of diffusers takes one time per point, not t {list(t.shape)}")
        if self.unlabelled is not None:
            none = torch.full((len(x),), self.unlabelled, device=x.device)
            y = none if y is None else torch.where(y == -1, none, y)
        elif y is not None and bool((y == -1).any()):
            raise InputError("rows without a label (-1) need the network's class for them: unlabelled=...")
        answer = cast(Tensor, self.net(x, self.scale * t, y).sample)
        if answer.shape[1] not in (x.shape[1], 2 * x.shape[1]):
            raise InputError(f"the network answers {list(answer.shape)} for points of shape {list(x.shape)}")
        return answer[:, : x.shape[1]]
