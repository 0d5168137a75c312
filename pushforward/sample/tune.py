"""The best sampler for one field and one budget: grid, method and stochasticity, found by trying.

`equidistribution` places nodes where the data prediction changes, from one finely stepped run. `tune` measures methods
on grids against reference trajectories of its own, improves the best grids by random search, and decides on noise that
took no part in it; what was not improved by searching is still in the running there, so the answer is never worse than
the best named choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.path import affine_schedule
from pushforward.sample.integrate import integrate
from pushforward.sample.multistep import Adams, AdamsMoulton, dpmpp_2m, sde_dpmpp_2m, unip, unipc
from pushforward.sample.ode import Heun
from pushforward.sample.sde import Churn, EulerMaruyama
from pushforward.sample.stepper import Stepper
from pushforward.schedule import Schedule
from pushforward.source import Normal
from pushforward.tensor import Points, generator, per_sample
from pushforward.times import GRIDS, shifted

__all__ = ["Trial", "Tuned", "equidistribution", "tune"]

REFERENCE_STEPS = 120
DECIDING = 3  # times as many noises to decide on as to search on: a few trajectories make most of a mean square
SHORT_LIST = 12  # named choices that are decided on
SEARCHED = 3  # how many grids are improved, and by how many attempts each
ATTEMPTS = 80

SHIFTS = (0.3, 0.45, 0.6, 0.8, 1.1)


@final
@dataclass(frozen=True)
class Trial:
    """One choice and what it scored: flows the relative end-point error, SDEs the distance of samples."""

    stepper: str
    grid: str
    score: float
    measure: str


@final
@dataclass(frozen=True, eq=False)
class Tuned:
    """The answer: the method by its name in `STEPPERS`, its times, and everything that was tried, best first.

    ``error`` is the root mean square distance to the reference end points over their standard deviation, on held-out
    noise; ``best_untuned`` the same of the best named grid and method, of the twelve that were best in searching.
    ``distance`` is the sliced Wasserstein distance of samples to the data, or to other reference end points where no
    data were given; ``floor`` that of two halves of those. For a stochastic answer ``error`` is the best flow's.
    """

    name: str
    stepper: Stepper
    grid: Float[Tensor, "times"]
    error: float
    best_untuned: float
    distance: float
    floor: float
    tried: tuple[Trial, ...]


def equidistribution(
    field: Field, steps: int, x0: Points, y: Tensor | None = None, fine: int = 80
) -> Float[Tensor, "times"]:
    """Nodes where they are needed: equal shares of ``sqrt |dD/dl| + 5 %`` over log-SNR, measured in one fine run.

    Args: ``x0 [n, *d]`` states at t = 0, some hundred of them; ``fine`` steps of the run. Affine paths.
    """
    schedule = affine_schedule(field.path, "data")
    grid = shifted(fine, schedule, 1.0)
    states = integrate(field, x0, grid, AdamsMoulton(), y=y, trajectory=True).x[1:-1]
    inner = grid[1:-1]
    data = torch.stack([field.data(x, t, y) for x, t in zip(states, inner, strict=True)]).double()
    log_snr = schedule.log_snr(inner)
    change = data.diff(dim=0).flatten(1).square().mean(1).sqrt().cpu() / log_snr.diff()
    # log-SNR is infinite at the ends: shares are counted between the first and the last inner node
    share = change.sqrt() * log_snr.diff()
    share = share / share.sum() + 0.05 * log_snr.diff() / log_snr.diff().sum()
    place = torch.cat([torch.zeros(1, dtype=torch.float64), share.cumsum(0)]) / share.sum()
    wanted = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:-1]
    k = torch.searchsorted(place, wanted).clamp(1, len(place) - 1)
    weight = (wanted - place[k - 1]) / (place[k] - place[k - 1])
    middle = schedule.time_of_log_snr(torch.lerp(log_snr[k - 1], log_snr[k], weight))
    return torch.cat([grid[:1], middle, grid[-1:]])


@torch.no_grad()
def tune(
    field: Field,
    nfe: int,
    shape: tuple[int, ...] | None = None,
    *,
    y: Tensor | None = None,
    n: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    data: Points | None = None,
    on_step: Callable[[float, str], None] | None = None,
) -> Tuned:
    """The stepper and grid that are best for this field with ``nfe`` evaluations per sample.

    Args:
        shape: of one sample; needed unless the field is an oracle, which knows it.
        y: conditions ``[4 n]`` of the samples used; the first n for searching, the others for deciding.
        n: noises to search on, and three times as many to decide on.
        data: rows that samples should look like, in model units. With them SDEs are tried too, by the sliced
            Wasserstein distance of samples to rows: what a diffusion can mend is the field's own error, of which its
            trajectories know nothing. One is chosen if it is closer than the best flow by more than the floor: less may
            be chance.
        on_step: called with (share done, words).

    Raises ValueError for fewer than one evaluation, a path that is not affine, or reference trajectories that are not
    finite. References: Sabour et al. 2024, Chen et al. 2024 (GITS), Tong et al. 2024 (LD3), for the idea of tuned
    grids.
    """
    if nfe < 1:
        raise ValueError(f"nfe={nfe}: at least one evaluation is needed")
    schedule = affine_schedule(field.path, "data", "noise")
    if shape is None:
        data = getattr(field, "means", getattr(field, "data_set", None))
        if not isinstance(data, Tensor):
            raise ValueError("tune: say the shape of one sample, shape=(...)")
        shape, dtype = tuple(data.shape[1:]), data.dtype

    def begin(k: int, g: torch.Generator) -> Tensor:
        return field.path.source.sample((k, *shape), g, dtype)

    def say(share: float, words: str) -> None:
        if on_step is not None:
            on_step(share, words)

    x0 = field.path.start(per_sample(begin, 0, (1 + DECIDING) * n, seed, "tune").to(device))
    y = None if y is None else y.to(device)
    say(0.0, "reference trajectories")
    reference = integrate(field, x0, shifted(REFERENCE_STEPS, schedule), AdamsMoulton(), y=y).x[-1]
    if not bool(reference.isfinite().all()):
        raise ValueError("tune: the field's own reference trajectories are not finite")
    scale = float(reference.std())
    part_of = (slice(0, n), slice(n, len(x0)))
    condition = [None if y is None else y[part] for part in part_of]

    def end(stepper: Stepper, grid: Tensor, part: int, noise: int = 0) -> Points:
        return integrate(field, x0[part_of[part]], grid, stepper, noise, y=condition[part]).x[-1]

    def distances(stepper: Stepper, grid: Tensor, part: int) -> Tensor:
        gap = (end(stepper, grid, part) - reference[part_of[part]]).flatten(1).double()
        return gap.square().mean(1).sqrt().nan_to_num(nan=math.inf) / scale

    def searched(stepper: Stepper, grid: Tensor) -> float:
        # the mean distance, not its mean square: a few trajectories that end in another mode would decide everything
        return float(distances(stepper, grid, 0).mean())

    def decided(stepper: Stepper, grid: Tensor) -> float:
        return float(distances(stepper, grid, 1).square().mean().sqrt())

    choices: list[tuple[str, str, Stepper, Tensor]] = []
    for name, (make, cost) in FLOWS.items():
        if nfe >= cost:
            for words, grid in grids(field, schedule, nfe // cost, x0[part_of[0]], condition[0]):
                choices.append((name, words, make(), grid))
    scores = []
    for i, (name, words, stepper, grid) in enumerate(choices):
        scores.append(searched(stepper, grid))
        say(0.05 + 0.45 * i / len(choices), f"{name} on {words}")
    ranked = sorted(range(len(choices)), key=lambda i: scores[i])
    improved = []
    for rank, i in enumerate(ranked[:SEARCHED]):
        name, words, stepper, grid = choices[i]
        say(0.5 + 0.4 * rank / SEARCHED, f"searching from {name} on {words}")
        better = improve(partial(searched, stepper), grid, scores[i], schedule, generator(seed, "search", rank))
        improved.append((name, f"{words}, searched", stepper, better))
    say(0.9, "deciding")
    untuned = [(decided(*choices[i][2:]), *choices[i]) for i in ranked[:SHORT_LIST]]
    final = [(decided(*choice[2:]), *choice) for choice in improved]
    error, name, words, stepper, grid = min([*final, *untuned], key=lambda entry: entry[0])
    tried = [Trial(entry[1], entry[2], entry[0], "end-point error") for entry in (*final, *untuned)]

    rows = n if data is None else min(n, len(data) // 2)
    one, other = (reference[:n], reference[n : 2 * n]) if data is None else (data[:rows], data[rows : 2 * rows])
    floor, distance = sliced(one, other, seed), sliced(end(stepper, grid, 0)[:rows], other, seed)
    best_grid = grid
    noisy = data is not None and nfe > 1 and isinstance(field.path.source, Normal)  # other sources have no score
    for label, (make_sde, cost) in DIFFUSIONS.items() if noisy else ():
        for words, times in (("shifted", shifted(nfe // cost, schedule)), ("the best flow's", best_grid)):
            if (len(times) - 1) * cost <= nfe:
                got = sliced(end(make_sde(), times, 0, seed)[:rows], other, seed)
                tried.append(Trial(label, words, got, "distance of samples"))
                if got < distance - floor:
                    distance, name, stepper, grid = got, label, make_sde(), times
    tried.sort(key=lambda trial: (trial.measure != "end-point error", trial.score))
    return Tuned(name, stepper, grid, error, min(u[0] for u in untuned), distance, floor, tuple(tried))


def grids(
    field: Field, schedule: Schedule, steps: int, x0: Points, y: Tensor | None
) -> Iterator[tuple[str, Float[Tensor, "times"]]]:
    """The grids to start from, with their names."""
    for shift in SHIFTS:
        yield f"shifted:{shift:g}", shifted(steps, schedule, shift)
    for name in ("linear", "log_snr", "karras"):
        yield name, GRIDS[name](steps, schedule)
    yield "equidistribution", equidistribution(field, steps, x0[:128], None if y is None else y[:128])


def improve(
    score: Callable[[Tensor], float], grid: Tensor, best: float, schedule: Schedule, g: torch.Generator
) -> Float[Tensor, "times"]:
    """Random search over the lengths of the steps, in the coordinate in which the shifted grid is even."""
    if len(grid) < 3:
        return grid
    even = shifted(1000, schedule)
    place = interpolate(grid, even, torch.linspace(0, 1, 1001, dtype=torch.float64))
    steps = place.diff().clamp_min(1e-6).log()
    size = 0.3
    for _ in range(ATTEMPTS):
        noise = torch.randn(len(steps), generator=g, dtype=torch.float64)
        if len(steps) > 4 and torch.rand((), generator=g) < 0.5:  # a smooth change of many steps together
            waves = torch.arange(1, 4, dtype=torch.float64)
            phase = math.pi * (torch.arange(len(steps)) + 0.5) / len(steps)
            noise = (torch.cos(waves[:, None] * phase) * torch.randn(3, 1, generator=g, dtype=torch.float64)).sum(0)
        trial = steps + size * noise
        inner = trial.softmax(0).cumsum(0)[:-1]
        times = torch.cat(
            [grid[:1], interpolate(inner, torch.linspace(0, 1, 1001, dtype=torch.float64), even), grid[-1:]]
        )
        if not bool((times.diff() > 0).all()):
            continue
        got = score(times)
        if got < best:
            best, steps, grid, size = got, trial, times, size * 1.5
        else:
            size = max(size * 0.9, 0.02)
    return grid


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through ``(knots, values)``, knots rising."""
    k = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    return torch.lerp(values[k - 1], values[k], (x - knots[k - 1]) / (knots[k] - knots[k - 1]))


