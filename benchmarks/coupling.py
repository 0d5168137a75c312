"""Couplings against TorchCFM's OTPlanSampler, and semidiscrete against one matrix product: ratios in one run.

    python benchmarks/coupling.py

Noise against points of a mixture of 8 Gaussians, float32. One call couples one batch and returns the pairs, as a
training step asks. Rounds alternate and medians are printed. TorchCFM is measured when it is installed (it needs POT).
"""

import argparse
import statistics
import time

import torch

import pushforward as pf
from pushforward.coupling import Partners


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--points", type=int, default=60_000, help="of the semidiscrete plan, in 784 dimensions")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    g = torch.Generator().manual_seed(0)
    try:
        from torchcfm.optimal_transport import OTPlanSampler

        theirs = OTPlanSampler("exact")
    except ImportError:
        theirs = None
        print("torchcfm is not installed; it is left out, and ratios are to ourselves")
    for n in (256, 1024):
        for d in (2, 64, 784):
            batches = [batch(n, d, seed) for seed in range(args.rounds)]
            calls = {
                "pushforward": lambda k, batches=batches: pf.OptimalTransport()(*batches[k], None, g),
            }
            if theirs is not None:
                calls["TorchCFM"] = lambda k, batches=batches: theirs.sample_plan(*batches[k])
            show(f"exact transport of {n} points in {d} dimensions", calls, args.rounds)
    others = {
        "sinkhorn": pf.Sinkhorn(),
        "schrodinger_bridge": pf.SchrodingerBridge(),
        "unbalanced": pf.Unbalanced(),
        "immiscible": pf.Immiscible(),
        "optimal_transport": pf.OptimalTransport(),
    }
    batches = [batch(256, 2, seed) for seed in range(args.rounds)]
    calls = {name: lambda k, c=c: c(*batches[k], None, g) for name, c in others.items()}
    show("256 points in 2 dimensions", calls, args.rounds)
    data, potentials = torch.randn(args.points, 784, generator=g), torch.randn(args.points, generator=g)
    partners, x0 = Partners(data, potentials), torch.randn(256, 784, generator=g)
    calls = {
        "semidiscrete": lambda k: partners(x0, x0, None, g),
        "one matrix product": lambda k: x0 @ data.T,
    }
    show(f"semidiscrete, 256 noises to {args.points} x 784", calls, args.rounds)


if __name__ == "__main__":
    main()
