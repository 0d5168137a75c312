"""Every objective on one problem with one network and one budget: how far its samples are from fresh data.

    python benchmarks/objectives.py [--only flow] [--seeds 2] [--steps 1200] [--points 4000]

Eight Gaussians of unit variance, 21,000 weights, fresh rows for every step. The distance is the energy distance between
``points`` samples and as many points of test data, a mean over 16 pairs of sets, in units of what fresh data scores
against the same test data: 1 is perfect, and the larger the sets the more is asked. Beside it: its range over seeds,
the half-width of the metric's own interval (`with_floor`, one pair of sets), and the time per step.
"""

import argparse
import itertools
import math
import time
from dataclasses import dataclass, field

import torch

import pushforward as pf
from pushforward.metrics import energy_distance, with_floor

BATCH, SETS = 512, 4
_angle = torch.arange(8) * math.pi / 4
EIGHT = pf.Mixture(2**0.5 * torch.stack([_angle.cos(), _angle.sin()], 1), torch.full((8,), 0.1 * 2**0.5))
STRAIGHT, WIDE = pf.Affine(), pf.Affine(pf.EDM(0.0, 10.0))


class Small(torch.nn.Module):
    """Three hidden layers over the point and a few waves of time: 21,000 weights."""

    def __init__(self, out=2, width=96):
        super().__init__()
        self.waves = torch.arange(1, 5) * math.pi / 2
        sizes = [11, width, width, width]
        pairs = [(torch.nn.Linear(a, b), torch.nn.SiLU()) for a, b in itertools.pairwise(sizes)]
        self.body = torch.nn.Sequential(*[m for pair in pairs for m in pair], torch.nn.Linear(width, out))

    def forward(self, x, t, y=None):
        phase = t[:, None] * self.waves
        return self.body(torch.cat([x, t[:, None], phase.sin(), phase.cos()], 1))


def straight(net):
    return pf.Learned(net, STRAIGHT)


def preconditioned(net):
    return pf.Preconditioned(net, WIDE)


def joint(net):
    return pf.Joint(lambda x, t, y: net(x, t).chunk(2, 1), STRAIGHT, ("velocity", "noise"))


def energy(net):
    return pf.Energy(lambda x, t, y: (x * net(x, t)).sum(1), STRAIGHT, "velocity")


@dataclass(frozen=True)
class Way:
    """How one objective is trained and its field sampled; the straight path but for ladders of noise."""

    objective: object
    field_of: object = straight
    outputs: int = 2
    times: object = pf.TIMES["uniform"]()
    sampler: dict = field(default_factory=lambda: {"steps": 20})
    batch: int = BATCH
    share: float = 1.0  # of the steps, where one is that much dearer


def rungs(n, g, schedule):
    return pf.TIMES["ladder"]()(n, g, schedule, 40, 10.0, 0.02)


WAYS = {
    name: Way(pf.OBJECTIVES[name]()) for name in ("flow", "score", "noise", "v", "marginal", "implicit", "sliced")
} | {
    "data": Way(pf.OBJECTIVES["data"](), times=pf.TIMES["log_normal"]()),
    "joint": Way(pf.OBJECTIVES["joint"](), joint, 4),
    "energy": Way(pf.OBJECTIVES["flow"](), energy),
    "ncsn": Way(pf.OBJECTIVES["score"](), preconditioned, times=rungs),
    "edm": Way(pf.Matching("data", pf.WEIGHTS["edm"]()), preconditioned, times=pf.TIMES["log_normal"]()),
    "maximum_likelihood": Way(
        pf.MaximumLikelihood(method=pf.Hutchinson(1), gradient="store"), batch=BATCH // 2, share=0.5
    ),
}


def train(way, steps, seed=0):
    """The field of a small network after the one budget: AdamW, 1e-2 down a cosine, gradients clipped to 1."""
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        net = Small(way.outputs)
    learned, g, steps = way.field_of(net), torch.Generator().manual_seed(seed), round(steps * way.share)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(steps):
        rate = min(1, 12 * (step + 1) / steps) * 0.5e-2 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        x1, x0 = EIGHT.sample((way.batch, 2), g), torch.randn(way.batch, 2, generator=g)
        t = way.times(way.batch, g, learned.path.schedule)
        optimizer.zero_grad()
        way.objective(learned, learned.path.draw(x0, x1, t), None, g).mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return learned


def distance(x, test, points):
    """Over all pairs of a set of samples and a set of test points, for one pair is as uncertain as it is large."""
    pairs = [(a, b) for a in x.split(points) for b in test.split(points)]
    return sum(energy_distance(a, b) for a, b in pairs) / len(pairs)


def fresh(points, sets=SETS):
    """Test points, other fresh points, and the mean distance between them."""
    test, others = EIGHT.sample((2 * sets * points, 2), torch.Generator().manual_seed(9)).split(sets * points)
    return test, others, distance(others, test, points)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--points", type=int, default=4000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    test, others, least = fresh(args.points)
    print(f"fresh data: {least:.6f} between sets of {args.points}")
    print(f"{'objective':20s} distance   (seeds)   interval   ms/step")
    for name in args.only:
        ratios, widths, spent = [], [], 0.0
        for seed in range(args.seeds):
            start = time.perf_counter()
            learned = train(WAYS[name], args.steps, seed)
            spent += time.perf_counter() - start
            x = pf.generate(learned, SETS * args.points, (2,), seed=seed, **WAYS[name].sampler)
            ratios.append(distance(x, test, args.points) / least)
            some = with_floor(energy_distance, *(z[: args.points] for z in (x, test, others)), resamples=10)
            widths.append(some.error / least)
        mean, width = sum(ratios) / len(ratios), sum(widths) / len(widths)
        each = 1e3 * spent / args.seeds / round(args.steps * WAYS[name].share)
        print(f"{name:20s} {mean:8.2f}  {min(ratios):.2f}-{max(ratios):.2f} {width:9.2f} {each:9.1f}", flush=True)


if __name__ == "__main__":
    main()
