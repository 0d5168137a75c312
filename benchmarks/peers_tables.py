"""The peers of tables.py: one method, one training table, one deadline. Runs in the peer's own environment.

    PYTHON benchmarks/peers_tables.py ctgan train.csv kinds.json synthetic.csv --rows 10000 --until UNIX_TIME

Each has its package's default settings but for the end of training, which is when the time is up: training stops so
that sampling and writing fit into what is left. Where a package does not take dates, gaps or whole numbers, it gets
what SDV gives to its synthesizers: dates as numbers, gaps as the mean and one more column that says where they were,
values rounded to the decimals of the data and clipped to its range.

- mostlyai: TabularARGN as it comes (rare values protected, any order of columns).
- mostlyai_plain: the same without protection and with one order of columns, both of which cost fidelity.
- forest: ForestDiffusion, flow matching. Its 50 times with 100 trees a dimension on 100 noises a row would take days on
  tables of this size. Trees stay; times are 20, fewer if those on 500 rows took 0.4 of the time; rows, or noises a row,
  are as many as the time allows. All by measuring a tenth of the trees at two times, on 500 and on 2,500 rows.
- ctgan, tvae: at most their default of 300 epochs.
- copula: Gaussian; each column the best of the package's parametric families (kernel densities take minutes a column,
  and fit worse when thinned), categories by SDV's uniform encoding.
"""

import argparse
import functools
import itertools
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd


class Clock:
    """How many seconds are left, less those needed after training."""

    def __init__(self, until, reserve):
        self.end = until - reserve

    def left(self):
        return max(self.end - time.time(), 1.0)


