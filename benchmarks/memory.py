"""Peak memory of `pushforward train` on a csv of many rows, beside that of `import torch` alone.

    python benchmarks/memory.py [--rows 20000000] [--steps 300]

The file has seven mixed columns (40 cities, rounded amounts, counts, measurements, days, a flag, scores with gaps) and
about 50 bytes a row, and is written here a million rows at a time; rows in model units take 48 numbers. Peaks are those
of the operating system for a process of its own (ru_maxrss), mapped files included.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

PART = 1_000_000


def write(path, rows):
    g, writer = np.random.default_rng(0), None
    cities = np.array([f"city{i:02d}" for i in range(40)])
    for n in [PART] * (rows // PART) + [rows % PART] * (rows % PART > 0):
        c = g.integers(0, 40, n)
        amount = np.round(np.exp(g.normal(3 + c / 20, 1, n)), 2)
        columns = {
            "city": cities[c],
            "amount": amount,
            "count": g.poisson(3 + c % 5, n),
            "temperature": g.normal(c / 4, 5, n).astype(np.float32),
            "day": (np.datetime64("2020-01-01") + g.integers(0, 1500, n).astype("timedelta64[D]")).astype(str),
            "flag": np.where(g.random(n) < 0.3, "yes", "no"),
            "score": pa.array(np.round(g.normal(0, 3, n) + amount**0.3, 3), mask=g.random(n) < 0.05),
        }
        table = pa.table(columns)
        writer = writer or pyarrow.csv.CSVWriter(path, table.schema)
        writer.write(table)
    writer.close()


def peak(*command):
    """GB at most, and seconds, of a process; one call after the other, because the system keeps the largest."""
    start = time.perf_counter()
    code = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, sys.executable, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"failed: {command}")
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return int(done.stdout.split()[-1]) / unit, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "rows.csv"
        write(path, args.rows)
        torch, _ = peak("-c", "import torch")
        train = ("-m", "pushforward", "train", str(path), "--out", str(Path(folder) / "run"))
        whole, seconds = peak(*train, "--steps", str(args.steps))
        print(f"{args.rows:,} rows, {path.stat().st_size / 2**30:.2f} GB of csv, {args.steps} steps, {seconds:.0f} s")
        print(f"peak {whole:.2f} GB, import torch {torch:.2f} GB, above it {whole - torch:.2f} GB")


if __name__ == "__main__":
    main()
