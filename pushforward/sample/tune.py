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
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.arguments import explained
from pushforward.field import Field
from pushforward.progress import Progress
from pushforward.sample.integrate import integrate
from pushforward.sample.multistep import Adams, AdamsMoulton, dpmpp_2m, sde_dpmpp_2m, unip, unipc
from pushforward.sample.ode import Heun
from pushforward.sample.sde import Churn, EulerMaruyama
from pushforward.sample.stepper import Stepper
from pushforward.schedule import Schedule
from pushforward.tensor import Points, generator
from pushforward.times import GRIDS, shifted

__all__ = ["Trial", "Tuned", "equidistribution", "tune"]

REFERENCE_STEPS = 120
DECIDING = 3  # times as many noises to decide on as to search on: a few trajectories make most of a mean square
SHORT_LIST = 12  # named choices that are decided on
FEWEST = 20  # rows by which diffusions are judged
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
    field: Field, steps: int, x0: Points, *, y: Tensor | None = None, fine: int = 80
) -> Float[Tensor, "times"]:
    """Nodes where they are needed: equal shares of ``sqrt |dD/dl| + 5 %`` over log-SNR, measured in one fine run.

    Args: ``x0 [n, *d]`` states at t = 0, some hundred of them; ``fine`` steps of the run. Affine paths.
    """
    schedule = field.path.affine_schedule("data")
    grid = shifted(fine, schedule, 1.0)
    states = integrate(field, x0, grid=grid, stepper=AdamsMoulton(), y=y, trajectory=True).x[1:-1]
    inner = grid[1:-1]
    data = torch.stack([field.data(x, t, y=y) for x, t in zip(states, inner, strict=True)]).double()
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


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """Start states with the reference end points of their trajectories: ``n`` to search on, the others to decide on."""

    field: Field
    states: Points
    ends: Points
    y: Tensor | None
    n: int

    @classmethod
    def of(cls, field: Field, states: Points, y: Tensor | None, n: int) -> Comparison:
        """With reference trajectories of the field's own; ValueError where they are not finite."""
        grid = shifted(REFERENCE_STEPS, field.path.affine_schedule())
        ends = integrate(field, states, grid=grid, stepper=AdamsMoulton(), y=y).x[-1]
        if not bool(ends.isfinite().all()):
            raise ValueError("tune: the field's own reference trajectories are not finite")
        return cls(field, states, ends, y, n)

    def samples(self, stepper: Stepper, grid: Tensor, deciding: bool = False, seed: int = 0) -> Points:
        """Where a method ends from the states of one of the two parts."""
        rows = slice(self.n, None) if deciding else slice(0, self.n)
        y = None if self.y is None else self.y[rows]
        return integrate(self.field, self.states[rows], grid=grid, stepper=stepper, seed=seed, y=y).x[-1]

    def distances(self, stepper: Stepper, grid: Tensor, deciding: bool) -> Float[Tensor, "n"]:
        """Root mean square distance of each end point to its reference, in standard deviations of those."""
        rows = slice(self.n, None) if deciding else slice(0, self.n)
        gap = (self.samples(stepper, grid, deciding) - self.ends[rows]).flatten(1).double()
        return gap.square().mean(1).sqrt().nan_to_num(nan=math.inf) / float(self.ends.std())

    def search_error(self, stepper: Stepper, grid: Tensor) -> float:
        """The mean distance: of the mean square, a few trajectories that end in another mode would decide
        everything.
        """
        return float(self.distances(stepper, grid, False).mean())

    def decision_error(self, stepper: Stepper, grid: Tensor) -> float:
        """The root mean square distance on noise that took no part in the search."""
        return float(self.distances(stepper, grid, True).square().mean().sqrt())


class Choice(NamedTuple):
    """A method on a grid, with their names."""

    name: str
    grid_name: str
    stepper: Stepper
    grid: Float[Tensor, "times"]