class Plain:
    """A table of numbers without gaps and text, and the way back."""

    def __init__(self, frame, kinds):
        self.kinds, self.range, self.gaps = kinds, {}, {}
        self.columns, self.categorical = {}, []
        for name, kind in kinds.items():
            column = frame[name]
            if kind == "categorical":
                self.columns[name] = column.astype(object).where(column.notna(), "<gap>").astype(str)
                self.categorical.append(name)
                continue
            if kind == "datetime":
                column = (pd.to_datetime(column) - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
            self.range[name] = column.min(), column.max()
            if column.isna().any():
                self.gaps[name] = f"{name} is missing"
                self.columns[self.gaps[name]] = column.isna().map({True: "yes", False: "no"})
                self.categorical.append(self.gaps[name])
            self.columns[name] = column.fillna(column.mean()).astype(float)
        self.frame = pd.DataFrame(self.columns)

    def back(self, frame):
        out = {}
        for name, kind in self.kinds.items():
            if kind == "categorical":
                out[name] = frame[name].where(frame[name] != "<gap>", None)
                continue
            column = frame[name].astype(float).clip(*self.range[name])
            column = column.round(0 if kind == "datetime" else kind)
            if name in self.gaps:
                column = column.where(frame[self.gaps[name]] != "yes")
            out[name] = pd.to_datetime(column, unit="s") if kind == "datetime" else column
        return pd.DataFrame(out)


def mostlyai(frame, kinds, rows, clock, seed, plain=False):
    from mostlyai import engine

    engine.set_random_state(seed)
    dates = {name: pd.to_datetime(frame[name]) for name, kind in kinds.items() if kind == "datetime"}
    with tempfile.TemporaryDirectory() as folder:
        engine.split(frame.assign(**dates), workspace_dir=folder)
        engine.analyze(value_protection=not plain, workspace_dir=folder)
        engine.encode(workspace_dir=folder)
        engine.train(
            max_training_time=clock.left() / 60,
            enable_flexible_generation=not plain,
            device="cpu",
            workspace_dir=folder,
        )
        engine.generate(sample_size=rows, device="cpu", workspace_dir=folder)
        return pd.read_parquet(Path(folder) / "SyntheticData")[list(frame.columns)]


def gan(frame, kinds, rows, clock, seed, name):
    """CTGAN and TVAE go through their epochs with tqdm, which is where the time ends them."""
    import ctgan

    module = getattr(ctgan.synthesizers, name.lower())
    module.tqdm = lambda epochs, disable: itertools.takewhile(lambda _: clock.left() > 1, epochs)
    table = Plain(frame, kinds)
    model = getattr(ctgan, name)(enable_gpu=False)
    model.set_random_state(seed)
    model.fit(table.frame, table.categorical)
    return table.back(model.sample(rows))


def copula(frame, kinds, rows, clock, seed):
    from copulas.multivariate import GaussianMultivariate
    from copulas.univariate import ParametricType, UniformUnivariate, Univariate
    from rdt.transformers import UniformEncoder

    table = Plain(frame, kinds)
    numbers, encoders = table.frame.copy(), {}
    np.random.seed(seed)
    for name in table.categorical:
        encoders[name] = UniformEncoder()
        numbers[name] = encoders[name].fit_transform(table.frame[[name]], name)[name]
    laws = {
        name: UniformUnivariate()
        if name in encoders
        else Univariate(parametric=ParametricType.PARAMETRIC, selection_sample_size=2000)
        for name in numbers
    }
    model = GaussianMultivariate(distribution=laws, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # families that do not fit are tried, too
        model.fit(numbers)
    samples = model.sample(rows)
    for name, encoder in encoders.items():
        samples[name] = encoder.reverse_transform(samples[[name]].clip(0, 1))[name]
    return table.back(samples)


def forest(frame, kinds, rows, clock, seed, times=20, trees=100):
    from ForestDiffusion import ForestDiffusionModel

    table = Plain(frame, kinds)
    codes = {name: pd.factorize(table.frame[name], sort=True) for name in table.categorical}
    numbers = table.frame.assign(**{name: c[0] for name, c in codes.items()}).to_numpy(float)
    where = list(table.frame.columns)
    whole = [n for n, kind in kinds.items() if kind == 0]
    random = np.random.default_rng(seed)

    def fit(n, n_t, n_estimators, duplicate_K=1):
        start = time.time()
        model = ForestDiffusionModel(
            numbers if n == len(numbers) else random.permutation(numbers)[:n],
            n_t=n_t,
            n_estimators=n_estimators,
            duplicate_K=duplicate_K,
            bin_indexes=[where.index(n) for n in codes if len(codes[n][1]) <= 2],
            cat_indexes=[where.index(n) for n in codes if len(codes[n][1]) > 2],
            int_indexes=[where.index(n) for n in whole],
            true_min_max_values=[numbers.min(0, keepdims=True), numbers.max(0, keepdims=True)],
            n_jobs=2,
            nthread=1,
            seed=seed,
        )
        return model, time.time() - start

    fit(500, 2, 1)  # starts the workers
    few, many = (fit(n, 2, trees // 10)[1] * 10 / 2 for n in (500, 2500))  # seconds for one time
    times = int(np.clip(0.4 * clock.left() / few, 5, times))
    enough = 500 + (0.8 * clock.left() / times - few) * 2000 / max(many - few, 1e-3)
    n = int(np.clip(enough, 200, len(numbers)))
    noises = int(np.clip(enough // len(numbers), 1, 100))
    print(f"forest: {times} times, {n} rows of {len(numbers)}, {noises} noises a row")
    model, _ = fit(n, times, trees, noises)
    samples = pd.DataFrame(model.generate(batch_size=rows), columns=where)
    for name, (_, names) in codes.items():
        samples[name] = names[samples[name].round().astype(int).clip(0, len(names) - 1)]
    return table.back(samples)


METHODS = {
    "mostlyai": mostlyai,
    "mostlyai_plain": functools.partial(mostlyai, plain=True),
    "forest": forest,
    "ctgan": functools.partial(gan, name="CTGAN"),
    "tvae": functools.partial(gan, name="TVAE"),
    "copula": copula,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("train", help="csv")
    parser.add_argument("kinds", help="json: column to 'categorical', 'datetime' or a number of decimals")
    parser.add_argument("out", help="csv")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--until", type=float, required=True, help="unix time at which the samples should be there")
    parser.add_argument("--reserve", type=float, default=10.0, help="seconds of it kept for sampling and writing")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds = json.loads(Path(args.kinds).read_text())
    frame = pd.read_csv(args.train)
    clock = Clock(args.until, args.reserve)
    samples = METHODS[args.method](frame, kinds, args.rows, clock, args.seed)
    samples.to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
