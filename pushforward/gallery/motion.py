"""Flows and diffusions: G1 to G3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pushforward.field import Field
from pushforward.gallery.problem import BOX, count, oracle
from pushforward.path import Affine, Path
from pushforward.plot import Animation, layers
from pushforward.sample import RK4, EulerMaruyama, integrate
from pushforward.tensor import Points, Time, generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["brownian", "diffusions", "field_and_flow", "flow_animation"]


def carried(scale: float, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Times ``[k]``, and a grid of lines ``[k, point, line, 2]`` and of points ``[k, n, 2]`` that the flow carries."""
    side, fine = count(scale, 19, 5), count(scale, 121, 21)
    across = layers.lattice((-2.7, 2.7, -2.7, 2.7), fine, side).reshape(side, fine, 2)
    start = torch.cat([across, across.flip(2)]).flatten(0, 1)
    dots = torch.randn(count(scale, 60), 2, generator=generator(1, "dots"), dtype=torch.float64)
    grid = torch.linspace(0, 1, 4 * frames + 1, dtype=torch.float64)
    run = integrate(oracle(), torch.cat([start, dots]), grid=grid, stepper=RK4(), trajectory=True)
    lines, points = run.x.split([len(start), len(dots)], 1)
    return run.t, lines.reshape(len(run.t), 2 * side, fine, 2).transpose(1, 2), points