@explained
@torch.no_grad()
def tune(
    field: Field,
    nfe: int,
    *,
    shape: tuple[int, ...] | None = None,
    y: Tensor | None = None,
    n: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    data: Points | None = None,
    progress: Progress | Callable[[float, str], None] | None = None,
) -> Tuned:
    """Find the stepper and grid that are best for this field with ``nfe`` evaluations per sample.

    Args:
        shape: of one sample; needed unless the field knows it (`Field.shape`), as oracles do.
        y: conditions ``[4 n]`` of the samples used; the first n for searching, the others for deciding.
        n: noises to search on, and three times as many to decide on.
        data: rows that samples should look like, in model units. With 20 of them SDEs are tried too, by the sliced
            Wasserstein distance of samples to rows: what a diffusion can mend is the field's own error, of which its
            trajectories know nothing. One is chosen if it is closer than the best flow by more than the floor: less may
            be chance.
        progress: called with the share that is done and words.

    Raises ValueError for fewer than one evaluation, a path that is not affine, or reference trajectories that are not
    finite. References: Sabour et al. 2024, Chen et al. 2024 (GITS), Tong et al. 2024 (LD3), for the idea of tuned
    grids.
    """
    if nfe < 1:
        raise ValueError(f"nfe={nfe}: at least one evaluation is needed")
    field.path.affine_schedule("data", "noise")
    shape = field.shape if shape is None else shape
    if shape is None:
        raise ValueError("tune: say the shape of one sample, shape=(...)")
    # exact trajectories of the field, to which every choice is compared
    show = Progress.of(progress)
    show(0.0, "reference trajectories")
    states = field.path.begin((1 + DECIDING) * n, shape, seed=seed, stream="tune", device=device, dtype=dtype)
    comparison = Comparison.of(field, states, None if y is None else y.to(device), n)

    # every named flow on every named grid, then a search from the best of them
    choices = list(flows(comparison, nfe))
    scores = []
    for i, choice in enumerate(choices):
        scores.append(comparison.search_error(choice.stepper, choice.grid))
        show(0.05 + 0.45 * i / len(choices), f"{choice.name} on {choice.grid_name}")
    ranked = sorted(range(len(choices)), key=lambda i: scores[i])
    improved = search(comparison, [(choices[i], scores[i]) for i in ranked[:SEARCHED]], seed, show.part(0.5, 0.9))

    # decided on noise of its own, the best named choices beside the improved ones
    show(0.9, "deciding")
    untuned = [(comparison.decision_error(c.stepper, c.grid), c) for c in (choices[i] for i in ranked[:SHORT_LIST])]
    final = [(comparison.decision_error(c.stepper, c.grid), c) for c in improved]
    error, best = min([*final, *untuned], key=lambda entry: entry[0])
    tried = [Trial(c.name, c.grid_name, score, "end-point error") for score, c in (*final, *untuned)]
    best_untuned = min(score for score, _ in untuned)

    # diffusions have no end points to compare: they are judged by their law
    best, distance, floor, noisy = with_diffusions(comparison, best, nfe, data, seed)
    tried = sorted([*tried, *noisy], key=lambda trial: (trial.measure != "end-point error", trial.score))
    return Tuned(best.name, best.stepper, best.grid, error, best_untuned, distance, floor, tuple(tried))


def flows(comparison: Comparison, nfe: int) -> Iterator[Choice]:
    """Every flow's method that ``nfe`` evaluations allow, on every grid to start from."""
    y = None if comparison.y is None else comparison.y[: comparison.n]
    for name, make in FLOWS.items():
        stepper = make()
        if nfe >= stepper.evaluations:
            for grid_name, grid in grids(
                comparison.field, nfe // stepper.evaluations, comparison.states[: comparison.n], y
            ):
                yield Choice(name, grid_name, stepper, grid)


def search(comparison: Comparison, best: list[tuple[Choice, float]], seed: int, progress: Progress) -> list[Choice]:
    """The grids of the best choices, improved by random search."""
    improved = []
    for rank, (choice, score) in enumerate(best):
        progress(rank / SEARCHED, f"searching from {choice.name} on {choice.grid_name}")
        measure = partial(comparison.search_error, choice.stepper)
        schedule = comparison.field.path.affine_schedule()
        grid = improve(measure, choice.grid, score, schedule, generator(seed, "search", rank))
        improved.append(choice._replace(grid_name=f"{choice.grid_name}, searched", grid=grid))
    return improved


