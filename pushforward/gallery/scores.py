"""Scores and densities: G8, G10 and G11."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.field import Learned
from pushforward.gallery.problem import BOX, count, five_modes, oracle
from pushforward.likelihood import residual_log_prob
from pushforward.nn import MLP
from pushforward.objective import Matching
from pushforward.oracle import MixtureField
from pushforward.path import Affine
from pushforward.plot import layers
from pushforward.plot.style import blank
from pushforward.sample import AnnealedLangevin, Langevin, integrate
from pushforward.schedule import CondOT
from pushforward.tensor import generator
from pushforward.times import log_snr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["noise_scales", "residual", "score_fields"]


def score_fields(scale: float = 1.0) -> Figure:
    """The exact scores of a Gaussian and of a mixture, on their densities."""
    narrow = torch.tensor([[[1.2, 0.7], [0.7, 0.9]]], dtype=torch.float64)
    gaussian = MixtureField(Affine(), torch.zeros(1, 2, dtype=torch.float64), covariances=narrow)
    side = count(scale, 120, 24)
    places, fine = layers.lattice((-2.9, 2.9, -2.9, 2.9), 15), layers.lattice(BOX, side)
    figure, (axes,) = layers.grid(1, 2, 3.8, 3.8, BOX)
    for ax, field, name in zip(axes, (gaussian, oracle()), ("a Gaussian", "five modes"), strict=True):
        p = field.log_prob(fine).exp().reshape(side, side)
        layers.density(ax, p, BOX)
        layers.contours(ax, p, BOX)
        score = field.score(places, 1.0)
        size = score.norm(dim=1, keepdim=True)
        layers.arrows(ax, places, score / size.sqrt().clamp_min(1e-9), 0.6, "#D55E00")
        ax.set_title(name, fontsize=13)
    return figure


@torch.enable_grad()
def learned(times: Tensor, scale: float) -> Learned:
    """A network that learned the noise of the five modes' straight path, at noise levels drawn from these times."""
    data, path, g = five_modes(), Affine(), generator(10, "train")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(10, "weights").get_state())
        net = MLP((2,), width=64, depth=2)
    field, loss = Learned(net, path, "noise"), Matching("noise")
    steps = count(scale, 800, 20)
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        x1 = data.sample((256, 2), g)
        t = times[torch.randint(len(times), (256,), generator=g)]
        draw = path.draw(path.source.sample((256, 2), g), x1, t)
        adam.zero_grad()
        loss(field, draw, None, g).mean().backward()
        adam.step()
        fall.step()
    return field


def shares(x: Tensor, means: Tensor) -> Tensor:
    """Compute which share of the points is nearest to each mean."""
    return torch.bincount(torch.cdist(x.double(), means).argmin(1), minlength=len(means)).double() / len(x)


