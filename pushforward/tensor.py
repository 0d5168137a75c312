"""Where time meets data, and how randomness reaches a single sample.

Points are tensors ``[n, *d]`` of any data shape; times are ``()`` (one time for all) or ``[n]`` (one per point).
Times and everything computed from times alone live in float64 (float32 on devices that have no float64) and are cast
to the data's dtype by `bcast`, the only function that lines the two up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = [
    "ClockTimes",
    "Dequantize",
    "GaussianMixture",
    "Conditioning",
    "NetTimes",
    "Pairs",
    "Points",
    "RowStore",
    "Time",
    "Times",
    "bcast",
    "brief",
    "clock",
    "condition_rows",
    "conditions_of",
    "dimension",
    "divergence",
    "each_condition",
    "generator",
    "initialized",
    "jvp",
    "laplacian",
    "per_sample",
    "squared_norm",
]

Points: TypeAlias = Float[Tensor, "n *d"]
Times: TypeAlias = Float[Tensor, "n"] | Float[Tensor, ""]
Time: TypeAlias = float | Times
Pairs: TypeAlias = Float[Tensor, "n 2"]  # two times for each point: now and then, of a flow map
NetTimes: TypeAlias = Float[Tensor, "n"] | Pairs  # as a network is given them: one, or such a pair
ClockTimes: TypeAlias = Float[Tensor, "..."]  # times of any shape, where no points are involved
Conditioning: TypeAlias = "Tensor | Mapping[str, Tensor] | None"  # one condition of each point, some by name, or none
Dequantize: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # rounded points to continuous ones, by uniform numbers


@runtime_checkable
class RowStore(Protocol):
    """Rows, in memory as a tensor or wherever: ``len(rows)``, and ``rows[index]`` are those asked for, a tensor."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Tensor: ...


def each_condition(y: Conditioning, change: Callable[[Tensor], Tensor]) -> Any:
    """The conditions after a change, made to each where they have names: to those of some rows, on another device."""
    if isinstance(y, Mapping):
        return {name: change(value) for name, value in y.items()}
    return None if y is None else change(y)


def conditions_of(y: Conditioning, rows: slice | Tensor, device: torch.device | str | None = None) -> Any:
    """The conditions of some rows, each by its name where they have names, on another device if one is given."""
    return each_condition(y, lambda value: value[rows].to(value.device if device is None else device))


def condition_rows(y: Conditioning, n: int, what: str = "points") -> Any:
    """One condition for each of ``n`` points: as they are, or that of a single row for all; ValueError otherwise."""

    def rows(value: Tensor) -> Tensor:
        if value.ndim == 0 or (len(value) == 1 and n != 1):
            return value.reshape(-1, *value.shape[1:])[:1].expand(n, *value.shape[1:])
        if len(value) != n:
            raise ValueError(f"y has {len(value)} rows for {n} {what}; give one for each, or a single one for all")
        return value

    return each_condition(y, rows)


class GaussianMixture(NamedTuple):
    """A Gaussian mixture as numbers, ``sum_k w_k N(m_k, s_k^2 I)`` in w dimensions; the weights have sum 1."""

    means: Float[Tensor, "k w"]
    stds: Float[Tensor, "k"]
    weights: Float[Tensor, "k"]

    @property
    def width(self) -> int:
        """How many entries it is of."""
        return self.means.shape[1]


BLOCK = 32  # samples that share one random stream; a constant, because every seed's samples depend on it


