"""The empirical oracle at scale, against the two matrix products it cannot avoid: time, memory and accuracy in one run.

    python benchmarks/oracle.py

60,000 points in 784 dimensions, 256 queries: ``E[x_1 | x_t = x]`` of the Gaussian path. The yardstick is ``(x z^T) z``
done in blocks of 4,096 rows of the data. Also: a hand-written streaming softmax, peak memory beyond the data (each in a
process of its own), and the largest relative error of a row against the naive formula in float64.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import pushforward as pf

M, D, N, BLOCK = 60_000, 784, 256, 4096


def problem():
    """Image-like data: a low-dimensional part and pixel noise, standardised; queries on the path at t."""
    g = torch.Generator().manual_seed(0)
    basis = torch.randn(40, D, generator=g)
    data = torch.empty(M, D)
    for block in data.split(BLOCK):  # no temporary of the data's size, so that peak memory is the method's
        torch.randn(block.shape, generator=g, out=block)
        block.mul_(0.1).addmm_(torch.randn(len(block), 40, generator=g), basis, alpha=0.155)
    return data, g


def queries(data, t, g):
    return t * data[torch.randint(M, (N,), generator=g)] + (1 - t) * torch.randn(N, D, generator=g)


def two_products(data, x, t):
    out = torch.zeros_like(x)
    for block in data.split(BLOCK):
        out += (x @ block.T) @ block
    return out


def streaming(data, x, t):
    a, b = t, 1 - t
    top, total, out = torch.full((N, 1), -torch.inf), torch.zeros(N, 1), torch.zeros_like(x)
    for block in data.split(BLOCK):
        logits = (a / b**2) * (x @ block.T) - a**2 / (2 * b**2) * block.square().sum(1)
        new = torch.maximum(top, logits.amax(1, keepdim=True))
        weights, shrink = (logits - new).exp(), (top - new).exp()
        total, out, top = total * shrink + weights.sum(1, keepdim=True), out * shrink + weights @ block, new
    return out / total


FIELDS = {}


def ours(data, x, t):
    # the field is made once for a data set, the questions come many times
    if id(data) not in FIELDS:
        FIELDS[id(data)] = pf.EmpiricalField(pf.Affine(), data)
    return FIELDS[id(data)].data(x, t)


def naive(data, x, t):
    data, x = data.double(), x.double()
    return torch.stack([torch.softmax(-(q - t * data).square().sum(1) / (2 * (1 - t) ** 2), 0) @ data for q in x])


def memory(what):
    """Megabytes of this process from /proc: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def peak(name):
    """Megabytes that a method takes beyond the data, in a process of its own."""
    data, g = problem()
    x = queries(data, 0.5, g)
    globals()[name](data[:BLOCK], x, 0.5)  # imports and the libraries' own buffers are not the method's
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    globals()[name](data, x, 0.5)
    print(memory("VmHWM") - before)


def main():
    data, g = problem()
    methods = (two_products, ours, streaming)
    x = queries(data, 0.5, g)
    times = {f.__name__: [] for f in methods}
    for repeat in range(6):
        for f in methods:
            start = time.perf_counter()
            f(data, x, 0.5)
            if repeat:
                times[f.__name__].append(time.perf_counter() - start)
    print(f"{'method':14s} {'seconds':>8s} {'speed against two products (median, min, max)':>46s}")
    for name, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(times["two_products"], seconds, strict=True))
        middle = statistics.median(ratios)
        print(f"{name:14s} {statistics.median(seconds):8.2f} {middle:20.2f} {ratios[0]:10.2f} {ratios[-1]:10.2f}")
    size = data.numel() * data.element_size() / 2**20
    for name in ("two_products", "ours"):
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        extra = float(done.stdout)
        print(
            f"peak memory of {name}: {extra:.0f} MB beyond the data's {size:.0f} MB, {1 + extra / size:.2f} x the data"
        )
    for t in (0.02, 0.1, 0.2, 0.3, 0.5, 0.9):
        x = queries(data, t, g)
        exact = naive(data, x[:32], t)
        error = (ours(data, x[:32], t) - exact).norm(dim=1) / exact.norm(dim=1)
        print(f"t = {t}: largest relative error of a row in float32 {float(error.max()):.1e}")


if __name__ == "__main__":
    peak(sys.argv[1]) if len(sys.argv) > 1 else main()