def field_and_flow(scale: float = 1.0) -> Figure:
    """The field as arrows, and the grid that its flow carries, over the exact density; then trajectories."""
    field, n = oracle(), count(scale, 100, 12)
    t, lines, points = carried(scale, 20)
    places = layers.lattice((-2.8, 2.8, -2.8, 2.8), 13)
    figure, ((a, b), (c, d)) = layers.grid(2, 2, 3.1, 3.1, BOX)
    for ax, k in ((a, 0), (b, len(t) // 2), (c, len(t) - 1)):
        p = field.log_prob(layers.lattice(BOX, n), t[k]).exp().reshape(n, n)
        layers.density(ax, p, BOX)
        layers.lines(ax, lines[k], "0.55", width=0.7, alpha=0.8)
        if k < len(t) - 1:  # at t = 1 the velocity is x itself, whatever the data
            layers.arrows(ax, places, field.velocity(places, t[k]), 0.75, "#D55E00")
        layers.note(ax, f"$t = {float(t[k]):.1f}$")
    layers.density(d, p, BOX)
    layers.lines(d, points, "0.35", width=0.9)
    layers.points(d, points[0], "#D55E00", 14, alpha=0.9)
    layers.points(d, points[-1], "#000000", 14, alpha=0.9)
    layers.note(d, "orange to black")
    return figure


def flow_animation(scale: float = 1.0) -> Animation:
    """The grid on its way."""
    t, lines, points = carried(scale, count(scale, 20, 3))
    figure, ((ax,),) = layers.grid(1, 1, 3.2, 3.2, BOX)
    mesh = layers.lines(ax, lines[0], "0.55", width=0.7, alpha=1.0)
    dots = layers.points(ax, points[0], "#D55E00", 16, alpha=1.0)
    title = ax.set_title("", fontsize=13)

    def draw(i: int) -> None:
        k = 4 * i
        mesh.set_segments(list(lines[k].transpose(0, 1).numpy()))
        dots.set_offsets(points[k].numpy())
        title.set_text(f"t = {float(t[k]):.2f}")

    return Animation(figure, draw, len(t) // 4 + 1, rate=8)


@final
@dataclass(frozen=True, eq=False)
class Drift(Field):
    """``dX = u(X) dt + sigma dW``: a drift of its own, and nothing for the score to add to it."""

    drift: Callable[[Tensor], Tensor]
    path: Path

    def evaluate(self, names: tuple[str, ...], x: Points, t: Time, y: Tensor | None = None) -> tuple[Points, ...]:
        return tuple(self.drift(x) if name == "velocity" else torch.zeros_like(x) for name in names)


def brownian(scale: float = 1.0) -> Figure:
    """Brownian paths inside one and two standard deviations, and one path at three step sizes."""
    still = Drift(torch.zeros_like, Affine())
    n = count(scale, 400, 20)
    x0 = torch.zeros(n, 1, dtype=torch.float64)
    run = integrate(still, x0, steps=count(scale, 256, 16), stepper=EulerMaruyama(1.0), seed=1, trajectory=True)
    figure, ((a, b),) = layers.grid(1, 2, 3.6, 3.4, share=False)
    t, w = run.t, run.x[..., 0]
    layers.lines(a, layers.over_time(w[:, :60], t), "#0072B2", width=0.7, alpha=0.45)
    for k in (1, 2):
        a.plot(t, k * t.sqrt(), "k--", t, -k * t.sqrt(), "k--", linewidth=1.2)
    inside = [float((w[1:].abs() < k * t[1:, None].sqrt()).double().mean()) for k in (1, 2)]
    layers.note(a, f"{inside[0]:.1%} within $\\sqrt{{t}}$,\n{inside[1]:.1%} within $2\\sqrt{{t}}$")
    for steps, paint, width in ((256, "#56B4E9", 0.8), (16, "#0072B2", 1.4), (4, "#D55E00", 2.0)):
        one = integrate(still, x0[:1], steps=steps, stepper=EulerMaruyama(1.0), seed=7, trajectory=True)
        b.plot(one.t, one.x[:, 0, 0], color=paint, linewidth=width, label=f"{steps} steps")
    b.legend(frameon=False, fontsize=11.5)
    for ax in (a, b):
        ax.set_xlabel("$t$", fontsize=13)
    a.set_ylabel("$W_t$", fontsize=13)
    a.set_ylim(-3.6, 3.9)
    return figure


def diffusions(scale: float = 1.0) -> Figure:
    """Ornstein-Uhlenbeck processes from two starts, and the exact 95 percent bands around their exact means."""
    theta, n = 4.0, count(scale, 400, 20)
    pull = Drift(lambda x: -theta * x, Affine())
    starts = torch.tensor([2.0, -2.0], dtype=torch.float64).repeat_interleave(n)[:, None]
    figure, axes = layers.grid(2, 2, 3.4, 2.7)
    for ax, sigma in zip([*axes[0], *axes[1]], (0.0, 0.5, 1.0, 2.0), strict=True):
        steps, stepper = count(scale, 200, 16), EulerMaruyama(sigma)
        run = integrate(pull, starts, steps=steps, stepper=stepper, seed=int(10 * sigma), trajectory=True)
        t, x = run.t, run.x[..., 0]
        deviation = sigma * ((1 - (-2 * theta * t).exp()) / (2 * theta)).sqrt()
        inside = []
        for side, paint in ((0, "#0072B2"), (1, "#D55E00")):
            drawn = slice(side * n, side * n + 15)
            mean = starts[side * n, 0] * (-theta * t).exp()
            layers.lines(ax, layers.over_time(x[:, drawn], t), paint, width=0.8, alpha=0.6)
            low, high = mean - 1.96 * deviation, mean + 1.96 * deviation
            layers.band(ax, t, low, high, paint)
            ax.plot(t, mean, "k--", linewidth=1.4, zorder=4)
            rows = x[1:, side * n : (side + 1) * n]
            inside.append((rows > low[1:, None]) & (rows < high[1:, None]))
        share = float(torch.cat(inside).double().mean())
        layers.note(ax, f"$\\sigma = {sigma:g}$" + (f", {share:.1%} inside" if sigma else ""), left=False)
        ax.set_ylim(-2.9, 2.9)
    for ax in axes[1]:
        ax.set_xlabel("$t$", fontsize=13)
    for row in axes:
        row[0].set_ylabel("$X_t$", fontsize=13)
    return figure
