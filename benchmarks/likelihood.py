"""Velocity with its exact divergence, against zuko's reverse mode, flow_matching's loop and plain forward mode.

    pip install zuko
    python benchmarks/likelihood.py

An MLP with three hidden layers of 256, batch 256, in 2, 16 and 64 dimensions, one thread. Medians of interleaved rounds
in one run; the ratio is zuko's time over ours. Last, the cost of Hutchinson's estimate over that of the velocity.
"""

import statistics
import time

import torch
from torch import nn

from pushforward.likelihood import Exact, Hutchinson
from pushforward.likelihood.divergence import velocity_and_divergence
from pushforward.tensor import divergence

ROUNDS = 15


def network(d):
    layers = [nn.Linear(d, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(256, d)).requires_grad_(False)


def zuko(f, x):
    """The way of zuko's FreeFormJacobianTransform: a batch of gradients over the whole identity."""
    with torch.enable_grad():
        x = x.requires_grad_()
        u = f(x)
        units = torch.eye(x.shape[-1]).expand(*x.shape, x.shape[-1]).movedim(-1, 0)
        jacobian = torch.autograd.grad(u, x, units, is_grads_batched=True)[0]
    return u, torch.einsum("i...i", jacobian)


def loop(f, x):
    """One backward pass a dimension, as in flow_matching's solver."""
    with torch.enable_grad():
        x = x.requires_grad_()
        u = f(x)
        total = sum(torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1]))
    return u, total


def once(f):
    start = time.perf_counter()
    f()
    return (time.perf_counter() - start) * 1e3


def main():
    torch.set_num_threads(1)
    print("  d   ours  zuko's  loop  forward  zuko/ours   velocity  Hutchinson/velocity")
    for d in (2, 16, 64):
        f, x = network(d), torch.randn(256, d, generator=torch.Generator().manual_seed(0))
        one = Hutchinson(1)
        probe = one.directions(x, 0, 0)
        ways = {
            "ours": lambda f=f, x=x: velocity_and_divergence(f, x, Exact(), None),
            "zuko": lambda f=f, x=x: zuko(f, x.clone()),
            "loop": lambda f=f, x=x: loop(f, x.clone()),
            "forward": lambda f=f, x=x: (f(x), divergence(f, x)),
            "velocity": lambda f=f, x=x: f(x),
            "hutchinson": lambda f=f, x=x, p=probe, one=one: velocity_and_divergence(f, x, one, p),
        }
        times = {name: [] for name in ways}
        with torch.no_grad():
            exact = ways["zuko"]()[1]
            ours = ways["ours"]()
            torch.testing.assert_close(ours[1][0], exact, rtol=1e-4, atol=1e-4)
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    times[name].append(once(way))
        t = {name: statistics.median(values) for name, values in times.items()}
        ratio = statistics.median(b / a for a, b in zip(times["ours"], times["zuko"], strict=True))
        print(
            f"{d:3d} {t['ours']:6.2f} {t['zuko']:6.2f} {t['loop']:6.2f} {t['forward']:7.2f} {ratio:9.2f}"
            f" {t['velocity']:10.2f} {t['hutchinson'] / t['velocity']:12.2f}"
        )


if __name__ == "__main__":
    main()
