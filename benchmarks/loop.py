"""The training loop against a hand-written one, on the same network: steps per second, ratio in one run.

    python benchmarks/loop.py

The network is a plain 2-D MLP (three hidden layers of 64, time as a third input), batch 256, data in memory, fused
Adam. The hand-written loop draws a batch and takes a step, nothing else; ours also clips gradients, keeps an
exponential moving average, decays the learning rate and watches the loss. TorchCFM's sampler in the same loop is
measured too when it is installed. Rounds alternate, and the median ratio is printed.
"""

import argparse
import statistics
import time

import torch
from torch import nn

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.training import Budget, OptimizerConfig, fit

BATCH = 256


class Plain(nn.Module):
    """Three hidden layers of 64."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x, t, y=None):
        return self.net(torch.cat([x, t[:, None]], 1))


def by_hand(data, steps):
    torch.manual_seed(0)
    net = Plain()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for _ in range(steps):
        x1 = data[torch.randint(0, len(data), (BATCH,))]
        x0, t = torch.randn_like(x1), torch.rand(BATCH)
        xt = (1 - t[:, None]) * x0 + t[:, None] * x1
        loss = (net(xt, t) - (x1 - x0)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return steps / (time.perf_counter() - start)


def torchcfm_loop(data, steps):
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    torch.manual_seed(0)
    net, matcher = Plain(), ConditionalFlowMatcher(sigma=0.0)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(steps):
        x1 = data[torch.randint(0, len(data), (BATCH,))]
        t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
        loss = (net(xt, t) - ut).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return steps / (time.perf_counter() - start)


def ours(data, steps):
    torch.manual_seed(0)
    net, path, objective = Plain(), pf.Affine(), pf.OBJECTIVES["flow"]()
    recipe = BatchRecipe(path, pf.COUPLINGS["independent"](), pf.TIMES["uniform"](), BATCH)
    feed = feed_for(data, None, recipe, seed=0)
    field = pf.Learned(net, path)
    start = time.perf_counter()
    fit(
        net,
        lambda net, batch, generator: objective(field, batch[0], batch[1], generator),
        feed,
        Budget(steps, None),
        OptimizerConfig(lr=1e-3, warmup=100, weight_decay=0.0, clip=1.0, ema=7.0),
    )
    return steps / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = torch.randn(10_000, 2)
    loops = {"by hand": by_hand, "pushforward": ours}
    try:
        import torchcfm  # noqa: F401

        loops["TorchCFM"] = torchcfm_loop
    except ImportError:
        print("torchcfm is not installed; its loop is left out")
    for loop in loops.values():
        loop(data, 100)
    speeds = {name: [] for name in loops}
    for _ in range(args.rounds):
        for name, loop in loops.items():
            speeds[name].append(loop(data, args.steps))
    print(f"{'loop':12s} {'steps/s':>8s} {'ratio to by hand (median, min, max)':>38s}")
    for name in loops:
        ratios = sorted(a / b for a, b in zip(speeds[name], speeds["by hand"], strict=True))
        median = statistics.median(ratios)
        print(f"{name:12s} {statistics.median(speeds[name]):8.0f} {median:14.3f} {ratios[0]:11.3f} {ratios[-1]:11.3f}")


if __name__ == "__main__":
    main()