@torch.no_grad()
def noise_scales(scale: float = 1.0) -> Figure:
    """Where a score learned at one noise scale is wrong, and what that does to samples; many scales put it right."""
    # one network has seen one noise scale, the other all of them
    data, exact = five_modes(), oracle()
    levels = log_snr(11, CondOT(), highest=20.0, lowest=0.12)[1:-1]
    late, early = levels[-1], levels[3]
    one, many = learned(late[None], scale), learned(levels, scale)
    figure = blank(10.4, 3.9)
    a, b, c = figure.subplots(1, 3)

    # left: the error where points of the data seldom come
    side = count(scale, 64, 16)
    places = layers.lattice(BOX, side)
    error = (one.score(places.float(), late) - exact.score(places, late)).norm(dim=1)
    layers.density(a, error.reshape(side, side), BOX)
    layers.contours(a, exact.log_prob(places, late).exp().reshape(side, side), BOX)
    layers.points(a, data.sample((count(scale, 300), 2), generator(10, "data"), torch.float64), "#D55E00", 5)
    a.set(xlim=BOX[:2], ylim=BOX[2:], aspect="equal")
    a.set_title("error of the score (blue)\nlearned at one noise scale", fontsize=13)

    # middle: the same error against density, and where sampling begins
    source = exact.path.source.sample((1000, 2), generator(10, "source"))
    edges = torch.arange(-12.0, 0.0, 1.0, dtype=torch.float64)
    for name, field, t, paint in (
        ("one scale", one, late, "#D55E00"),
        ("many, low noise", many, late, "#0072B2"),
        ("many, high noise", many, early, "#009E73"),
    ):
        log_p = exact.log_prob(places, t)
        error = (field.score(places.float(), t) - exact.score(places, t)).norm(dim=1)
        rows = [(log_p >= low) & (log_p < low + 1) for low in edges]
        medians = [
            (float(low) + 0.5, float(error[row].median())) for low, row in zip(edges, rows, strict=True) if row.any()
        ]
        b.plot(*zip(*medians, strict=True), "o-", color=paint, linewidth=1.8, markersize=4, label=name)
        if t is early or field is one:
            begin = (field.score(source, t) - exact.score(source, t)).norm(dim=1).median()
            b.plot(exact.log_prob(source, t).median(), begin, "*", color=paint, markersize=17, zorder=4)
    b.set_yscale("log")
    b.legend(frameon=False, fontsize=11.5)
    b.set_xlabel("log density, nats", fontsize=13)
    b.set_title("error of the score\nagainst density", fontsize=13)

    # right: what the error does to samples, by the share of them in each mode
    x0 = exact.path.source.sample((count(scale, 2000, 50), 2), generator(10, "start"))
    steps, rounds = count(scale, 400, 8), count(scale, 40)
    single = integrate(one, x0, steps=steps, stepper=Langevin(0.01, at=float(late)), seed=10).x[-1]
    ladder = torch.cat([levels, torch.ones(1, dtype=torch.float64)])
    annealed = integrate(many, x0, grid=ladder, stepper=AnnealedLangevin(0.1, rounds), seed=10).x[-1]
    weights = data.weights if data.weights is not None else torch.full((5,), 0.2)
    bars = {
        "exact": ("0.55", weights),
        "one scale": ("#D55E00", shares(single, data.means * float(late))),
        "many scales": ("#0072B2", shares(annealed, data.means)),
    }
    for i, (name, (paint, heights)) in enumerate(bars.items()):
        off = float((heights - weights).abs().sum()) / 2
        label = f"{name}: {off:.1%} misplaced" if i else name
        c.bar([k + 0.28 * (i - 1) for k in range(5)], heights.tolist(), 0.26, color=paint, label=label)
    c.legend(frameon=False, fontsize=11.5)
    c.set_ylim(0, 1.6 * float(weights.max()))
    c.set_xlabel("mode", fontsize=13)
    c.set_title("share of Langevin samples\nin each mode", fontsize=13)
    for ax in (a, b, c):
        ax.tick_params(labelsize=11)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def residual(scale: float = 1.0) -> Figure:
    """Densities of residual flows of K layers, and how their error falls, beside a line of order 1."""
    means, stds = torch.tensor([[-1.3], [1.1]], dtype=torch.float64), torch.tensor([0.6, 0.5], dtype=torch.float64)
    field = MixtureField(Affine(), means, stds, torch.tensor([0.4, 0.6], dtype=torch.float64))
    x = torch.linspace(-3.5, 3.0, count(scale, 131, 27), dtype=torch.float64)[:, None]
    exact = field.log_prob(x).exp()
    depths = [8 * 2**i for i in range(count(scale, 5, 3))]
    densities = [residual_log_prob(field, x, k).log_prob.exp() for k in depths]
    errors = [float((p - exact).abs().sum() / exact.sum()) for p in densities]
    figure = blank(8.0, 3.9)
    a, b = figure.subplots(1, 2)
    a.fill_between(x[:, 0], exact, color="0.6", alpha=0.4, linewidth=0, label="exact")
    for k, p, paint in zip(depths[:3], densities, ("#E69F00", "#56B4E9", "#0072B2"), strict=False):
        a.plot(x[:, 0], p, color=paint, linewidth=1.8, label=f"K = {k}")
    a.legend(frameon=False, fontsize=11.5)
    a.set_xlabel("$x$", fontsize=13)
    a.set_title("density", fontsize=13)
    b.loglog(depths, errors, "o", color="#0072B2", markersize=7, label="residual flow")
    b.loglog(depths, [errors[-1] * depths[-1] / k for k in depths], "k--", linewidth=1.4, label="order 1")
    b.set_xticks(depths, [str(k) for k in depths])
    b.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2], ["0.01", "0.02", "0.05", "0.1", "0.2"])
    b.set_ylim(0.9 * errors[-1], 1.1 * errors[0])
    b.minorticks_off()
    b.legend(frameon=False, fontsize=11.5)
    b.set_xlabel("layers $K$", fontsize=13)
    b.set_title("error of the density", fontsize=13)
    for ax in (a, b):
        ax.tick_params(labelsize=11)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
