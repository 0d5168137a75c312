"""Embeddings of time and of conditions."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushforward.errors import InputError
from pushforward.tensor import NetTimes

__all__ = [
    "Classes",
    "Condition",
    "ConditionInput",
    "Conditions",
    "FourierTime",
    "SpatialCondition",
    "Vector",
    "two_times",
]


class FourierTime(nn.Module):
    """Time as ``[cos(2 pi f t), sin(2 pi f t)]`` through a two-layer network, ``[n] -> [n, width]``.

    Frequencies run from 1/8 to 16 turns over the unit interval, spaced geometrically: enough to tell times a hundredth
    apart, smooth enough not to invent structure between them (Tancik et al. 2020).

    After `add_second` it takes pairs of times ``[n, 2]`` (now, then) too. Raises InputError for them before.
    """

    def __init__(self, width: int, features: int = 32) -> None:
        super().__init__()
        # not a buffer: those are cast with the weights, and a wave of bfloat16 is out of step by t = 1
        self.frequencies = 2 ** torch.linspace(-3, 4, features // 2)
        self.net = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.second: nn.Sequential | None = None

    def add_second(self) -> None:
        """Add the embedding of a second time, of what lies between the two: 0 until it is trained.

        Its first layer is a copy of the first time's and its second 0, so no random numbers are drawn.
        """
        self.second = copy.deepcopy(self.net)
        for p in cast(nn.Linear, self.second[-1]).parameters():
            nn.init.zeros_(p)

    def forward(self, t: NetTimes) -> Float[Tensor, "n width"]:
        if t.ndim == 1:
            return self._embed(self.net, t)
        if self.second is None:
            raise InputError("this network takes one time per point, not pairs: see pf.nn.two_times(net)")
        return self._embed(self.net, t[:, 0]) + self._embed(self.second, t[:, 1] - t[:, 0])

    def _embed(self, net: nn.Sequential, t: Float[Tensor, "n"]) -> Float[Tensor, "n width"]:
        # angles in the dtype of t (float32 or wider): in bfloat16 neighbouring times would be the same time
        angle = 2 * math.pi * t[:, None] * self.frequencies.to(t)
        weight = next(net.parameters())
        return cast(Tensor, net(torch.cat([angle.cos(), angle.sin()], 1).to(weight.dtype)))


Network = TypeVar("Network", bound=nn.Module)


def two_times(net: Network) -> Network:
    """Give a network a second time: called with pairs ``t [n, 2]`` (now, then), it answers as at the first, untrained.

    So a trained velocity network begins as a flow map of its own Euler steps. What it answers for ``t [n]`` stays as
    it is, bit for bit. Returns ``net`` itself, changed. Raises InputError for a network without a `FourierTime`, and
    one that has a second time already.

    >>> import pushforward as pf
    >>> net = pf.nn.two_times(pf.nn.MLP((2,)))
    >>> net(torch.zeros(3, 2), torch.tensor([[0.0, 1.0]]).expand(3, 2)).shape
    torch.Size([3, 2])

    Reference: Geng et al. 2025, "Mean flows for one-step generative modeling".
    """
    times = [module for module in net.modules() if isinstance(module, FourierTime)]
    if not times or any(time.second is not None for time in times):
        found = "has two times already" if times else "has no FourierTime, whose second time could be added"
        raise InputError(f"two_times: {type(net).__name__} {found}")
    for time in times:
        time.add_second()
    return net


@final
@dataclass(frozen=True)
class Classes:
    """One of ``count`` classes: integers ``[n]`` in ``0 .. count - 1``, and -1 for a row without a class."""

    count: int

    def row(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the condition of one point."""
        return ()