def with_diffusions(
    comparison: Comparison, flow: Choice, nfe: int, data: Points | None, seed: int
) -> tuple[Choice, float, float, list[Trial]]:
    """The best of a flow and, where there are data, of diffusions; its distance to the data, the floor, what was tried.

    Distances are sliced Wasserstein distances of samples to one half of the data, or of the reference end points; the
    floor is that of the other half.
    """
    n, field = comparison.n, comparison.field
    if data is not None and len(data) < FEWEST:  # halves of so few tell nothing
        data = None
    count = n if data is None else min(n, len(data) // 2)
    rows = comparison.ends if data is None else data
    floor = sliced(rows[:count], rows[count : 2 * count], seed)
    other = rows[count : 2 * count]
    best, distance = flow, sliced(comparison.samples(flow.stepper, flow.grid)[:count], other, seed)
    tried: list[Trial] = []
    if data is None or nfe < 2 or not field.path.gaussian:  # other sources have no score
        return best, distance, floor, tried
    for name, make in DIFFUSIONS.items():
        stepper = make()
        cost = stepper.evaluations
        even = shifted(nfe // cost, field.path.affine_schedule())
        for grid_name, grid in (("shifted", even), ("the best flow's", flow.grid)):
            if (len(grid) - 1) * cost <= nfe:
                got = sliced(comparison.samples(stepper, grid, seed=seed)[:count], other, seed)
                tried.append(Trial(name, grid_name, got, "distance of samples"))
                if got < distance - floor:
                    best, distance = Choice(name, grid_name, stepper, grid), got
    return best, distance, floor, tried


def grids(field: Field, steps: int, x0: Points, y: Tensor | None) -> Iterator[tuple[str, Float[Tensor, "times"]]]:
    """The grids to start from, with their names."""
    schedule = field.path.affine_schedule()
    for shift in SHIFTS:
        yield f"shifted:{shift:g}", shifted(steps, schedule, shift)
    for name in ("linear", "log_snr", "karras"):
        yield name, GRIDS[name](steps, schedule)
    yield "equidistribution", equidistribution(field, steps, x0[:128], y=None if y is None else y[:128])


def improve(
    score: Callable[[Tensor], float], grid: Tensor, best: float, schedule: Schedule, g: torch.Generator
) -> Float[Tensor, "times"]:
    """Random search over the lengths of the steps, in the coordinate in which the shifted grid is even."""
    if len(grid) < 3:
        return grid
    even = shifted(1000, schedule)
    place = piecewise_linear(grid, even, torch.linspace(0, 1, 1001, dtype=torch.float64))
    steps = place.diff().clamp_min(1e-6).log()
    size = 0.3
    for _ in range(ATTEMPTS):
        noise = torch.randn(len(steps), generator=g, dtype=torch.float64)
        # half of the changes are smooth, of many steps together
        if len(steps) > 4 and torch.rand((), generator=g, dtype=torch.float32) < 0.5:
            waves = torch.arange(1, 4, dtype=torch.float64)
            phase = math.pi * (torch.arange(len(steps)) + 0.5) / len(steps)
            noise = (torch.cos(waves[:, None] * phase) * torch.randn(3, 1, generator=g, dtype=torch.float64)).sum(0)
        trial = steps + size * noise
        inner = trial.softmax(0).cumsum(0)[:-1]
        times = torch.cat(
            [grid[:1], piecewise_linear(inner, torch.linspace(0, 1, 1001, dtype=torch.float64), even), grid[-1:]]
        )
        if not bool((times.diff() > 0).all()):
            continue
        got = score(times)
        if got < best:
            best, steps, grid, size = got, trial, times, size * 1.5
        else:
            size = max(size * 0.9, 0.02)
    return grid


def piecewise_linear(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through ``(knots, values)``, knots rising."""
    k = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    return torch.lerp(values[k - 1], values[k], (x - knots[k - 1]) / (knots[k] - knots[k - 1]))


def sliced(a: Points, b: Points, seed: int, directions: int = 128) -> float:
    """Sliced 2-Wasserstein distance of two samples of equal size, for choosing among stochastic samplers."""
    a, b = a.flatten(1).double().cpu(), b.flatten(1).double().cpu()
    rays = torch.randn(a.shape[1], directions, generator=generator(seed, "rays"), dtype=torch.float64)
    rays = rays / rays.norm(dim=0)
    return float(((a @ rays).sort(0)[0] - (b @ rays).sort(0)[0]).square().mean().sqrt())


# by the names they have in STEPPERS
FLOWS: dict[str, Callable[[], Stepper]] = {
    "adams_moulton": AdamsMoulton,
    "adams_moulton_3": lambda: AdamsMoulton(3),
    "adams_2": lambda: Adams(2),
    "unip_2": lambda: unip(2),
    "unipc_3": lambda: unipc(3),
    "dpmpp_2m": dpmpp_2m,
    "heun": Heun,
}
DIFFUSIONS: dict[str, Callable[[], Stepper]] = {
    "sde_dpmpp_2m:0.3": lambda: sde_dpmpp_2m(0.3),
    "sde_dpmpp_2m:0.6": lambda: sde_dpmpp_2m(0.6),
    "sde_dpmpp_2m:1": lambda: sde_dpmpp_2m(1.0),
    "euler_maruyama:0.5": lambda: EulerMaruyama(0.5),
    "euler_maruyama:1": lambda: EulerMaruyama(1.0),
    "churn:10": lambda: Churn(10.0),
}
