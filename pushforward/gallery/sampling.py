"""Sampling: G5 and G6."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.field import Field
from pushforward.gallery.problem import BOX, count, five_modes, oracle
from pushforward.metrics import sliced_wasserstein
from pushforward.oracle import EmpiricalField, MixtureField
from pushforward.path import Affine
from pushforward.plot import Animation, layers
from pushforward.sample import RK4, EulerMaruyama, Langevin, Trajectory, integrate
from pushforward.source import Mixture
from pushforward.tensor import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["langevin_chains", "langevin_animation", "samplers", "samplers_animation"]

TIMES = (0.0, 0.7, 1.0)
PAINTS = ("#E69F00", "#0072B2", "#000000")  # one per time, from pale to dark


def noisy(t: Tensor) -> Tensor:
    """A diffusion that fades towards the data."""
    return 1.5 * (1 - t).sqrt()


def both(field: Field, x0: Tensor, scale: float) -> tuple[Trajectory, Trajectory]:
    """The same source draws carried by the ODE and by an SDE with the same marginals."""
    ode = integrate(field, x0, steps=count(scale, 40, 20), stepper=RK4(), trajectory=True)
    sde = integrate(field, x0, steps=count(scale, 200, 40), stepper=EulerMaruyama(noisy), seed=5, trajectory=True)
    return ode, sde


def samplers(scale: float = 1.0) -> Figure:
    """Exact draws, ODE and SDE samples at four times, and trajectories: of ``p_t(x|z)`` above, of ``p_t(x)`` below."""
    # the conditional field of one point in one row, the marginal field in the other
    data, field, g, n = five_modes(), oracle(), generator(5, "samplers"), count(scale, 1000, 40)
    side = count(scale, 100, 24)
    path = field.path
    z = torch.tensor([[1.9, 1.3]], dtype=torch.float64)
    figure, axes = layers.grid(2, 5, 2.3, 2.6, BOX)
    places = layers.lattice(BOX, side)
    rows: tuple[tuple[EmpiricalField | MixtureField, Tensor, float], ...] = (
        (EmpiricalField(path, z), z.expand(2 * n, 2), 0.7),  # the field of one data point is the conditional field
        (field, data.sample((2 * n, 2), g, torch.float64), 1.0),
    )
    for row, (moves, x1, outlined) in zip(axes, rows, strict=True):
        x0 = path.source.sample((n, 2), g, torch.float64)
        exact = [path.draw(path.source.sample((2 * n, 2), g, torch.float64), x1, t).xt for t in TIMES]
        runs = both(moves, x0, scale)

        # the floor of the distance is that of two exact sets of the same size
        floor = sum(sliced_wasserstein(*x.split(n)) for x in exact) / len(TIMES)
        panels = [([x[:n] for x in exact], floor)]
        for run in runs:
            states = [run.x[round(t * (len(run.t) - 1))] for t in TIMES]
            distance = sum(sliced_wasserstein(x, y[:n]) for x, y in zip(states, exact, strict=True)) / len(TIMES)
            panels.append((states, distance))
        for ax, (clouds, distance) in zip((row[0], row[1], row[3]), panels, strict=True):
            for x, paint in zip(clouds, PAINTS, strict=True):
                layers.points(ax, x[:200], paint, 7, alpha=0.7)
            layers.contours(ax, moves.log_prob(places, outlined).exp().reshape(side, side), BOX)
            layers.note(ax, f"W = {distance:.3f}")

        # the paths of an SDE are rough: eight fill a panel as forty smooth ones do
        for ax, run, drawn in zip((row[2], row[4]), runs, (40, 8), strict=True):
            layers.lines(ax, run.x[:, :drawn], "0.5", width=0.8, alpha=0.9)
            layers.points(ax, run.x[0, :drawn], PAINTS[0], 14, alpha=1.0)
            layers.points(ax, run.x[-1, :drawn], PAINTS[-1], 14, alpha=1.0)

    # titles and the legend of times, once for both rows
    for ax, name in zip(axes[0], ("exact", "ODE", "ODE paths", "SDE", "SDE paths"), strict=True):
        ax.set_title(name, fontsize=13)
    axes[0][0].set_ylabel("conditional", fontsize=13)
    axes[1][0].set_ylabel("marginal", fontsize=13)
    dots = [axes[0][0].collections[i] for i in range(len(TIMES))]
    figure.legend(
        dots,
        [f"t = {t:g}" for t in TIMES],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=13,
        markerscale=2.5,
    )
    return figure


def samplers_animation(scale: float = 1.0) -> Animation:
    """The ODE and the SDE side by side: every point moves another way, the cloud is the same."""
    field = oracle()
    x0 = field.path.source.sample((count(scale, 300, 40), 2), generator(5, "film"), torch.float64)
    runs = both(field, x0, scale)
    frames = count(scale, 20, 3)
    figure, (axes,) = layers.grid(1, 2, 2.7, 2.7, BOX)
    dots = [layers.points(ax, x0, "#0072B2", 9, alpha=0.8) for ax in axes]
    titles = [ax.set_title("", fontsize=13) for ax in axes]

    def draw(i: int) -> None:
        for name, run, cloud, title in zip(("ODE", "SDE"), runs, dots, titles, strict=True):
            k = round(i / frames * (len(run.t) - 1))
            cloud.set_offsets(run.x[k].numpy())
            title.set_text(f"{name}, t = {float(run.t[k]):.2f}")

    return Animation(figure, draw, frames + 1, rate=8)


def chains(scale: float, steps: int) -> Trajectory:
    """Langevin chains towards the five modes, from the standard normal law: every state of ``steps`` steps."""
    field = oracle()
    x0 = field.path.source.sample((count(scale, 1000, 60), 2), generator(6, "chains"))
    return integrate(field, x0, steps=steps, stepper=Langevin(0.02), seed=6, trajectory=True)


def kernel_density(x: Tensor, bandwidth: float, places: Tensor) -> Tensor:
    """The Gaussian kernel density estimate of points, at places."""
    return MixtureField(Affine(), x, torch.full((len(x),), bandwidth)).log_prob(places, 1.0).exp()


def langevin_chains(scale: float = 1.0) -> Figure:
    """Chains above, their density estimate below; last the law that they approach, seen through the same kernel."""
    data, bandwidth, side = five_modes(), 0.2, count(scale, 64, 16)
    stops = [0, count(scale, 10), count(scale, 100, 4), count(scale, 800, 8)]
    run = chains(scale, stops[-1])
    places = layers.lattice(BOX, side)
    exact = oracle().log_prob(places).exp().reshape(side, side)
    smooth = Mixture(data.means, (data.stds.square() + bandwidth**2).sqrt(), data.weights).log_prob(places).exp()
    cell = ((BOX[1] - BOX[0]) / (side - 1)) ** 2
    figure, (above, below) = layers.grid(2, 5, 2.3, 2.3, BOX)
    for column, k in enumerate(stops):
        layers.contours(above[column], exact, BOX)
        layers.points(above[column], run.x[k, : count(scale, 600)], "#D55E00", 5)
        above[column].set_title(f"{k} steps", fontsize=13)
        estimate = kernel_density(run.x[k].double(), bandwidth, places)
        layers.density(below[column], estimate.reshape(side, side), BOX, float(smooth.max()))
        layers.note(below[column], f"TV {float((estimate - smooth).abs().sum()) * cell / 2:.2f}")
    draws = data.sample((count(scale, 600), 2), generator(6, "exact"), torch.float64)
    layers.contours(above[4], exact, BOX)
    layers.points(above[4], draws, "#000000", 5)
    layers.density(below[4], smooth.reshape(side, side), BOX, float(smooth.max()))
    floor = kernel_density(data.sample(run.x[0].shape, generator(6, "floor"), torch.float64), bandwidth, places)
    layers.note(below[4], f"draws: TV {float((floor - smooth).abs().sum()) * cell / 2:.2f}")
    above[4].set_title("exact", fontsize=13)
    above[0].set_ylabel("samples", fontsize=13)
    below[0].set_ylabel("density", fontsize=13)
    return figure


def langevin_animation(scale: float = 1.0) -> Animation:
    """The chains, frames spaced more and more steps apart."""
    steps, frames = count(scale, 600, 8), count(scale, 20, 3)
    run = chains(scale * 0.3, steps)
    stops = [round(math.expm1(i / frames * math.log1p(steps))) for i in range(frames + 1)]
    side = count(scale, 64, 16)
    exact = oracle().log_prob(layers.lattice(BOX, side)).exp().reshape(side, side)
    figure, ((ax,),) = layers.grid(1, 1, 3.4, 3.4, BOX)
    layers.contours(ax, exact, BOX)
    dots = layers.points(ax, run.x[0], "#D55E00", 12, alpha=0.8)
    title = ax.set_title("", fontsize=13)

    def draw(i: int) -> None:
        dots.set_offsets(run.x[stops[i]].numpy())
        title.set_text(f"{stops[i]} steps")

    return Animation(figure, draw, len(stops), rate=6)