def time_dtype(device: torch.device) -> torch.dtype:
    """The widest floating-point type of a device: float64, or float32 on Apple's MPS, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def clock(t: Time | Pairs, like: Tensor) -> Tensor:
    """Time as a tensor ``()`` or ``[n]``, or pairs ``[n, 2]``, of full precision on the device of ``like``."""
    return torch.as_tensor(t, dtype=time_dtype(like.device), device=like.device)


def bcast(c: Tensor, x: Tensor) -> Tensor:
    """Coefficients ``()`` or ``[n]`` in the shape ``[n, 1, ..., 1]``, the dtype and on the device of ``x`` ``[n, *d]``.

    Raises ValueError when a per-point coefficient does not have one entry per point, so that ``n == d`` can never
    broadcast along the wrong axis.
    """
    if c.ndim == 0:
        return c.to(x)
    if c.ndim != 1 or c.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"time has shape {tuple(c.shape)} but there are {x.shape[0]} points of shape {tuple(x.shape)}")
    return c.to(x).reshape(-1, *[1] * (x.ndim - 1))


def dimension(x: Points) -> int:
    """The number of coordinates of one point."""
    return math.prod(x.shape[1:])


def jvp(f: Callable[[Tensor], Any], x: Tensor, v: Tensor) -> tuple[Any, Any]:
    """``f(x)`` and its directional derivative along ``v``, by forward-mode autodiff; ``x`` may be expanded."""
    with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has no forward-mode derivative
        value, derivative = torch.func.jvp(f, (x.contiguous(),), (v,))  # type: ignore[misc]  # torch annotates the has_aux form
    return value, derivative


def divergence(f: Callable[[Tensor], Tensor], x: Points, chunk: int = 64) -> Float[Tensor, "n"]:
    """``sum_i d f_i / d x_i`` of a row-wise function, exactly: d forward-mode derivatives, ``chunk`` at a time.

    Any data shape; ``f`` maps ``[n, *d]`` to ``[n, *d]``, each row by itself.
    """
    units = torch.eye(dimension(x), dtype=x.dtype, device=x.device).reshape(-1, 1, *x.shape[1:])

    def along(unit: Tensor) -> Tensor:
        direction = unit.expand_as(x).clone()
        return cast(Tensor, (jvp(f, x, direction)[1] * direction).flatten(1).sum(1))

    parts = [torch.func.vmap(along)(some).sum(0) for some in units.split(chunk)]
    return torch.stack(parts).sum(0)


def laplacian(f: Callable[[Tensor], Tensor], x: Points, chunk: int = 64) -> Float[Tensor, "n"]:
    """``sum_i d^2 f / d x_i^2`` of a row-wise function ``[n, *d] -> [n]``: the divergence of its gradient."""
    return divergence(torch.func.grad(lambda z: f(z).sum()), x, chunk)


def squared_norm(x: Points) -> Float[Tensor, "n"]:
    """``|x|^2`` summed over the data dimensions, one number per point."""
    return x.flatten(1).square().sum(1)


def generator(*key: int | str) -> torch.Generator:
    """A CPU random stream that is a function of its key alone, e.g. ``generator(seed, "train", step)``.

    Keys are hashed, so streams of neighbouring keys are unrelated and no two uses collide.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def initialized(*key: int | str) -> Iterator[None]:
    """Make weights a function of a key alone: torch's global stream and default dtype are set, and put back after."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(*key).get_state())
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def per_sample(
    draw: Callable[[int, torch.Generator], Tensor], first: int, n: int, *key: int | str
) -> Shaped[Tensor, "n ..."]:
    """Random rows for the samples ``first .. first + n - 1`` that depend on (key, sample index) alone.

    Streams belong to fixed blocks of 32 samples: sample i is the same for every batch size and for every split over
    processes or devices, at a thirty-second of the cost of a stream per sample. ``draw(count, generator)`` must return
    ``[count, ...]``.
    """
    blocks = range(first // BLOCK, (first + n - 1) // BLOCK + 1)
    rows = torch.cat([draw(BLOCK, generator(*key, block)) for block in blocks])
    skip = first - blocks.start * BLOCK
    return rows[skip : skip + n]


def brief(thing: object) -> str:
    """One line for a person about a frozen dataclass that holds tensors, networks or functions.

    Tensors are shown by their shape, networks by their size, functions by their name; what is None is left out.
    """
    held = ((field.name, getattr(thing, field.name)) for field in fields(thing) if field.repr)  # type: ignore[arg-type]
    return f"{type(thing).__name__}({', '.join(f'{name}={_short(v)}' for name, v in held if v is not None)})"


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)}".removeprefix("torch.")
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__} of {sum(p.numel() for p in value.parameters()):,} parameters"
    return getattr(value, "__name__", None) or repr(value)
