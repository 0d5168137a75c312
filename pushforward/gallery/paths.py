"""Probability paths and couplings: G4, G7 and G9."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.coupling import OptimalTransport, independent
from pushforward.gallery.problem import BOX, count, five_modes, oracle
from pushforward.oracle import EmpiricalField, MixtureField
from pushforward.path import Affine
from pushforward.plot import layers
from pushforward.sample import RK4, Euler, integrate
from pushforward.schedule import CondOT
from pushforward.source import Mixture, Uniform
from pushforward.tensor import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["characteristics", "couplings", "laws"]

PAINTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def laws(scale: float = 1.0) -> Figure:
    """Draws of ``p_t(x|z)`` above and of ``p_t(x)`` below, on their exact densities."""
    data, field, g = five_modes(), oracle(), generator(4, "laws")
    path, n, side = field.path, count(scale, 500, 40), count(scale, 100, 24)
    places = layers.lattice(BOX, side)
    z = torch.tensor([[-1.4, 0.9]], dtype=torch.float64)
    figure, axes = layers.grid(2, 5, 2.2, 2.2, BOX)
    for column, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        x0 = path.source.sample((2 * n, 2), g, torch.float64)
        x1 = torch.cat([z.expand(n, 2), data.sample((n, 2), g, torch.float64)])
        conditional, marginal = path.draw(x0, x1, t).xt.split(n)
        given = path.log_prob(places, z.expand_as(places), t)
        for ax, log_p, x in (
            (axes[0][column], given, conditional),
            (axes[1][column], field.log_prob(places, t), marginal),
        ):
            if bool(log_p.isfinite().all()):  # at t = 1 all of p_t(x|z) is the point z
                p = log_p.exp().reshape(side, side)
                layers.density(ax, p, BOX)
                layers.contours(ax, p, BOX)
            layers.points(ax, x, "#D55E00", 5)
        layers.points(axes[0][column], z, "#000000", 22, alpha=1.0)
        layers.note(axes[0][column], f"$t = {t:g}$")
    axes[0][0].set_ylabel("$p_t(x|z)$", fontsize=13)
    axes[1][0].set_ylabel("$p_t(x)$", fontsize=13)
    return figure


def quantile(share: Tensor, t: float, data: Tensor) -> Tensor:
    """Where p_t of straight lines from U[0, 2] to the data has this share of its mass to the left, by bisection."""
    low, high = torch.zeros_like(share), torch.full_like(share, 2.0)
    for _ in range(60):
        x = (low + high) / 2
        below = ((x[:, None] - t * data) / (1 - t) / 2).clamp(0, 1).mean(1) < share
        low, high = torch.where(below, x, low), torch.where(below, high, x)
    return (low + high) / 2


def characteristics(scale: float = 1.0) -> Figure:
    """Straight conditional trajectories from a uniform source, and the bent ones of their exact marginal field."""
    data = torch.tensor([0.5, 0.5, 1.2, 1.7], dtype=torch.float64)
    path = Affine(CondOT(), Uniform(0.0, 2.0))
    field = EmpiricalField(path, data[:, None])
    figure, ((a, b),) = layers.grid(1, 2, 3.9, 4.0)

    n = 28
    x0 = path.source.sample((n, 1), generator(7, "source"), torch.float64)
    ends = torch.arange(n) % 4
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    lines = torch.stack([path.trajectory(x0, data[ends, None], s)[:, 0] for s in t])
    layers.lines(a, layers.over_time(lines, t), [PAINTS[max(int(e) - 1, 0)] for e in ends], width=1.2, alpha=0.8)
    a.plot(torch.ones(4), data, "ko", markersize=5)

    side = count(scale, 160, 24)
    box = (0.0, 1.0, 0.0, 2.0)
    places = layers.lattice((0.0, 0.98, 0.0, 2.0), side)
    p = field.log_prob(places[:, 1:], places[:, 0]).exp().reshape(side, side)
    layers.density(b, p, (0.0, 0.98, 0.0, 2.0), top=2.0)
    starts = torch.linspace(0.04, 1.96, 25, dtype=torch.float64)
    run = integrate(field, starts[:, None], steps=count(scale, 400, 100), stepper=Euler(), trajectory=True)
    layers.lines(b, layers.over_time(run.x[..., 0], run.t), "#0072B2", width=1.3, alpha=0.9)
    for s in torch.arange(0.1, 0.95, 0.1).tolist():
        exact = quantile(starts / 2, s, data)
        b.plot([s] * len(exact), exact, "o", color="#D55E00", markersize=2.6, zorder=4)
    b.plot(torch.ones(4), data, "ko", markersize=5)
    for ax in (a, b):
        ax.set(xlim=(box[0], box[1] + 0.03), ylim=box[2:])
        ax.set_xlabel("$t$", fontsize=13)
    a.set_ylabel("$x_t$", fontsize=13)
    a.set_title("conditional: straight", fontsize=13)
    b.set_title("marginal: bent", fontsize=13)
    return figure


def crossings(a: Tensor, b: Tensor) -> int:
    """How many pairs of straight lines from ``a`` to ``b`` cross."""
    return int(((a[:, None] - a) * (b[:, None] - b) < 0).sum()) // 2


def couplings(scale: float = 1.0) -> Figure:
    """Pairs under two couplings above; below the flows that they teach, one curved and one straight."""
    means = torch.tensor([[-2.0], [1.6]], dtype=torch.float64)
    law = Mixture(means, torch.tensor([0.35, 0.35], dtype=torch.float64))
    field, g, n = MixtureField(Affine(), means, law.stds), generator(9, "pairs"), 40
    x0 = field.path.source.sample((n, 1), g, torch.float64)
    x1 = law.sample((n, 1), g, torch.float64)
    figure, ((a, b), (c, d)) = layers.grid(2, 2, 3.4, 2.9)
    t = torch.linspace(0, 1, 3, dtype=torch.float64)
    for ax, name, couple in ((a, "independent", independent), (b, "optimal transport", OptimalTransport())):
        start, end, _ = couple(x0, x1, None, g)
        lines = torch.stack([field.path.trajectory(start, end, s)[:, 0] for s in t])
        layers.lines(ax, layers.over_time(lines, t), "#0072B2", width=1.0, alpha=0.8)
        ax.set_title(f"{name}: {crossings(start[:, 0], end[:, 0])} crossings", fontsize=13)

    # in one dimension every flow keeps the order of points, so both must send x_0 to the quantile of its own rank
    rank = (torch.arange(31, dtype=torch.float64) + 0.5) / 31
    starts = torch.special.ndtri(rank)
    run = integrate(field, starts[:, None], steps=count(scale, 100, 20), stepper=RK4(), trajectory=True)
    low, high = torch.full_like(rank, -6.0), torch.full_like(rank, 6.0)
    for _ in range(60):
        x = (low + high) / 2
        below = torch.special.ndtr((x[:, None] - means[:, 0]) / law.stds).mean(1) < rank
        low, high = torch.where(below, x, low), torch.where(below, high, x)
    straight = torch.stack([(1 - s) * starts + s * low for s in run.t])
    for ax, states in ((c, run.x[..., 0]), (d, straight)):
        layers.lines(ax, layers.over_time(states, run.t), "#D55E00", width=1.0, alpha=0.9)
        ax.plot(torch.ones(len(low)), low, "ko", markersize=3)
        ax.set_xlabel("$t$", fontsize=13)
        length = (states.diff(dim=0).square() / run.t.diff()[:, None]).sum(0).mean()
        ax.set_title(f"energy {float(length):.2f}", fontsize=13)
    a.set_ylabel("pairs", fontsize=13)
    c.set_ylabel("flow", fontsize=13)
    return figure
