"""One dial for the size of a network, and what an evaluation of it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pushforward.errors import InputError, nearest
from pushforward.nn.dit import DiT
from pushforward.nn.embed import Conditions
from pushforward.nn.grid import grid_of, halvings
from pushforward.nn.mlp import MLP
from pushforward.nn.tabular import ColumnPriors, Tabular
from pushforward.nn.unet import UNet

__all__ = ["NETS", "SIZES", "count_parameters", "flops", "sized"]

POSITIONS = 64  # at most, on a U-Net's coarsest level: those of an image of 8 x 8


@dataclass(frozen=True)
class NetSize:
    """Width and depth of a network; of a transformer the most tokens that its patches may leave, too."""

    width: int
    depth: int
    tokens: int = 0


def sized(
    kind: str,
    shape: tuple[int, ...],
    size: str = "small",
    conditions: Conditions | None = None,
    width: int | None = None,
    depth: int | None = None,
    marginals: ColumnPriors | None = None,
) -> nn.Module:
    """A network of `NETS` for points of ``shape`` in one of the `SIZES`, each several times as large as the one before.

    ``width`` and ``depth`` are those of the size, if not given. A U-Net halves the space until 64 positions are left, a
    transformer's patches double until it has few enough tokens; ``marginals`` are those of the columns
    for a tabular network. InputError for an unknown name, and for a U-Net or a transformer of vectors.
    """
    for word, choices, what in ((kind, NETS, "network"), (size, SIZES, "size")):
        if word not in choices:
            raise InputError(nearest(word, choices, what))
    dial = SIZES[size][kind]
    return NETS[kind](shape, NetSize(width or dial.width, depth or dial.depth, dial.tokens), conditions, marginals)


def count_parameters(net: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one unconditional evaluation at one point: matrix products and convolutions, two
    per multiply-add. Counted by shapes alone, without computing; training costs about three times as much.
    """
    weights = {name: w.to("meta") for name, w in [*net.named_parameters(), *net.named_buffers()]}
    dtype = next(net.parameters()).dtype
    x, t = torch.empty(1, *shape, dtype=dtype, device="meta"), torch.empty(1, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(net, weights, (x, t))
    return int(counter.get_total_flops())


def _mlp(
    shape: tuple[int, ...], dial: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    return MLP(shape, dial.width, dial.depth, conditions)


def _tabular(
    shape: tuple[int, ...], dial: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    return Tabular(shape, dial.width, dial.depth, conditions, marginals)


def _unet(
    shape: tuple[int, ...], dial: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    levels = max(2, 1 + halvings(grid_of(shape, "a U-Net"), POSITIONS))
    return UNet(shape, dial.width, dial.depth, (1, *[2] * (levels - 1)), conditions=conditions)


def _dit(
    shape: tuple[int, ...], dial: NetSize, conditions: Conditions | None, marginals: ColumnPriors | None
) -> nn.Module:
    patch = 2 ** halvings(grid_of(shape, "a transformer"), dial.tokens)
    return DiT(shape, dial.width, dial.depth, patch, conditions)


SIZES: dict[str, dict[str, NetSize]] = {
    "tiny": {"mlp": NetSize(128, 3), "tabular": NetSize(128, 3), "unet": NetSize(16, 1), "dit": NetSize(128, 4, 64)},
    "small": {"mlp": NetSize(256, 4), "tabular": NetSize(256, 4), "unet": NetSize(32, 1), "dit": NetSize(256, 5, 64)},
    "base": {"mlp": NetSize(512, 6), "tabular": NetSize(512, 6), "unet": NetSize(64, 2), "dit": NetSize(384, 10, 64)},
    "large": {
        "mlp": NetSize(1024, 8),
        "tabular": NetSize(1024, 8),
        "unet": NetSize(128, 2),
        "dit": NetSize(768, 12, 256),
    },
}
NETS: dict[str, Callable[[tuple[int, ...], NetSize, Conditions | None, ColumnPriors | None], nn.Module]] = {
    "mlp": _mlp,
    "tabular": _tabular,
    "unet": _unet,
    "dit": _dit,
}
