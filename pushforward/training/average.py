"""Averages of the weights over training, and the choice of their length when training is over.

The power-function average after step K weighs the weights of step k by ``k^(g+1) - (k-1)^(g+1)`` over ``K^(g+1)``:
with weights that are constant within a step, ``int_0^K p(s) w(s) ds`` for the profile ``p(s) = (g+1) s^g / K^(g+1)``.
Its length is the standard deviation of that profile as a share of K. Any other profile is fitted, in least squares, by
a sum of profiles of which snapshots were kept; the same sum of the snapshots is then the average sought.

Reference: Karras et al. 2024 (arXiv:2312.02696), section 3.1 and appendix C.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.errors import InputError, one_line
from pushforward.files.tensorfile import read_folder, write_folder
from pushforward.files.writing import numbered

__all__ = [
    "Profile",
    "combination",
    "exponent",
    "length",
    "longest",
    "make_room",
    "read_snapshot",
    "reaverage",
    "sharper",
    "step_weight",
    "take_snapshot",
]

SNAPSHOTS = 32  # at most
WORST_FIT = 0.1
SHORTEST = 1e-6  # of the steps; shorter ones are the last step
PROFILES = ("ema", "sharp")  # the average that samples are made from, and one of half its length


def length(exponent: float) -> float:
    """The standard deviation of a profile over the number of steps: 0.29 for a plain mean."""
    return math.sqrt((exponent + 1) / ((exponent + 2) ** 2 * (exponent + 3)))


def longest() -> float:
    """The length of the plain mean of all steps."""
    return length(0.0)


def exponent(length: float) -> float:
    """The exponent of a length in (0, 0.288]: largest root of ``g^3 + 7 g^2 + (16 - r) g + 12 - r``, r = 1/length^2."""
    if not SHORTEST <= length <= longest():
        raise ValueError(f"an average of length {length:g}: between {SHORTEST:g} and {longest():.3f} of the steps")
    r = length**-2
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - r, 12.0 - r]).real.max()))


def step_weight(step: int, exponent: float) -> float:
    """What the weights after step ``step`` (from 1) count in the average: 1 at the first, about (g+1)/step later."""
    return 1.0 - math.pow(1.0 - 1.0 / step, 1.0 + exponent)


@dataclass(frozen=True)
class Profile:
    """An average of the weights of steps 1 to ``step``."""

    step: int
    exponent: float

    def product(self, other: Profile) -> float:
        """``int p q ds``, per step."""
        early, late = sorted((self, other), key=lambda p: p.step)
        a, b = early.exponent, late.exponent
        return (a + 1) * (b + 1) / (a + b + 1) * math.pow(early.step / late.step, b) / late.step


def combination(basis: Sequence[Profile], target: Profile) -> tuple[list[float], float]:
    """Fit a profile by a sum of others, in least squares: their coefficients, of sum 1, and the error of the fit.

    The error is the L2 norm of the difference over that of the ``target``.
    """
    n = len(basis)
    gram = np.array([[p.product(q) for q in basis] for p in basis])
    products = np.array([p.product(target) for p in basis])
    scale = 1 / np.sqrt(np.diag(gram))  # of unit norm: early profiles are high and narrow
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = gram * scale[:, None] * scale
    system[n, :n] = system[:n, n] = scale / scale.max()
    numbers = scale * np.linalg.lstsq(system, np.append(scale * products, 1 / scale.max()), rcond=1e-12)[0][:n]
    square = target.product(target)
    error = float(numbers @ gram @ numbers - 2 * numbers @ products + square)
    return numbers.tolist(), math.sqrt(max(0.0, error) / square)


def take_snapshot(folder: Path, step: int, averages: dict[str, Tensor], run: str = "") -> None:
    """Keep the averages of a step in ``folder/step-N``, evenly thinned out if many; OSError as the disk says.

    Snapshots of later steps belong to a training that was begun again, and are dropped.
    """
    write_folder(folder / f"step-{step}", averages, {"step": step}, run)
    snapshots = numbered(folder)
    drop = [p for p in snapshots if int(p.name[5:]) > step]
    steps = [int(p.name[5:]) for p in snapshots[: len(snapshots) - len(drop)]]
    if len(steps) > SNAPSHOTS:  # the ratios of what is left are as even as can be, as the profiles' own scale
        drop.append(snapshots[min(range(1, len(steps) - 1), key=lambda i: steps[i + 1] / steps[i - 1])])
    for path in drop:
        shutil.rmtree(path, ignore_errors=True)


def read_snapshot(path: Path, like: Tensor, run: str = "") -> dict[str, Tensor]:
    """Read the averages of ``folder/step-N``, flat as ``like``; InputError: damaged, or of another ``run``."""
    try:
        tensors, values = read_folder(path, dict.fromkeys(PROFILES, like), run)
        if values != {"step": int(path.name[5:])}:
            raise ValueError("it is of another step")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged snapshot ({one_line(error)}); delete this folder") from error
    return tensors


def make_room(folder: Path, need: int) -> bool:
    """Drop every other snapshot, the newest first, where a checkpoint has no room for ``need`` bytes; whether it did.

    Nothing is dropped where all of them together would not be enough.
    """
    snapshots = numbered(folder)
    taken = sum(file.stat().st_size for path in snapshots for file in path.iterdir())
    if not snapshots or taken + shutil.disk_usage(folder).free < need:
        return False
    for path in snapshots[::-2]:
        shutil.rmtree(path, ignore_errors=True)
    return True


def reaverage(net: nn.Module, folder: Path, main: float, width: float, run: str = "") -> None:
    """Give ``net`` the average of length ``width``, made from the snapshots in ``folder``.

    They are of averages with the exponent ``main``, and of half their length. InputError if there are none, one is
    damaged or of another ``run``, or together they do not fit that length.
    """
    params = [p for p in net.parameters() if p.requires_grad]
    like = torch.cat([p.detach().flatten() for p in params])
    snapshots = numbered(folder)
    if not snapshots:
        raise InputError(f"{folder}: no snapshots, of which averages of another length are made; train on to have some")
    try:
        g = exponent(width)
    except ValueError as error:
        raise InputError(str(error)) from error
    exponents = (main, sharper(main))
    profiles = [Profile(int(path.name[5:]), e) for path in snapshots for e in exponents]
    numbers, misfit = combination(profiles, Profile(profiles[-1].step, g))
    if misfit > WORST_FIT:
        raise InputError(
            f"an average of length {width:g} cannot be made from the {len(snapshots)} snapshots of {folder} (error of "
            f"the fit {misfit:.0%}); take one nearer to {length(main):.3f}, or train with checkpoints more often"
        )
    total = torch.zeros_like(like, dtype=torch.float64)
    for i, path in enumerate(snapshots):
        tensors = read_snapshot(path, like, run)
        for j, name in enumerate(PROFILES):
            total += numbers[2 * i + j] * tensors[name].double()
    torch.nn.utils.vector_to_parameters(total.to(like.dtype), params)


def sharper(main: float) -> float:
    """The exponent of the second average: half as long."""
    return exponent(length(main) / 2)
