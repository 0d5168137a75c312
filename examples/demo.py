"""``make demo``: learn scikit-learn's handwritten digits, make new ones, and say how close they are.

Writes ``runs/demo/``: the run itself, ``samples.png``, ``trajectories.png`` (from noise to digit), ``loss.png``.
"""

import argparse
from pathlib import Path

import torch

import pushforward as pf
from pushforward import plot
from pushforward.cli import progress_bar
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import load as load_data
from pushforward.metrics import sliced_wasserstein
from pushforward.run import history
from pushforward.tensor import generator


def main(out: Path, minutes: float) -> None:
    config = Config(net=NetConfig(width=384, depth=4), train=TrainConfig(batch=128, ema=7.0))
    print(f"training on scikit-learn's digits for {minutes:g} minutes; Ctrl-C stops early and keeps what was learned")
    with progress_bar("train") as show:
        model = pf.train(
            "digits", out, config=config, minutes=minutes, progress=show, warn=lambda text: print(f"note: {text}")
        )
    seen, held_out = load_data("digits").split(config.train.held_out, config.train.seed)

    # what came out, in model units: 1 standard deviation of a pixel
    samples = model.transform.forward(model.sample(len(held_out) * 5, seed=0))
    plot.save(plot.images(samples[:100], columns=10), out / "samples.png")
    x0 = model.field.path.source.sample((6, *model.transform.shape), generator(0, "demo"))
    with torch.no_grad():
        paths = pf.integrate(model.field, x0, steps=40, trajectory=True)
    plot.save(plot.trajectories(paths.x, paths.t), out / "trajectories.png")
    rows = history(out)
    steps = [row["step"] for row in rows]
    curves = {"training": (steps, [r["loss"] for r in rows]), "held out": (steps, [r["held_out"] for r in rows])}
    plot.save(plot.curves(curves, "step", "flow matching loss"), out / "loss.png")

    floor = sliced_wasserstein(seen.x[: len(samples)], held_out.x)
    ours = sliced_wasserstein(samples, held_out.x)
    noise = sliced_wasserstein(torch.randn(samples.shape, generator=generator(1, "demo")), held_out.x)
    print(f"sliced Wasserstein distance to {len(held_out)} held-out digits, in standard deviations of a pixel:")
    print(f"  training digits {floor:.4f}   generated digits {ours:.4f}   noise {noise:.4f}")
    print(f"look at {out}/samples.png, {out}/trajectories.png, {out}/loss.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--minutes", type=float, default=2.0)
    args = parser.parse_args()
    main(args.out, args.minutes)
