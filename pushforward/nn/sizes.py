"""`NetSpec`, the record by which a network is offered, its sizes, and what an evaluation costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from pushforward.nn.embed import Conditions
    from pushforward.nn.tabular import ColumnPriors

__all__ = ["SIZES", "DataKind", "NetSize", "NetSpec", "count_parameters", "flops", "inverse_width"]

DataKind: TypeAlias = Literal["vectors", "tables", "pictures"]  # what a run's rows are, where a network is chosen

MAX_LEARNING_RATE = 1e-2  # of the narrowest


@final
@dataclass(frozen=True)
class NetSize:
    """Width and depth of a network; of a transformer the most tokens that its patches may leave, too."""

    width: int
    depth: int
    tokens: int = 0


def constant(width: int) -> float:
    """The usual learning rate of Adam, whatever the width."""
    return 1e-3


def inverse_width(rate: float) -> Callable[[int], float]:
    """Peak learning rates ``rate / width``, at most 0.01: a wider network takes smaller steps."""
    return lambda width: min(MAX_LEARNING_RATE, rate / width)


@final
@dataclass(frozen=True, eq=False)
class NetSpec:
    """What is said of a network once, at the foot of its file: how it is made, in which sizes, and how it is trained.

    Args:
        make: ``(shape, size, conditions, marginals)`` to the module; ``marginals`` are those of a table's columns,
            which a network may leave alone. InputError for points of a shape that it does not take.
        sizes: width and depth for each name in `SIZES`.
        size: the one that is taken where none is asked for.
        batch: rows of an optimizer step.
        learning_rate: its peak, by the width.
        suits: the data for which ``--net auto`` takes this network; None: for none, it is asked for by name.
    """

    make: Callable[[tuple[int, ...], NetSize, Conditions | None, ColumnPriors | None], nn.Module]
    sizes: Mapping[str, NetSize]
    size: str = "small"
    batch: int = 256
    learning_rate: Callable[[int], float] = constant
    suits: DataKind | None = None


def count_parameters(net: nn.Module) -> int:
    """Count the numbers that training may change."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the floating-point operations of one unconditional evaluation at one point.

    Matrix products and convolutions, two per multiply-add, by shapes alone and without computing; training costs about
    three times as much.
    """
    weights = {name: w.to("meta") for name, w in [*net.named_parameters(), *net.named_buffers()]}
    dtype = next(net.parameters()).dtype
    x, t = torch.empty(1, *shape, dtype=dtype, device="meta"), torch.empty(1, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(net, weights, (x, t))
    return int(counter.get_total_flops())


# each several times as large as the one before
SIZES: dict[str, str] = {
    "tiny": "pictures on a CPU, and first tries",
    "small": "tables and points",
    "base": "pictures on a GPU, for hours",
    "large": "pictures on a GPU, for days",
}
