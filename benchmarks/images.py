"""Fashion-MNIST: `pushforward train` beside TorchCFM's MNIST recipe, same wall-clock, each on a core of its own.

    pip install torchcfm torchdiffeq; apt-get install dataset-fashion-mnist
    python benchmarks/images.py [--minutes 10] [--train "--size tiny"] [--alone 30]

Theirs: UNetModel with 32 channels and one residual block, class-conditional, Adam at its default rate, batches of 128,
pictures in [-1, 1] (examples/images/conditional_mnist.ipynb of conditional-flow-matching). Ours: the command line with
its defaults, and what --train adds. Both train at the same time, one thread each, pinned to one core each (on a machine
with one core: one after the other). Both are sampled by the same solver, 20 steps of ours, with the same noise.

Judged by a small convolutional network trained here on the 60,000 training pictures: the Frechet distance of its
features between samples and as many test pictures (`training pictures`: what those score in the samples' place), and
the share of samples that it takes for the class they were asked for. --alone MINUTES trains ours on all cores instead.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pushforward as pf
from pushforward.data import read_raw
from pushforward.metrics import frechet_distance
from pushforward.run import history, picture

TEST = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")


class Judge(nn.Module):
    """A classifier of pictures in [0, 1]; its features are the 128 numbers before the last layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU()),
        )
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.body(x))

    @torch.no_grad()
    def features(self, pictures):
        return torch.cat([self.body(part) for part in unit(pictures).split(500)])

    @torch.no_grad()
    def agreement(self, pictures, y):
        found = torch.cat([self(part).argmax(1) for part in unit(pictures).split(500)])
        return float((found == y).double().mean())


def unit(pictures):
    """uint8 arrays [n, 28, 28] as [n, 1, 28, 28] in [0, 1]."""
    return torch.from_numpy(np.asarray(pictures)).float()[:, None] / 255


def judge(pictures, y, epochs, seed=0):
    torch.manual_seed(seed)
    net, x = Judge(), unit(pictures)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return net.eval()


def figures(net, pictures, y, test, name):
    distance = frechet_distance(net.features(pictures), net.features(test))
    print(f"{name:24s} Frechet {distance:8.2f}   label agreement {net.agreement(pictures, y):.3f}", flush=True)
    return distance


class Theirs(nn.Module):
    """TorchCFM's network with the arguments in our order."""

    def __init__(self):
        super().__init__()
        from torchcfm.models.unet import UNetModel

        self.net = UNetModel(dim=(1, 28, 28), num_channels=32, num_res_blocks=1, num_classes=10, class_cond=True)

    def forward(self, x, t, y):
        return self.net(t, x, y)


def train_theirs(minutes, out):
    """TorchCFM's loop, until the time is over; runs in a process of its own."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    torch.set_num_threads(1)
    raw = read_raw("fashion-mnist")
    x, y = unit(raw.rows) * 2 - 1, torch.from_numpy(raw.labels)
    torch.manual_seed(0)
    net, matcher, start, steps = Theirs(), ConditionalFlowMatcher(sigma=0.0), time.monotonic(), 0
    adam = torch.optim.Adam(net.parameters())
    while time.monotonic() - start < 60 * minutes:
        for index in torch.randperm(len(x)).split(128):
            adam.zero_grad()
            t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x[index]), x[index])
            ((net(xt, t, y[index]) - ut) ** 2).mean().backward()
            adam.step()
            steps += 1
            if time.monotonic() - start > 60 * minutes:
                break
    torch.save(net.state_dict(), out)
    Path(f"{out}.json").write_text(json.dumps({"steps": steps, "seconds": time.monotonic() - start}))


def start(command, core):
    """A process with one thread, on one core."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} if core is not None else {}
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    environment = {**os.environ, **threads, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.Popen([sys.executable, *command], env=environment, preexec_fn=pin, stdout=sys.stderr)


def finished(*processes):
    for process in processes:
        if process.wait():
            raise SystemExit(f"failed: {shlex.join(process.args)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--alone", type=float, metavar="MINUTES", help="ours only, on all cores")
    parser.add_argument("--train", default="", help="more flags for pushforward train, in one string")
    parser.add_argument("--guidance", type=float, default=1.0, help="scale of classifier-free guidance of ours")
    parser.add_argument("-n", type=int, default=500, help="samples, as many of each class")
    parser.add_argument("--epochs", type=int, default=3, help="of the judge")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: a temporary one)")
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)  # the process of TorchCFM's loop
    args = parser.parse_args()
    if args.theirs:
        train_theirs(args.minutes, args.theirs)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        minutes, cores = args.alone or args.minutes, sorted(os.sched_getaffinity(0))
        ours = ["-m", "pushforward", "train", "fashion-mnist", "--out", str(folder / "ours"), "--device", "cpu"]
        ours += ["--minutes", str(minutes), *shlex.split(args.train)]
        if args.alone:
            finished(start(ours, None))
        else:
            theirs = [__file__, "--minutes", str(minutes), "--theirs", str(folder / "theirs.pt")]
            if len(cores) > 1:
                finished(start(ours, cores[0]), start(theirs, cores[1]))
            else:
                finished(start(ours, cores[0]))
                finished(start(theirs, cores[0]))
        raw, test = read_raw("fashion-mnist"), read_raw(TEST)
        net = judge(raw.rows, torch.from_numpy(raw.labels), args.epochs)
        print(f"judge: right on {net.agreement(test.rows, torch.from_numpy(test.labels.astype(np.int64))):.1%} of test")
        some = np.random.default_rng(0)
        pick = np.concatenate([some.choice(np.flatnonzero(raw.labels == c), args.n // 10, False) for c in range(10)])
        from_test = test.rows[some.choice(len(test.rows), args.n, False)]
        figures(net, raw.rows[pick], torch.from_numpy(raw.labels[pick]), from_test, "training pictures")
        y = torch.arange(10).repeat_interleave(args.n // 10)
        model = pf.load(folder / "ours")
        samples = model.sample(args.n, y=y.tolist(), steps=20, guidance=args.guidance if args.guidance != 1 else None)
        mine = figures(net, samples, y, from_test, f"pushforward, {minutes:g} min")
        told = [row for row in history(folder / "ours") if "step" in row][-1]
        speed = told["step"] * model.run.config.train.batch / told["seconds"]
        print(f"pushforward {told['step']} steps, {speed:.1f} images/s, {told['seconds']:.0f} s")
        picture(samples[:: args.n // 100], model.transform, folder / "ours.png", columns=10)
        if args.alone:
            return
        net_theirs = Theirs()
        net_theirs.load_state_dict(torch.load(folder / "theirs.pt", weights_only=True))
        field = pf.Learned(net_theirs.eval(), pf.Affine())
        x = pf.generate(field, args.n, (1, 28, 28), steps=20, y=y)[:, 0]
        pictures = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        other = figures(net, pictures, y, from_test, f"TorchCFM, {minutes:g} min")
        done = json.loads((folder / "theirs.pt.json").read_text())
        rate = done["steps"] * 128 / done["seconds"]
        print(f"TorchCFM {done['steps']} steps, {rate:.1f} images/s, {done['seconds']:.0f} s")
        print(f"ours / TorchCFM: Frechet {mine / other:.3f}, images per second {speed / rate:.2f}")


if __name__ == "__main__":
    main()