@final
@dataclass(frozen=True)
class Vector:
    """``width`` numbers of order one, floats ``[n, width]``; a NaN is an unknown entry, a row of NaN no condition."""

    width: int

    def row(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the condition of one point."""
        return (self.width,)


@final
@dataclass(frozen=True)
class SpatialCondition:
    """Channels over the space of the points, floats ``[n, channels, *space]``; entries that are NaN are unknown.

    For super-resolution, colouring or inpainting. On vectors ``[n, d]``, ``channels`` more entries of the input.
    """

    channels: int

    def row(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the condition of one point."""
        return (self.channels, *space)


ConditionKind: TypeAlias = Classes | Vector | SpatialCondition
Conditions: TypeAlias = dict[str, ConditionKind]  # of a network, by name
ConditionInput: TypeAlias = Tensor | dict[str, Tensor] | None  # of a batch: the one condition, some by name, or none


class Condition(nn.Module):
    """Put any number of conditions on time's embedding ``c`` and the input ``x``: ``(c, x, y) -> (c', x')``.

    ``c' = c + sum_i e_i(y_i)`` over classes (a table with one more row, for no class) and vectors (a two-layer network
    of ``[v, observed]``); pictures join the channels of ``x`` in the same form ``[v, observed]``, with ``v = 0`` where
    unknown. ``y = None``, a name left out, the class -1 and NaN all say the same: unconditional, and are one function
    of the weights, which dropping conditions in training teaches (Ho & Salimans 2022).

    ``width`` is that of ``c``; ``channels``, how many ``x'`` has more than ``x``. Raises InputError for a name that is
    not among ``kinds``, and for a condition of another shape or type, or a class out of range.
    """

    def __init__(self, kinds: Conditions | None, width: int) -> None:
        super().__init__()
        self.kinds = dict(kinds or {})
        for name, kind in self.kinds.items():
            if (size := kind.count if isinstance(kind, Classes) else kind.row(())[0]) < 1:
                raise InputError(f"condition {name!r}: {kind} needs at least 1, not {size}")
        self.channels = sum(2 * kind.channels for kind in self.kinds.values() if isinstance(kind, SpatialCondition))
        # by position and not by name: a name may be any column of a table
        self.embed = nn.ModuleList(_embedding(kind, width) for kind in self.kinds.values())

    def forward(self, c: Float[Tensor, "n width"], x: Tensor, y: ConditionInput) -> tuple[Tensor, Tensor]:
        values = self._by_name(y)
        channels = []
        for (name, kind), embed in zip(self.kinds.items(), self.embed, strict=True):
            value = _checked(name, kind, values.get(name), x)
            if isinstance(kind, Classes):
                c = c + embed(torch.where(value == -1, kind.count, value))
            elif isinstance(kind, Vector):
                c = c + embed(_flagged(value).to(c.dtype))
            else:
                channels.append(_flagged(value).to(x.dtype))
        return c, torch.cat([x, *channels], 1) if channels else x

    def _by_name(self, y: ConditionInput) -> dict[str, Tensor]:
        """Name the values that are given; a bare tensor is the only condition there is."""
        if y is not None and not self.kinds:
            raise InputError("this network was built without conditions, but got a condition y")
        names = ", ".join(map(repr, self.kinds))
        if isinstance(y, Tensor):
            if len(self.kinds) != 1:
                raise InputError(f"a tensor y names no condition, and this network has {names}; give a dict")
            return {name: y for name in self.kinds}
        if unknown := sorted(set(y or {}) - set(self.kinds)):
            raise InputError(f"unknown condition {unknown[0]!r}; this network's conditions are {names}")
        return y or {}


def _embedding(kind: ConditionKind, width: int) -> nn.Module:
    """Make the layers that turn a condition of this kind into a row of the embedding."""
    if isinstance(kind, Classes):
        table = nn.Embedding(kind.count + 1, width)
        nn.init.normal_(table.weight, std=0.1)  # as far apart as times are: ten times that would drown the time
        return table
    if isinstance(kind, Vector):
        return nn.Sequential(nn.Linear(2 * kind.width, width), nn.SiLU(), nn.Linear(width, width))
    return nn.Identity()  # a picture is seen by the network's own first layer


def _flagged(value: Tensor) -> Tensor:
    """Join ``[v, observed]`` along the channels, which tells a value of 0 and an unknown one apart."""
    observed = ~value.isnan()
    return torch.cat([torch.where(observed, value, 0), observed.to(value)], 1)


def _checked(name: str, kind: ConditionKind, value: Tensor | None, x: Tensor) -> Tensor:
    """Check the condition of every row of ``x``; without one, fill in what stands for none."""
    shape, labels = (x.shape[0], *kind.row(tuple(x.shape[2:]))), isinstance(kind, Classes)
    if value is None:
        return x.new_full(shape, -1, dtype=torch.int64) if labels else x.new_full(shape, math.nan)
    if value.shape != shape or value.is_floating_point() == labels:
        expected, given = "integers" if labels else "floats", f"{str(value.dtype)[6:]} {list(value.shape)}"
        raise InputError(f"condition {name!r} takes {expected} {list(shape)} for x {list(x.shape)}, not {given}")
    # on an accelerator this would wait for the device, and the table's own check stops a bad index there
    if isinstance(kind, Classes) and value.device.type == "cpu" and not torch.compiler.is_compiling():
        bad = value[(value < -1) | (value >= kind.count)]
        if len(bad):
            raise InputError(
                f"condition {name!r} has classes 0 to {kind.count - 1}, and -1 for none, not {int(bad[0])}"
            )
    return value
