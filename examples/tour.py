"""The whole theory in one sitting: a path, a loss, a network, samples by ODE and by SDE, a density, a picture.

``python examples/tour.py`` takes less than a minute and writes ``tour.png``. The data are drawn from a known law, so
every step is held against the exact answer; `docs/tutorials/tour.md` tells the same in words.
"""

import argparse
from pathlib import Path

import torch

import pushforward as pf
from pushforward.plot import layers


def problem():
    """Three round Gaussians in the plane, and their exact marginal field on the straight path from N(0, I)."""
    means = torch.tensor([[-1.5, -0.5], [1.4, -0.8], [0.2, 1.5]])
    stds, weights = torch.tensor([0.4, 0.3, 0.5]), torch.tensor([0.3, 0.3, 0.4])
    path = pf.Affine(pf.CondOT(), pf.Normal())  # x_t = (1 - t) x_0 + t x_1
    return pf.Mixture(means, stds, weights), pf.MixtureField(path, means, stds, weights)


def train(path, data, steps, g):
    """Flow matching: at a random time, on a random line from noise to data, the network learns the line's velocity."""
    with torch.random.fork_rng(devices=[]):  # networks are initialised from torch's global stream; leave it as it was
        torch.default_generator.manual_seed(0)
        net = pf.nn.MLP((2,), width=64, depth=2)  # any module called as net(x, t, y) will do
    field = pf.Learned(net, path, predicts="velocity")
    loss = pf.OBJECTIVES["flow"]()
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        x1 = data[torch.randint(len(data), (512,), generator=g)]
        x0 = path.source.sample(x1.shape, g)
        draw = path.draw(x0, x1, pf.TIMES["even"]()(512, g))  # the point x_t and its velocity u_t
        adam.zero_grad()
        loss(field, draw, None, g).mean().backward()
        adam.step()
        fall.step()
    return field


def main(out: Path, steps: int, n: int = 4000) -> dict[str, float]:
    g = torch.Generator().manual_seed(0)
    law, exact = problem()
    field = train(exact.path, law.sample((20_000, 2), g), steps, g)
    fresh, other = law.sample((n, 2), g), law.sample((n, 2), g)
    found = {}

    # the loss cannot reach 0: lines through one point disagree. What is above that floor is the network's own error
    draw = exact.path.draw(exact.path.source.sample(fresh.shape, g), fresh, pf.TIMES["even"]()(len(fresh), g))
    found["floor"] = pf.irreducible_loss(pf.OBJECTIVES["flow"](), exact, draw).value
    found["excess"] = pf.excess_loss(pf.OBJECTIVES["flow"](), field, exact, draw).value

    # one network, many samplers: the flow, and a diffusion that has the same marginals by the score of the same network
    by_ode = pf.generate(field, n, (2,), steps=20, seed=1)
    diffusion = pf.EulerMaruyama(lambda t: (1 - t).sqrt())
    by_sde = pf.generate(field, n, (2,), stepper=diffusion, steps=100, seed=1)
    for name, x in (("ode", by_ode), ("sde", by_sde), ("data", other)):
        found[name] = pf.metrics.sliced_wasserstein(x, fresh)

    # the flow carries densities too: log p_1(x_1) = log p_0(x_0) - int_0^1 div u_t(x_t) dt
    with torch.no_grad():
        log_p = pf.log_prob(field, fresh[: n // 8], steps=20)
    found["nats"] = float((log_p - exact.log_prob(fresh[: n // 8])).abs().mean())

    box = (-3.2, 3.2, -3.2, 3.2)
    p = exact.log_prob(layers.lattice(box, 120)).exp().reshape(120, 120)
    figure, (axes,) = layers.grid(1, 3, 3.0, 3.0, box)
    for ax, name, x in zip(axes, ("data", "ODE", "SDE"), (fresh, by_ode, by_sde), strict=True):
        layers.density(ax, p, box)
        layers.contours(ax, p, box)
        layers.points(ax, x[:1000], "#D55E00", 5)
        ax.set_title(name, fontsize=13)
    pf.plot.save(figure, out)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tour.png"))
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    found = main(args.out, args.steps)
    print(f"loss: {found['floor']:.3f} that no network can learn, and {found['excess']:.4f} that this one has not")
    print("sliced Wasserstein distance to fresh data:")
    print(f"  by ODE {found['ode']:.3f}   by SDE {found['sde']:.3f}   other fresh data {found['data']:.3f}")
    print(f"log-densities are {found['nats']:.3f} nats off the exact ones on average; the picture is {args.out}")