def sliced(a: Points, b: Points, seed: int, directions: int = 128) -> float:
    """Sliced 2-Wasserstein distance of two samples of equal size, for choosing among stochastic samplers."""
    a, b = a.flatten(1).double().cpu(), b.flatten(1).double().cpu()
    rays = torch.randn(a.shape[1], directions, generator=generator(seed, "rays"), dtype=torch.float64)
    rays = rays / rays.norm(dim=0)
    return float(((a @ rays).sort(0)[0] - (b @ rays).sort(0)[0]).square().mean().sqrt())


# by the names they have in STEPPERS; the evaluations of a step
FLOWS: dict[str, tuple[Callable[[], Stepper], int]] = {
    "adams_moulton": (AdamsMoulton, 1),
    "adams_moulton_3": (lambda: AdamsMoulton(3), 1),
    "adams_2": (lambda: Adams(2), 1),
    "unip_2": (lambda: unip(2), 1),
    "unipc_3": (lambda: unipc(3), 1),
    "dpmpp_2m": (dpmpp_2m, 1),
    "heun": (Heun, 2),
}
DIFFUSIONS: dict[str, tuple[Callable[[], Stepper], int]] = {
    "sde_dpmpp_2m:0.3": (lambda: sde_dpmpp_2m(0.3), 1),
    "sde_dpmpp_2m:0.6": (lambda: sde_dpmpp_2m(0.6), 1),
    "sde_dpmpp_2m:1": (lambda: sde_dpmpp_2m(1.0), 1),
    "euler_maruyama:0.5": (lambda: EulerMaruyama(0.5), 1),
    "euler_maruyama:1": (lambda: EulerMaruyama(1.0), 1),
    "churn:10": (lambda: Churn(10.0), 2),
}
