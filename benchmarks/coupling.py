"""Couplings against TorchCFM's OTPlanSampler, and semidiscrete against one matrix product: ratios in one run.

    python benchmarks/coupling.py [--only exact kinds training step plan fit]

Noise against points of a mixture of 8 Gaussians, float32. One call couples one batch and returns the pairs, as a
training step asks. Rounds alternate and medians are printed. TorchCFM is measured when it is installed (it needs POT).

training: steps per second with exact transport of 256 points in two dimensions, a plain network, either package's own
way. step: the share of transport in a training step of a U-Net on images. plan: one semidiscrete batch. fit: seconds to
fit a semidiscrete plan, the error of its cells' masses, and its cost beside that of transport of batches of 1024.
"""

import argparse
import statistics
import time
from pathlib import Path
from runpy import run_path

import torch

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.coupling import SemidiscretePlan
from pushforward.nn import sized
from pushforward.training import Budget, OptimizerConfig, fit


def batch(n, d, seed):
    g = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(8, d, generator=g)
    x1 = centres[torch.randint(0, 8, (n,), generator=g)] + 0.3 * torch.randn(n, d, generator=g)
    return torch.randn(n, d, generator=g), x1


def milliseconds(call):
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def medians(calls, rounds):
    """Median time of each call, and of each ratio to the last, over rounds that alternate."""
    for call in calls.values():
        call(0)
    times = [[milliseconds(lambda call=call, k=k: call(k)) for call in calls.values()] for k in range(rounds)]
    columns = list(zip(*times, strict=True))
    ratios = [sorted(a / b for a, b in zip(column, columns[-1], strict=True)) for column in columns]
    return [(statistics.median(c), statistics.median(r), r[0], r[-1]) for c, r in zip(columns, ratios, strict=True)]


def show(title, calls, rounds):
    print(title)
    for name, (time_, ratio, low, high) in zip(calls, medians(calls, rounds), strict=True):
        print(f"  {name:28s} {time_:9.2f} ms   ratio {ratio:6.3f}  ({low:.3f} to {high:.3f})")


def exact(args, theirs):
    for n in (256, 1024):
        for d in (2, 64, 784):
            batches = [batch(n, d, seed) for seed in range(args.rounds)]
            calls = {"pushforward": lambda k, batches=batches: pf.OptimalTransport()(*batches[k], None, None)}
            if theirs is not None:
                calls["TorchCFM"] = lambda k, batches=batches: theirs.sample_plan(*batches[k])
            show(f"exact transport of {n} points in {d} dimensions", calls, args.rounds)


def kinds(args, theirs):
    others = {
        "sinkhorn": pf.Sinkhorn(),
        "schrodinger_bridge": pf.SchrodingerBridge(),
        "unbalanced": pf.Unbalanced(),
        "immiscible": pf.Immiscible(),
        "optimal_transport": pf.OptimalTransport(),
    }
    batches, g = [batch(256, 2, seed) for seed in range(args.rounds)], torch.Generator().manual_seed(0)
    calls = {name: lambda k, c=c: c(*batches[k], None, g) for name, c in others.items()}
    show("256 points in 2 dimensions", calls, args.rounds)


