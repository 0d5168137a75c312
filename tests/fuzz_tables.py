"""Random tables of every kind of column through the front door: ``fuzz_tables.py COUNT SEED``.

Each is written, read, fitted, taken there and back, trained on for three steps, sampled from, read back and scored, in
the world of `fuzz`: it passes, or is refused in one sentence. Anything else is a fault, and listed.
"""

import random
import string
import sys
import tempfile
import traceback
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import load, read_like, save
from pushforward.data.encoders.identifier import Identifier
from pushforward.data.encoders.mixed import Mixed
from pushforward.errors import InputError

CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
ROWS = (1, 2, 3, 5, 12, 40, 150, 400, 2000)
COLUMNS = (1, 1, 2, 3, 5, 9, 30, 500)
LETTERS = string.ascii_letters + "äß人 ,;\t|\"'#%_-.\n"
NAMES = (
    "a",
    "id",
    "x0",
    "größe",
    "a b",
    "",
    "1",
    "NA",
    "select",
    "a,b",
    'q"q',
    "[bold]",
    "x" * 90,
    "人",
    "true",
    "\\n",
)


REFUSED: list[str] = []  # what was said


def text(rng, low=0, high=12):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))


def scaled(rng, n):
    """Floats of a scale from 1e-30 to 1e30."""
    size, where = 10.0 ** rng.uniform(-30, 30), rng.choice([0.0, 0.0, 1.0, 1e3])
    return [size * (rng.gauss(0, 1) + where) for _ in range(n)]


def words(rng, n):
    some = [text(rng, 1, 9) for _ in range(rng.choice([1, 2, 5, 70]))]
    return [rng.choice(some) for _ in range(n)]


def numbers_and_words(rng, n):
    some = [rng.choice(["T", "<0.1", "n/a (x)", "-", "unknown", text(rng, 1, 5)]) for _ in range(3)]
    return [
        rng.choice(some) if rng.random() < 0.2 else f"{rng.gauss(0, 50):.{rng.choice([0, 1, 2])}f}" for _ in range(n)
    ]


def whole(rng, n):
    low, high = rng.choice([(0, 1), (0, 5), (-100, 100), (0, 10**6), (-(2**62), 2**62), (2**53, 2**53 + 9)])
    return [rng.randint(low, high) for _ in range(n)]


def days(rng, n):
    begin = date(rng.choice([1, 1700, 1970, 2020, 9000]), 1, 1)
    return [begin + timedelta(days=rng.randint(0, rng.choice([1, 400, 200_000]))) for _ in range(n)]


KINDS = {
    "floats": scaled,
    "rounded": lambda rng, n: [round(rng.expovariate(0.01), rng.choice([0, 1, 2, 3])) for _ in range(n)],
    "spikes": lambda rng, n: [rng.choice([0.0, 0.0, rng.gauss(0, 1)]) for _ in range(n)],
    "whole": whole,
    "small": lambda rng, n: pa.array([rng.randint(0, 200) for _ in range(n)], pa.uint8()),
    "booleans": lambda rng, n: [rng.random() < 0.3 for _ in range(n)],
    "words": words,
    "texts": lambda rng, n: [text(rng, 0, 40) for _ in range(n)],
    "ids": lambda rng, n: [f"{text(rng, 1, 2)}-{i:05d}" for i in range(n)],
    "keys": lambda rng, n: rng.sample(range(10 * n + 9), n),
    "rows": lambda rng, n: list(range(n)),
    "mixed": numbers_and_words,
    "days": days,
    "times": lambda rng, n: [datetime(2020, 1, 1) + timedelta(seconds=rng.randint(0, 10**8)) for _ in range(n)],
    "zoned": lambda rng, n: pa.array(
        [datetime(2020, 1, 1) + timedelta(hours=rng.randint(0, 10**5)) for _ in range(n)],
        pa.timestamp("us", "Europe/Berlin"),
    ),
    "waits": lambda rng, n: [timedelta(minutes=rng.randint(-99, 10**4)) for _ in range(n)],
    "money": lambda rng, n: [Decimal(rng.randint(-(10**6), 10**6)).scaleb(-2) for _ in range(n)],
    "constant": lambda rng, n: [rng.choice([7, "x", 0.5, date(2020, 1, 1)])] * n,
    "nothing": lambda rng, n: pa.nulls(n, rng.choice([pa.float64(), pa.string(), pa.null()])),
    "dictionary": lambda rng, n: pa.array(words(rng, n)).dictionary_encode(),
}


