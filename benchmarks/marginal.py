"""Marginal targets against plain flow matching: variance of the gradient over t, and time to equal samples.

    python benchmarks/marginal.py [--seconds 60] [--seeds 2]

First the variance: 8 Gaussians, a small network at its initial weights and after some training, 100 batches of 256,
the sum over all weights, in units of plain flow matching's. Then the digits: the same network, noise and optimiser for
each objective; sliced Wasserstein distance of samples (the averaged weights, 20 steps) to the training rows against
seconds of training, and the seconds until it is below each level. Seconds are those of the processor, on one thread:
what a clock shows on a quiet machine. Evaluation is not counted.
"""

import argparse
import copy
import time
from pathlib import Path
from runpy import run_path

import torch
from sklearn.datasets import load_digits

import pushforward as pf
from pushforward.metrics import sliced_wasserstein
from pushforward.nn import MLP

SHARED = run_path(str(Path(__file__).parent / "objectives.py"))
LEVELS = (0.20, 0.15, 0.12, 0.10, 0.09, 0.08, 0.07, 0.06)
TIMES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


def variance(objective, net, t, batches=100, n=256):
    field, g, rows = pf.Learned(net, pf.Affine()), torch.Generator().manual_seed(1), []
    for _ in range(batches):
        x1, x0 = SHARED["EIGHT"].sample((n, 2), g), torch.randn(n, 2, generator=g)
        draw = field.path.draw(x0, x1, torch.full((n,), t, dtype=torch.float64))
        loss = objective(field, draw, None, g).mean()
        rows.append(torch.cat([v.flatten() for v in torch.autograd.grad(loss, list(net.parameters()))]))
    return float(torch.stack(rows).var(0).sum())


def variances():
    kept = SHARED["EIGHT"].sample((4096, 2), torch.Generator().manual_seed(2))
    ways = {"the batch itself": pf.StableTarget(), "4096 points, kept": pf.StableTarget("velocity", kept)}
    trained = SHARED["train"](SHARED["WAYS"]["flow"], 600).net
    torch.manual_seed(0)
    for state, net in (("initial", SHARED["Small"]()), ("trained", trained)):
        print(f"{state} weights, t =    " + "".join(f"{t:8.2f}" for t in TIMES))
        plain = [variance(pf.OBJECTIVES["flow"](), net, t) for t in TIMES]
        for name, objective in ways.items():
            ratios = [variance(objective, net, t) / p for t, p in zip(TIMES, plain, strict=True)]
            print(f"{name:24s}" + "".join(f"{r:8.2f}" for r in ratios), flush=True)


def digits():
    x = torch.tensor(load_digits().data, dtype=torch.float32)
    return (x - x.mean()) / x.std()


def train(objective, data, seconds, seed, batch=256):
    """``(seconds, steps, distance)`` at growing times."""
    torch.manual_seed(seed)
    net, g = MLP((64,), 256, 3), torch.Generator().manual_seed(seed)
    average, adam = copy.deepcopy(net), torch.optim.Adam(net.parameters(), lr=1e-3)
    field, found, spent, step, ask = pf.Learned(net, pf.Affine()), [], 0.0, 0, seconds / 30
    while spent < seconds:
        start = time.process_time()
        x1 = data[torch.randint(len(data), (batch,), generator=g)]
        x0, t = torch.randn(x1.shape, generator=g), torch.rand(batch, generator=g, dtype=torch.float64)
        loss = objective(field, field.path.draw(x0, x1, t), None, g).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        step += 1
        with torch.no_grad():
            for a, w in zip(average.parameters(), net.parameters(), strict=True):
                a.lerp_(w, max(1 / step, 1 - 0.998))
        spent += time.process_time() - start
        if spent > ask:
            ask *= 1.3
            made = pf.generate(pf.Learned(average, pf.Affine()), len(data), (64,), steps=20, seed=seed)
            found.append((spent, step, float(sliced_wasserstein(made, data))))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--skip-variance", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.skip_variance:
        variances()
    data = digits()
    ways = {
        "flow": pf.OBJECTIVES["flow"](),
        "marginal, the batch": pf.StableTarget(),
        "marginal, all rows": pf.StableTarget("velocity", data),
    }
    halves = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(0))].tensor_split(2)
    print(f"digits, batch {args.batch}: two halves of the data are {float(sliced_wasserstein(*halves)):.4f} apart")
    print("seconds until the distance is below" + "".join(f"{level:7.2f}" for level in LEVELS) + "   last  ms/step")
    for name, objective in ways.items():
        for seed in range(args.seeds):
            found = train(objective, data, args.seconds, seed, args.batch)
            first = [next((s for s, _, w in found if w < level), None) for level in LEVELS]
            cells = "".join(f"{'-':>7s}" if s is None else f"{s:7.1f}" for s in first)
            spent, steps, last = found[-1]
            print(f"{name:28s} seed {seed}{cells} {last:7.4f} {1e3 * spent / steps:7.2f}", flush=True)


if __name__ == "__main__":
    main()
