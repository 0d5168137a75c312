"""The numbers stay as they were while the code around them moves.

The weights and samples of eight small runs, trained and drawn from by the command line, and the samples of every
stepper on one exact oracle, are compared with ``tests/recorded``. Recorded at version 0.1.0; arrays may change only by
a decision that CHANGELOG states.

    python tests/test_unchanged.py --bitwise    compare bit for bit, and print what differs
    python tests/test_unchanged.py --record     write the recordings anew

Where a gradient is zero, Adam turns rounding noise into steps. So the runs are trained in a process of their own, with
the kernels that every x86-64 machine has (`KERNELS`) and the package that the tests imported.
"""

import csv
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import pushforward as pf

RECORDED = Path(__file__).parent / "recorded"
TOLERANCE = 1e-6
KERNELS = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}

# flags of `train`, by the name that a run has in the recordings; run in this order, in the folder of `write_data`
TRAIN = ["--steps", "60", "--warmup", "10", "--device", "cpu"]
SMALL = ["--width", "16", "--depth", "1", "--batch", "64"]
RUNS = {
    "vectors": ["moons", *SMALL],
    "table": ["table.csv", *SMALL],
    "pictures": ["digits", "--net", "unet", "--width", "8", "--depth", "1", "--batch", "8"],
    "optimal_transport": ["moons", "--coupling", "optimal_transport", *SMALL],
    "energy": ["moons", "--field", "energy", *SMALL],
    "joint": ["moons", "--field", "joint", *SMALL],
    "maximum_likelihood": ["points.npy", "--objective", "maximum_likelihood", *SMALL],
    "reflow": ["--reflow", "vectors", *SMALL],
}
SAMPLE = ["-n", "32", "--seed", "0", "--device", "cpu"]
SAMPLES = {"pictures": "npz"}  # ending of the file of samples, where it is not csv

# layers by the name that they had when they were recorded, {"then": "now"}: their weights are the same
LAYERS = {"enter": "proj_in", "leave": "proj_out", "seems": "posterior_proj"}
RENAMED: dict[str, str] = {}  # steppers by the name that they had when they were recorded: {"then": "now"}


def oracle():
    """An exact field, and the eight points that every stepper carries."""
    means = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.2, -1.3]], dtype=torch.float64)
    stds, weights = (torch.tensor(row, dtype=torch.float64) for row in ([0.3, 0.5, 0.2], [0.2, 0.3, 0.5]))
    i = torch.arange(8, dtype=torch.float64)
    points = torch.stack([0.3 * i - 1, 1.2 - 0.2 * (i - 3) ** 2], dim=1)
    return pf.MixtureField(pf.Affine(pf.Cosine()), means, stds, weights), points


def stepped(name):
    """Samples of one stepper, by its name now."""
    field, points = oracle()
    return pf.integrate(field, points, steps=12, stepper=pf.STEPPERS[name](), seed=0).x[-1].numpy()