def table(rng):
    """A random table."""
    n, width = rng.choice(ROWS), rng.choice(COLUMNS)
    n = min(n, 12) if width > 30 else n
    columns, names = [], []
    for i in range(width):
        cells = KINDS[rng.choice([*KINDS])](rng, n)
        cells = cells if isinstance(cells, pa.Array) else pa.array(cells)
        if rng.random() < 0.3 and not pa.types.is_null(cells.type):
            share = rng.choice([0.01, 0.3, 0.95])
            cells = cells.take(pa.array(np.arange(n), mask=np.array([rng.random() < share for _ in range(n)], bool)))
        name = rng.choice([*NAMES, f"c{i}"])
        names.append(name if name not in names or rng.random() < 0.02 else f"c{i}")
        columns.append(cells)
    if rng.random() < 0.5 and len(set(names)) == len(names):
        for i, cells in enumerate(ruled(rng, n, columns)):
            names.append(f"r{i}")
            columns.append(cells)
    return pa.table(columns, names=names)


def ruled(rng, n, columns):
    """Columns that others say: sums, products, later dates, what a word determines, the same gaps."""
    numbers = [c for c in columns if pa.types.is_floating(c.type) or pa.types.is_int64(c.type)]
    if len(numbers) > 1:
        a, b = (np.array([0 if v is None else v for v in c.to_pylist()], float) for c in rng.sample(numbers, 2))
        gaps = np.array([c is None for c in numbers[0].to_pylist()], bool)
        digits = rng.choice([0, 1, 2, 8])
        for made in (a + b, 100 - a - b, a * b, a + abs(b)):
            if rng.random() < 0.3 and np.isfinite(made).all():
                yield pa.array(np.round(made, digits) if rng.random() < 0.5 else made, mask=gaps & (rng.random() < 0.5))
    for cells in numbers:
        if rng.random() < 0.2 and n > 2:
            values = [0 if v is None else v for v in cells.to_pylist()]
            ends = sorted(rng.sample(values, 2))
            yield pa.array([(v > ends[0]) + (v > ends[1]) for v in values])
    for cells, other in pairwise(columns):
        if rng.random() < 0.2 and pa.types.is_string(cells.type):
            pairs = list(zip(cells.to_pylist(), map(str, other.to_pylist()), strict=True))
            some = {pair: rng.choice("uvw") for pair in pairs}
            yield pa.array([some[pair] for pair in pairs])
            near = {value: rng.sample("abcdefgh", 3) for value, _ in pairs}
            yield pa.array([rng.choice(near[value]) for value, _ in pairs])
    for cells in columns:
        if rng.random() < 0.2 and (pa.types.is_string(cells.type) or pa.types.is_date32(cells.type)):
            some = {value: rng.choice("uvw") for value in cells.to_pylist()}
            yield pa.array([some[value] for value in cells.to_pylist()])
        if rng.random() < 0.2 and pa.types.is_date32(cells.type):
            last = date(9999, 12, 31)
            waits = [timedelta(days=rng.randint(0, 30)) for _ in range(n)]
            yield pa.array(
                [None if d is None else d + min(w, last - d) for d, w in zip(cells.to_pylist(), waits, strict=True)]
            )


