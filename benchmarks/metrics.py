"""Which metric sees what: known failures, each measured by every metric beside its floor. The table of
docs/explanation/metrics.md.

    python benchmarks/metrics.py

The data are eight Gaussians on a ring of radius 4, standard deviation 0.3. ``table`` is what the tests ask.
"""

import math

import torch

from pushforward.metrics import METRICS, memorisation, with_floor

N = 1000  # samples, training points and held-out points each
RESAMPLES = 20
COLUMNS = {  # heading: entry of METRICS
    "SW": "sliced_wasserstein",
    "W": "wasserstein",
    "energy": "energy",
    "MMD": "mmd",
    "Frechet": "frechet",
    "kernel": "kernel",
    "C2ST": "two_sample",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "columns": "columns",
    "pairs": "pairs",
}
UNBIASED = ("mmd", "kernel")  # their floor is 0 on average


def ring(n, seed, modes=range(8), std=0.3):
    g = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.tensor(modes)[torch.randint(len(modes), (n,), generator=g)] / 8
    centre = 4 * torch.stack([angle.cos(), angle.sin()], 1).double()
    return centre + std * torch.randn(n, 2, generator=g, dtype=torch.float64)


def failures(train):
    """Samples that fail in one known way each."""
    n = len(train)
    invented = ring(n, 3)
    invented[: n // 10] *= 0.3 / 4  # a tenth of them around the middle of the ring, where no data is
    invented[: n // 10] += 0.2 * torch.randn(n // 10, 2, generator=torch.Generator().manual_seed(4)).double()
    return {
        "none: fresh data": ring(n, 2),
        "mode dropped": ring(n, 3, modes=range(7)),
        "mode invented": invented,
        "data memorised": train.clone(),
        "scale x 1.1": 1.1 * ring(n, 3),
        "variance shrunk": ring(n, 3, std=0.15),
    }


def table(n=N, resamples=RESAMPLES, columns=tuple(COLUMNS), only=None):
    """``{failure: {heading: (times, seen)}}``: value over floor, and whether they differ by more than both errors.

    An unbiased metric is divided by its floor's error. The last column is the chance that a sample is closer to the
    training data than a held-out point, over its fair value 1/2, and whether copies were named. ``only`` names the
    failures to measure; without it, all are.
    """
    train, held_out = ring(n, 0), ring(n, 1)
    rows = {}
    for failure, samples in failures(train).items():
        if only and failure not in only:
            continue
        row = rows[failure] = {}
        for heading in columns:
            m = with_floor(METRICS[COLUMNS[heading]], samples, held_out, train, resamples)
            times = m.value / m.floor_error if COLUMNS[heading] in UNBIASED else m.ratio
            row[heading] = times, m.differs
        copies = memorisation(samples, train, held_out)
        row["closer"] = 2 * copies.closer, len(copies.copies) > 0
    return rows


def markdown(rows):
    """The table as it stands in docs/explanation/metrics.md; what is seen is bold."""
    headings = list(next(iter(rows.values())))
    lines = [["failure", *headings], ["---"] * (len(headings) + 1)]
    for failure, row in rows.items():
        cells = [f"{times:.2f}" if abs(times) < 10 else f"{times:.0f}" for times, _ in row.values()]
        bold = [f"**{cell}**" if seen else cell for cell, (_, seen) in zip(cells, row.values(), strict=True)]
        lines.append([failure, *bold])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(markdown(table()))
