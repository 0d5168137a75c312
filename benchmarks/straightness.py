"""What couplings do to learned flows: how straight they are, and how good in few steps, with and without classes.

    python benchmarks/straightness.py

Eight Gaussians, a small MLP, the same steps, noise and seeds for each coupling. Curvature is
``E int |u_t(X_t) - (X_1 - X_0)|^2 dt / E |X_1 - X_0|^2`` along the learned flow (64 steps of Heun): 0 for straight
lines. Quality is the energy distance of samples to fresh data, with that of two fresh sets beside it. With classes
(which of two halves of the ring), it is the mean over classes.
"""

import argparse
import time

import torch
from torch import nn

import pushforward as pf
from pushforward.metrics import energy_distance

BATCH = 256


class Net(nn.Module):
    """Three hidden layers of 128; time and, for classes, +-1 as further inputs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, 2),
        )

    def forward(self, x, t, y=None):
        label = torch.zeros(len(x), 1) if y is None else 2.0 * y[:, None] - 1
        return self.net(torch.cat([x, t.to(x)[:, None], label], 1))


def gaussians(n, g):
    """Rows on a ring of eight, unit variance, and which half of the ring each is in."""
    k = torch.randint(0, 8, (n,), generator=g)
    centres = torch.stack([(k * torch.pi / 4).cos(), (k * torch.pi / 4).sin()], 1)
    return (2 * centres + 0.15 * torch.randn(n, 2, generator=g)) / 2**0.5, (k >= 4).long()


def train(coupling, steps, seed, classes):
    g = torch.Generator().manual_seed(seed)
    data, labels = gaussians(5000, g)
    torch.manual_seed(seed)
    net, path, start = Net(), pf.Affine(), time.perf_counter()
    if isinstance(coupling, pf.Semidiscrete):
        coupling = coupling.fit(data, labels if classes else None, seed=seed)
    adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    field = pf.Learned(net, path)
    for _ in range(steps):
        rows = torch.randint(len(data), (BATCH,), generator=g)
        x1, y = data[rows], labels[rows] if classes else None
        x0, x1, y = coupling(torch.randn(x1.shape, generator=g), x1, y, g)
        draw = path.draw(x0, x1, torch.rand(BATCH, generator=g))
        loss = pf.OBJECTIVES["flow"]()(field, draw, y, g).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        fall.step()
    return net, time.perf_counter() - start


@torch.no_grad()
def flow(net, x, y, steps):
    """End points of Heun's method, and the curvature on the way."""
    start, velocities, h = x, [], 1 / steps
    for k in range(steps):
        first = net(x, torch.full((len(x),), k * h), y)
        second = net(x + h * first, torch.full((len(x),), (k + 1) * h), y)
        x = x + h / 2 * (first + second)
        velocities.append((first + second) / 2)
    way = x - start
    bend = torch.stack([(v - way).square().sum(1).mean() for v in velocities]).mean()
    return x, float(bend / way.square().sum(1).mean())


def measure(net, seed, classes):
    g = torch.Generator().manual_seed(1000 + seed)
    sets = []
    for c in (0, 1) if classes else (None,):
        fresh, labels = gaussians(16_000, g)
        fresh = fresh if c is None else fresh[labels == c]
        fresh, other = fresh[:3000], fresh[3000:6000]
        x, y = torch.randn(3000, 2, generator=g), None if c is None else torch.full((3000,), c)
        ends, curvature = flow(net, x, y, 64)
        near = [float(energy_distance(z, fresh)) for z in (flow(net, x, y, 1)[0], flow(net, x, y, 2)[0], ends, other)]
        sets.append([curvature, *near])
    return torch.tensor(sets).mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    every = {
        "independent": pf.independent,
        "optimal_transport": pf.OptimalTransport(),
        "sinkhorn": pf.Sinkhorn(),
        "unbalanced": pf.Unbalanced(),
        "semidiscrete": pf.Semidiscrete(),
        "immiscible": pf.Immiscible(),
    }
    few = ("independent", "optimal_transport", "semidiscrete")
    ignored = {"x alone, y travels": pf.OptimalTransport(conditions="ignore")}
    for title, classes, couplings in (
        ("no classes", False, every),
        ("two classes", True, {name: every[name] for name in few} | ignored),
    ):
        print(f"{title:20s} curvature  ED 1 step  2 steps  64 steps    fresh   seconds")
        for name, coupling in couplings.items():
            figures, seconds = [], 0.0
            for seed in range(args.seeds):
                net, spent = train(coupling, args.steps, seed, classes)
                figures.append(measure(net, seed, classes))
                seconds += spent / args.seeds
            c, one, two, many, fresh = torch.stack(figures).mean(0).tolist()
            print(f"{name:20s} {c:9.4f} {one:10.4f} {two:8.4f} {many:9.4f} {fresh:8.4f} {seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