def write_data():
    """Few points of a parabola; numbers, categories, counts and dates that know of each other, and gaps."""
    x = np.linspace(-2, 2, 100)
    np.save("points.npy", np.stack([x, x**2 / 2], axis=1).astype(np.float32))
    rng = np.random.default_rng(0)
    with Path("table.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["price", "area", "colour", "rooms", "built", "noise"])
        for _ in range(240):
            rooms, shift, days, extra = (int(n) for n in rng.integers([1, -40, 0, -99], [9, 41, 700, 100]))
            built = datetime.date(2020, 1, 1) + datetime.timedelta(days=days)
            area = 20 * rooms + shift / 4
            row = [3 * area + extra / 8, area, ["red", "green", "blue"][min(days // 250, 2)], rooms, built]
            gaps = rng.random(len(row)) < 0.1
            writer.writerow(["" if gap else cell for gap, cell in zip(gaps, row, strict=True)] + [extra / 16])


def read_samples(file):
    """The arrays of a file of samples; the columns of a csv are float32, or text where they are not numbers."""
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return dict(arrays)
    with file.open(newline="") as text:
        head, *rows = csv.reader(text)
    columns = {}
    for name, cells in zip(head, zip(*rows, strict=True), strict=True):
        try:
            columns[name] = np.array([cell or "nan" for cell in cells]).astype(np.float32)
        except ValueError:
            columns[name] = np.array(cells)
    return columns


def train_all(folder):
    """Train and sample every run in this process; {"run/weights/parameter" or "run/samples/column": array}."""
    from pushforward.cli import main

    os.chdir(folder)
    write_data()
    arrays = {}
    for name, flags in RUNS.items():
        samples = Path(f"{name}.{SAMPLES.get(name, 'csv')}")
        main(["train", *flags, *TRAIN, "--out", name])
        main(["sample", name, *SAMPLE, "--out", str(samples)])
        arrays |= {f"{name}/weights/{key}": value for key, value in load_file(Path(name, "model.safetensors")).items()}
        arrays |= {f"{name}/samples/{key}": value for key, value in read_samples(samples).items()}
    return arrays


def computed(what):
    """The arrays of one recording, ``trained`` or ``steppers``, from a process with `KERNELS`."""
    with tempfile.TemporaryDirectory() as folder:
        home = str(Path(pf.__file__).parent.parent)
        environment = {**os.environ, **KERNELS, "PYTHONPATH": home}
        command = [sys.executable, __file__, "--compute", what, folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return load(Path(folder) / "arrays.npz")


def load(file):
    """The arrays of a recording, weights under the names that they have now."""
    with np.load(file) as arrays:
        return {
            re.sub(r"(?<=[/.])\w+(?=\.)", lambda word: LAYERS.get(word[0], word[0]), name): arrays[name]
            for name in arrays
        }


def kernels():
    """What made the numbers, so that one knows whom to ask when they differ."""
    return f"torch {torch.__version__}, numpy {np.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def same(was, now, bitwise=False):
    """Whether an array is what it was: numbers to `TOLERANCE`, absolute and relative, all else exactly."""
    if was.shape != now.shape or was.dtype != now.dtype:
        return False
    if bitwise or was.dtype.kind != "f":
        return was.tobytes() == now.tobytes()
    return np.allclose(now, was, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def differences(was, now, bitwise=False):
    """A line for every array that is missing, new, or other than it was."""
    lines = [f"{name}: {'not there any more' if name in was else 'new'}" for name in sorted(was.keys() ^ now.keys())]
    for name in sorted(was.keys() & now.keys()):
        a, b = was[name], now[name]
        if not same(a, b, bitwise):
            if a.shape != b.shape or a.dtype != b.dtype:
                what = f"was {a.dtype}{list(a.shape)}, is {b.dtype}{list(b.shape)}"
            else:
                what = f"differs in {((a != b) & ((a == a) | (b == b))).sum()} of {a.size} entries"
                what += f", by up to {np.nan_to_num(np.abs(a - b)).max():.2g}" if a.dtype.kind == "f" else ""
            lines.append(f"{name}: {what}")
    return lines


@pytest.mark.slow
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="recorded with kernels of x86-64")
def test_runs_of_the_command_line():
    was, now = load(RECORDED / "trained.npz"), computed("trained")
    made = f"recorded with {was.pop('kernels')}, here {now.pop('kernels')}"
    lines = differences(was, now)
    assert not lines, "\n".join([made, *lines])


def test_steppers():
    was = load(RECORDED / "steppers.npz")
    was.pop("kernels")
    lines = differences(was, {name: stepped(RENAMED.get(name, name)) for name in was})
    assert not lines, "\n".join(lines)


def script(task, *arguments):
    """``--record``, ``--bitwise``, and ``--compute``, which those two call."""
    if task == "--compute":
        what, folder = arguments
        then = {now: then for then, now in RENAMED.items()}
        steppers = {then.get(name, name): name for name in pf.STEPPERS}
        arrays = train_all(folder) if what == "trained" else {key: stepped(name) for key, name in steppers.items()}
        np.savez_compressed(Path(folder) / "arrays.npz", kernels=np.array(kernels()), **arrays)
        return 0
    if task not in ("--record", "--bitwise"):
        raise SystemExit(__doc__)
    differ = []
    for what in ("steppers", "trained"):
        file, now = RECORDED / f"{what}.npz", computed(what)
        if task == "--record":
            RECORDED.mkdir(exist_ok=True)
            np.savez_compressed(file, **now)
            print(f"{file}: {len(now) - 1} arrays, {file.stat().st_size:,} bytes")
        else:
            differ += [f"{what}: {line}" for line in differences(load(file), now, bitwise=True)]
    if task == "--bitwise":
        print("\n".join(differ) or "every bit as recorded")
    return bool(differ)


if __name__ == "__main__":
    raise SystemExit(script(*sys.argv[1:] or ["--help"]))