def said(rng, rows):
    """Rules as a user says them, of columns that they may fit or not."""
    names = [f"`{name}`" for name in rows.column_names if name and "`" not in name]
    if len(names) < 3 or rng.random() < 0.7:
        return []
    a, b, c = rng.sample(names, 3)
    return [rng.choice([f"unique({a})", f"unique({a}, {b})", f"together({a}, {b})", f"{c} by {a}, {b}", f"{a} by {b}"])]


def repeats(table, rules):
    """What of the rules on rows together a table breaks."""
    for rule in rules.unique:
        rows = [row for row in rule.combinations(table) if row is not None]
        if len(set(rows)) < len(rows):
            return rule.name
    return ""


def same(before, after, column):
    """Whether cells are equal, floats to a ten thousandth of their range, what notes say of float32 apart."""
    a, b = before.combine_chunks(), after.combine_chunks()
    if isinstance(column, Mixed):
        (a, first), (b, second) = column.apart(a), column.apart(b)
        if first != second:
            return False
    if a.type != b.type or a.is_null().to_pylist() != b.is_null().to_pylist():
        nan = pa.types.is_floating(a.type) and np.array_equal(
            np.asarray(a.is_null(nan_is_null=True)), np.asarray(b.is_null())
        )
        if a.type != b.type or not nan:
            return False
    if pa.types.is_floating(a.type):
        x, y = (np.asarray(v.drop_null(), np.float64) for v in (a, b))
        x = x[np.isfinite(x)]
        return len(x) == len(y) and bool(np.allclose(x, y, rtol=1e-5, atol=1e-4 * (np.ptp(x) if len(x) else 0.0)))
    if pa.types.is_decimal(a.type):
        return True  # through float64
    return bool(a == b) or "float32" in column.note


def through(rng, folder):
    """Take a random table through everything; what is wrong, or nothing."""
    rows = table(rng)
    path = folder / rng.choice(["t.csv", "t.tsv", "t.parquet"])
    try:
        save(rows, path)
        schema = {"rules": said(rng, rows)}
        data = load(path, schema)
        raw = read_like(path, data.transform).rows
        moved = data.transform.dequantize(data.x[:], torch.rand(data.x.shape))
        for x in (data.x[:], moved):
            back = data.transform.inverse(x)
            for column in data.transform.columns:
                fresh = isinstance(getattr(column, "inner", column), Identifier)
                if not fresh and not same(raw[column.name], back[column.name], column):
                    return f"{column.name!r} comes back changed, {column.form()}"
        model = pf.train(path, folder / "run", config=CONFIG, steps=3, report_every=100, schema=schema)
        made = model.sample(7, steps=1)
        save(made, out := folder / f"s{path.suffix}")
        again = read_like(out, model.transform, None).rows
        if not model.transform.possible(made).all():
            return "samples break a rule: " + "; ".join(rule.name for rule in model.transform.rules.kept)
        if broken := repeats(made, model.transform.rules):
            return f"samples break {broken}"
        found = model.log_likelihood(again, steps=1).log_prob
        return "" if len(found) == 7 else f"{len(found)} of 7 rows were scored"
    except InputError as error:
        REFUSED.append(str(error).replace(str(folder), ""))
        return "" if "\n" not in str(error) and str(error) else f"refused in several lines: {error}"
    except Exception:
        return traceback.format_exc()


def faults(count, seed, root):
    """The faults of so many tables, each by its own seed."""
    found = []
    pf.run.callbacks.preview = lambda *_: None
    for i in range(count):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            if wrong := through(random.Random(f"{seed} {i}"), Path(folder)):
                found.append(f"seed {seed} table {i}: {wrong}")
    return found


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    told = faults(int(sys.argv[1]), sys.argv[2], None)
    print(*sorted(REFUSED), f"{len(REFUSED)} refused", sep="\n")
    print(*told, f"{len(told)} faults of {sys.argv[1]} tables", sep="\n\n")
    raise SystemExit(bool(told))