def training(args, theirs):
    plain, data = run_path(str(Path(__file__).parent / "loop.py"))["Plain"], batch(10_000, 2, 0)[1]

    def ours(steps):
        net, objective = plain(), pf.OBJECTIVES["flow"]()
        field = pf.Learned(net, pf.Affine())
        recipe = BatchRecipe(field.path, pf.OptimalTransport(), pf.TIMES["uniform"](), 256)
        feed = feed_for(data, None, recipe, seed=0)
        how = OptimizerConfig(lr=1e-3, warmup=100, weight_decay=0.0, clip=1.0, ema=7.0)
        fit(net, lambda _, b, g: objective(field, *b, g), feed, Budget(steps, None), how)

    def peer(steps):
        from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher

        net, matcher = plain(), ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(steps):
            x1 = data[torch.randint(len(data), (256,))]
            t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = (net(xt, t) - ut).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()

    calls = {"pushforward": lambda k: ours(256)} | ({} if theirs is None else {"TorchCFM": lambda k: peer(256)})
    show("256 training steps in 2 dimensions, 256 points coupled exactly", calls, max(3, args.rounds // 3))


def step(args, theirs):
    net, path, objective = sized("unet", (1, 28, 28), "tiny"), pf.Affine(), pf.OBJECTIVES["flow"]()
    field, adam = pf.Learned(net, path), torch.optim.Adam(net.parameters())
    g, data = torch.Generator().manual_seed(0), images(4096)

    def pairs(k):
        return data[k * 256 : k * 256 + 256].reshape(256, 1, 28, 28)

    def learn(k):
        x1 = pairs(k % 16)
        draw = path.draw(torch.randn(x1.shape, generator=g), x1, torch.rand(256, generator=g, dtype=torch.float64))
        adam.zero_grad()
        objective(field, draw, None, g).mean().backward()
        adam.step()

    noise = torch.randn(256, 1, 28, 28, generator=g)
    calls = {
        "transport": lambda k: pf.OptimalTransport()(noise, pairs(k % 16), None, g),
        "training step": learn,
    }
    show("a U-Net on 256 images of 28 x 28 (keep below 0.06)", calls, max(3, args.rounds // 3))


def plan(args, theirs):
    g = torch.Generator().manual_seed(0)
    data, potentials = torch.randn(args.points, 784, generator=g), torch.randn(args.points, generator=g)
    partners, x0 = SemidiscretePlan(data, potentials), torch.randn(256, 784, generator=g)
    calls = {
        "semidiscrete": lambda k: partners(x0, x0, None, g),
        "one matrix product": lambda k: x0 @ data.T,
    }
    show(f"semidiscrete, 256 noises to {args.points} x 784", calls, args.rounds)


def images(n):
    """Rows of 784 numbers of unit variance whose spectrum falls as that of pictures does."""
    g = torch.Generator().manual_seed(1)
    spectrum = torch.arange(1, 101).float() ** -0.8
    x = torch.randn(n, 100, generator=g) * spectrum @ torch.randn(100, 784, generator=g)
    x = x + 0.05 * x.std() * torch.randn(n, 784, generator=g)
    return x / x.std()


def fitting(args, theirs):
    data, g = images(args.points), torch.Generator().manual_seed(2)
    start = time.perf_counter()
    partners = pf.Semidiscrete(args.steps).fit(data)
    print(f"semidiscrete fit to {args.points} x 784: {time.perf_counter() - start:.0f} s", flush=True)
    x0, counts, means = torch.randn(1024, 784, generator=g), torch.zeros(args.points), []
    draws = max(1, args.points // 1024)
    for _ in range(draws):
        counts += partners.assign(torch.randn(1024, 784, generator=g)).bincount(minlength=args.points)
    mean = float(counts.mean())
    print(f"  relative variance of the cells' masses {float(counts.var()) / mean**2 - 1 / mean:.3f} (0 is exact)")
    for _ in range(4):
        x0, x1 = torch.randn(1024, 784, generator=g), data[torch.randperm(len(data), generator=g)[:1024]]
        ways = [partners(x0, x1, None, g), pf.OptimalTransport()(x0, x1, None, g), (x0, x1, None)]
        means.append([float((b - a).square().sum(1).mean()) for a, b, _ in ways])
    costs = torch.tensor(means).mean(0).tolist()
    print("  mean squared distance {:.1f}; of transport of 1024 {:.1f}; of independent pairs {:.1f}".format(*costs))


PARTS = {"exact": exact, "kinds": kinds, "training": training, "step": step, "plan": plan, "fit": fitting}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--points", type=int, default=60_000, help="of the semidiscrete plan, in 784 dimensions")
    parser.add_argument("--steps", type=int, default=0, help="of its fit; 0 is the default")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        from torchcfm.optimal_transport import OTPlanSampler

        theirs = OTPlanSampler("exact")
    except ImportError:
        theirs = None
        print("torchcfm is not installed; it is left out, and ratios are to ourselves")
    for name in args.only:
        PARTS[name](args, theirs)


if __name__ == "__main__":
    main()
