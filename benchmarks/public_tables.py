"""The public benchmark of synthetic tables: adult, shoppers and magic, by the judge whose figures are published.

    pip install -e ".[bench]"
    python benchmarks/public_tables.py FOLDER --minutes 10 --json public_tables.json

FOLDER holds adult.csv (UCI's adult.data, 32,561 rows), shoppers.csv (Online Shoppers Purchasing Intention, 12,330 rows)
and magic.csv (MAGIC Gamma Telescope, 19,020 rows), each with a line of names. Ours is the command line with its
defaults, in processes of its own: `pushforward train train.csv --out run --minutes M`, then `pushforward sample` of as
many rows as there are for training. Two figures, each of a training of its own:

- auc: XGBoost tells synthetic rows from the rows of training; 0.5 is chance, lower is better. Training rows are all of
  adult, whose published test set is another file, and 90 % of the others. Three stratified, shuffled folds of all
  training and synthetic rows; numbers (codes too) and booleans as they are, text one-hot by the categories of training;
  RobustScaler; XGBClassifier with its defaults. The figure is the mean of max(0.5, AUC) over the folds; SDMetrics'
  score, which is published, is 2 (1 - figure). Copies of training rows have folds far below 0.5.
- share: of the synthetic rows, how many have their nearest record among the rows of training, and not among as many
  held-out ones: 0.5 for fresh rows, 1 for copies. Half of the rows train. The distance is the sum of the absolute
  differences of numbers, over their range in training, and of 2 for each category that differs (as one-hot codes do;
  text, booleans, codes, the class). A row as near to one as to the other counts as held-out.

Rows are permuted by the seed 1234, or the first after it that shows training each category; numbers are rounded to
float32. The row `real` has a third of the real rows in the samples' place, the others for training and held-out: that
is chance. `--samples FILE` judges another method, trained on a train.csv of `--keep NEW_FOLDER --minutes 0`.

Published: means of five trainings, from the results of Scassola et al. (2026), A Sobering Look at Tabular Data
Generation via Probabilistic Circuits, arXiv:2603.23016 (github.com/april-tools/tabpc, article_material/our_results).
Splits and distances are those of TabDiff (Shi et al. 2025) and TabSyn (Zhang et al. 2024), the folds SDMetrics 0.24's.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler
from tables import OURS, run
from xgboost import XGBClassifier

CODES = ["OperatingSystems", "Browser", "Region", "TrafficType", "Weekend", "Revenue"]
TABLES = {  # rows, columns, share of the rows that train for the AUC, categories that are no text
    "adult": (32_561, 15, 1.0, []),
    "shoppers": (12_330, 18, 0.9, CODES),
    "magic": (19_020, 11, 0.9, []),
}
FIGURES = ("auc", "share")
SEED = 1234  # of the published split
PUBLISHED = {  # of each table, in their order: SDMetrics' score of XGBoost; share nearer to training
    "TabPC": ((0.8554, 0.8936, 0.8602), (0.5431, 0.5128, 0.5295)),
    "TabDiff": ((0.8409, 0.7361, 0.7732), (0.5488, 0.5120, 0.5011)),
    "TabSyn": ((0.7942, 0.6554, 0.7602), (0.5069, 0.5069, 0.5045)),
    "shallow mixture": ((0.7727, 0.2901, 0.6258), (0.5498, 0.5091, 0.5348)),
    "STaSy": ((0.3425, 0.2277, 0.5221), (0.5020, 0.4866, 0.5103)),
    "GReaT": ((math.nan, 0.2924, 0.2702), (0.5194, 0.4934, 0.5131)),
    "CoDi": ((0.0000, 0.0002, 0.4201), (0.5021, 0.5057, 0.5180)),
    "TVAE": ((0.0000, 0.0000, 0.2981), (0.5027, 0.4780, 0.4958)),
    "CTGAN": ((0.0000, 0.0000, 0.1034), (0.4838, 0.4934, 0.4972)),
    "independent columns": ((0.0160, 0.0211, 0.0052), (0.5034, 0.5021, 0.4876)),
}


def table(path, columns):
    """What a file holds, if these columns are among it."""
    try:
        frame = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as fault:
        sys.exit(f"{path}: cannot be read as a table ({getattr(fault, 'strerror', fault)})")
    if missing := [name for name in columns if name not in frame]:
        sys.exit(f"{path}: has no column {', '.join(missing)}")
    return frame


def load(folder, name):
    rows, columns, _, codes = TABLES[name]
    frame = table(path := folder / f"{name}.csv", codes)
    if frame.shape != (rows, columns):
        found = f"{len(frame):,} rows and {frame.shape[1]} columns"
        sys.exit(f"{path}: {found}, where the published table has {rows:,} and {columns}")
    # the decimals that tell a float32 apart: what the published files hold
    floats = frame.select_dtypes("float")
    return frame.assign(**floats.astype(np.float32).astype(str).astype(float))


def words(frame):
    return list(frame.select_dtypes(exclude=["number", "bool"]))


def split(frame, name, figure):
    """Rows of training, and the others."""
    share = TABLES[name][2] if figure == "auc" else 0.5
    n, categories = int(len(frame) * share), [*words(frame), *TABLES[name][3]]
    for seed in itertools.count(SEED):
        order = np.random.RandomState(seed).permutation(len(frame))
        train = frame.iloc[order[:n]]
        if (train[categories].nunique() == frame[categories].nunique()).all():
            return train, frame.iloc[order[n:]]


def numeric(frame, like):
    """Everything but the text of `like` as numbers."""
    text = words(like)
    return frame[list(like)].astype({n: str if n in text else float for n in like})


def read(path, like):
    """Rows of a method, in the columns of the real ones."""
    try:
        frame = numeric(table(path, like), like)
    except ValueError as fault:
        sys.exit(f"{path}: has text where the real rows have numbers ({fault})")
    if not np.isfinite(frame.drop(columns=words(like))).all(axis=None):
        sys.exit(f"{path}: has numbers that are not finite")
    return frame


def folds(samples, train, args):
    """AUC of XGBoost in each of three folds; both tables are `numeric`."""
    text, labels = words(train), np.repeat([1, 0], [len(train), len(samples)])
    code = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[text])
    rows = np.vstack([np.hstack([f.drop(columns=text), code.transform(f[text])]) for f in (train, samples)])
    judge = make_pipeline(RobustScaler(), XGBClassifier(eval_metric="logloss", random_state=0, n_jobs=args.threads))
    three = StratifiedKFold(3, shuffle=True, random_state=args.seed)
    return cross_val_score(judge, rows, labels, cv=three, scoring="roc_auc")


def nearest(rows, records):
    """L1 distance of each row to the closest record, but for a constant; both are pairs of numbers and codes."""
    (x, a), (y, b) = rows, records
    blocks = zip(x.split(512), a.split(512), strict=True)
    # one-hot codes are 2 apart where they differ, so less their product twice
    return torch.cat([(torch.cdist(p, y, p=1) - 2 * q @ b.T).amin(1) for p, q in blocks])


def nearer(samples, train, held_out, codes):
    """Share of samples closer to training than to held-out rows; all tables are `numeric`."""
    categories = [*words(train), *codes]
    numbers = train.drop(columns=categories)
    reach = numbers.max() - numbers.min()
    code = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(pd.concat([train, held_out])[categories])
    x, near, far = (
        (torch.tensor((f[list(numbers)] / reach).to_numpy()), torch.tensor(code.transform(f[categories])))
        for f in (samples, train, held_out)
    )
    return round(float((nearest(x, near) < nearest(x, far)).double().mean()), 4)


def judge(figure, name, samples, train, others, args):
    """One figure of samples, in a dict with what it is made of."""
    train, others = numeric(train, train), numeric(others, train)
    if figure == "share":
        return {"share": nearer(samples, train, others, TABLES[name][3])}
    each = folds(samples, train, args)
    return {"auc": round(float(np.maximum(each, 0.5).mean()), 4), "folds": each.round(4).tolist()}


def real(name, frame, args):
    thirds = np.array_split(np.random.RandomState(SEED).permutation(len(frame)), 3)
    train, others, samples = (numeric(frame.iloc[third], frame) for third in thirds)
    return {k: v for figure in args.figures for k, v in judge(figure, name, samples, train, others, args).items()}


def ours(name, figure, train, others, args):
    """Train, sample, and judge what came out."""
    how = {"seconds": 60 * args.minutes, "reserve": 0, "rows": len(train), "threads": args.threads}
    flags = {k: f"--seed {args.seed} {getattr(args, k)}" for k in ("train", "sample")}
    seconds, path = run(OURS, None, args.keep / f"{name}-{figure}", train, {}, argparse.Namespace(**how, **flags))
    return {**judge(figure, name, read(path, train), train, others, args), f"{figure}_seconds": round(seconds)}


def show(tables, figures, measured):
    """Ours beside every published figure, a method to a line."""
    print("\n" + " " * 22 + "".join(f"{figure:>10s}{' ' * 10 * (len(tables) - 1)}" for figure in figures))
    print(" " * 22 + "".join(f"{name:>10s}" for _ in figures for name in tables))
    known = {
        method: {name: {"auc": 1 - score[i] / 2, "share": share[i]} for i, name in enumerate(TABLES)}
        for method, (score, share) in PUBLISHED.items()
    }
    for method, cells in {**measured, **known}.items():
        values = [cells.get(name, {}).get(figure, math.nan) for figure in figures for name in tables]
        print(f"{method:22s}" + "".join(f"{'-' if math.isnan(v) else f'{v:.3f}':>10s}" for v in values))


def measure(args, frames):
    measured = {"real": {name: real(name, frame, args) for name, frame in frames.items()}, args.method: {}}
    for name, figure in itertools.product(frames, args.figures):
        train, others = split(frames[name], name, figure)
        try:
            if args.samples:
                found = judge(figure, name, read(args.samples, train), train, others, args)
            else:
                found = ours(name, figure, train, others, args)
        except subprocess.CalledProcessError as failure:
            found = {f"{figure}_exit_code": failure.returncode}
        print(f"{name}, {len(train):,} rows: {found}", flush=True)
        measured[args.method].setdefault(name, {}).update(found)
        if args.json:
            args.json.write_text(json.dumps({"minutes": args.minutes, "threads": args.threads, **measured}, indent=1))
    show(list(frames), args.figures, measured)


def write(args, frames):
    """The rows of every split, for other methods."""
    for name, figure in itertools.product(frames, args.figures):
        folder = args.keep / f"{name}-{figure}"
        folder.mkdir(parents=True)
        for part, rows in zip(("train", "held_out"), split(frames[name], name, figure), strict=True):
            rows.to_csv(folder / f"{part}.csv", index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with adult.csv, shoppers.csv and magic.csv")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES), help="each trains for itself")
    parser.add_argument("--minutes", type=float, default=10, help="of each training; 0: only write the rows to --keep")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of training, sampling and the folds")
    parser.add_argument("--train", default="", help="more flags for pushforward train, in one string")
    parser.add_argument("--sample", default="", help="more flags for pushforward sample")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="judge these rows; one of --tables and --figures")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where rows, runs and samples stay; a new folder")
    parser.add_argument("--json", type=Path, help="what was measured, written after each")
    args = parser.parse_args()
    if args.samples and len(args.tables) * len(args.figures) > 1:
        parser.error("--samples: say of which table and for which figure, --tables adult --figures auc")
    if not args.minutes and not args.keep:
        parser.error("--minutes 0: say where the rows go, --keep NEW_FOLDER")
    if args.keep and args.keep.exists():
        parser.error(f"--keep {args.keep}: is there already; name a new folder")
    args.method = args.samples.name if args.samples else OURS
    torch.set_num_threads(args.threads)
    frames = {name: load(args.folder, name) for name in args.tables}
    if not args.minutes:
        return write(args, frames)
    with tempfile.TemporaryDirectory() as folder:
        args.keep = args.keep or Path(folder)
        measure(args, frames)


if __name__ == "__main__":
    main()
