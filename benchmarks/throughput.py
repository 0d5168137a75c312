"""How much of the processor's matrix-product speed a training step reaches, for each network, in one run.

    python benchmarks/throughput.py [--threads 2] [--batch 128] [--compile]

The step is that of `pushforward train` on pictures of 28 x 28 in ten classes: draws of the straight path, the velocity
loss, gradients, clipping, AdamW, average of the weights. Its floating-point operations, forward and backward, are
counted by torch's counter, with attention as the matrix products that it is (the counter does not know the fused one
of CPUs). The speed that they are held against is that of products of 1024 x 1024 matrices, in float32, taken between
the rounds. The default network of pictures comes first.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.nn import Classes, count_parameters, sized
from pushforward.training import Budget, OptimizerConfig, fit

SHAPE, SIDE = (1, 28, 28), 1024
NETS = (("dit", "tiny"), ("dit", "small"), ("unet", "tiny"), ("unet", "small"))


def product_speed(seconds=1.0):
    """Operations per second of products of square matrices."""
    a, b, out = (torch.randn(SIDE, SIDE) for _ in range(3))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        torch.mm(a, b, out=out)
        done += 1
    return done * 2 * SIDE**3 / (time.perf_counter() - start)


def step(net, batch):
    """Forward and backward."""
    x, t, y = torch.randn(batch, *SHAPE), torch.rand(batch), torch.zeros(batch, dtype=torch.int64)
    net(x, t, y).square().mean().backward()
    net.zero_grad()


def step_operations(net, batch):
    """Of one training step."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(net, batch)
    return counter.get_total_flops()


def train(net, batch, seconds):
    """Steps per second after the first."""
    data, y = torch.randn(2048, *SHAPE), torch.randint(10, (2048,))
    path, objective = pf.Affine(), pf.OBJECTIVES["flow"]()
    recipe = BatchRecipe(path, pf.COUPLINGS["independent"](), pf.TIMES["uniform"](), batch)
    feed = feed_for(data, y, recipe, seed=0)
    field = pf.Learned(net, path)
    ticks = []

    def loss(net, drawn, generator):
        ticks.append(time.perf_counter())
        return objective(field, drawn[0], drawn[1], generator)

    steps = Budget(None, seconds / 60)
    optimizer = OptimizerConfig(lr=1e-3, warmup=10, weight_decay=0.0, clip=1.0, ema=7.0)
    fit(net, loss, feed, steps, optimizer)
    return 1 / statistics.median(b - a for a, b in itertools.pairwise(ticks[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10, help="of training in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{'network':12s} {'parameters':>10s} {'MFLOP/image':>11s} {'images/s':>9s} {'of the products':>26s}")
    for kind, size in NETS:
        torch.manual_seed(0)
        shares, rates = [], []
        net = sized(kind, SHAPE, size, {"label": Classes(10)})
        operations = step_operations(net, args.batch)
        if args.compile:
            net.compile()
            step(net, args.batch)  # compiled before the clock starts
        for _ in range(args.rounds):
            before = product_speed()
            rate = train(net, args.batch, args.seconds)
            rates.append(rate * args.batch)
            shares.append(rate * operations / ((before + product_speed()) / 2))
        share = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        cost, rate = operations / args.batch / 1e6, statistics.median(rates)
        print(f"{kind + ' ' + size:12s} {count_parameters(net):10,d} {cost:11.0f} {rate:9.0f} {share:>26s}")


if __name__ == "__main__":
    main()
