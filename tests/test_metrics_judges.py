"""Classifiers, neighbours, tables, floors; and what each metric makes of known failures, as
docs/explanation/metrics.md says.
"""

import inspect
import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import NearestNeighbors
from test_metrics import randn

from pushforward.errors import InputError
from pushforward.metrics import (
    associations,
    base,
    classifier_two_sample,
    closest_record,
    column_distances,
    frechet_distance,
    memorisation,
    pair_distances,
    precision_recall,
    train_on_synthetic,
    with_floor,
)

ROOT = Path(__file__).parent.parent


def refuses(says, function, *arguments, **options):
    """The function itself: the checker of the test run would object first."""
    with pytest.raises(InputError) as error:
        inspect.unwrap(function)(*arguments, **options)
    assert says in str(error.value)


# -- classifiers -------------------------------------------------------------------------------------------------------


def test_two_sample_is_at_chance_for_equal_laws_and_certain_of_separated_ones():
    """The p-values promise no more than chance gives: as normal scores they do not spread beyond 1."""
    results = [
        classifier_two_sample(randn(300, 2, seed=2 * s), randn(300, 2, seed=2 * s + 1), classifier=LogisticRegression())
        for s in range(150)
    ]
    accuracy = np.array([r.accuracy for r in results])
    assert accuracy.mean() == pytest.approx(0.5, abs=4 * accuracy.std() / math.sqrt(150))
    scores = scipy.stats.norm.isf([r.p_value for r in results])
    assert 0.6 < scores.std() < 1.1  # by the binomial law it would be 1.27, with an error of 0.07
    apart = classifier_two_sample(randn(200, 2), randn(300, 2, seed=1) + 6)
    assert apart.accuracy > 0.99 and apart.p_value < 1e-20


def test_two_sample_reaches_the_total_variation():
    """Two normals a distance 2 apart: the best classifier is right with ``Phi(1)``, and logistic regression is it."""
    shift = torch.tensor([2.0, 0.0]).double()
    got = classifier_two_sample(randn(3000, 2), randn(3000, 2, seed=1) + shift, classifier=LogisticRegression())
    best = scipy.stats.norm.cdf(1)
    assert got.accuracy == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / 6000))


def test_two_sample_finds_a_variance_and_keeps_its_seed():
    x, y = randn(500, 10), 0.7 * randn(800, 10, seed=1)
    got = classifier_two_sample(x, y)
    assert got.accuracy > 0.7 and got.p_value < 1e-6
    assert got == classifier_two_sample(x, y) != classifier_two_sample(x, y, seed=1)
    refuses("folds", classifier_two_sample, x, y, folds=1)
    refuses("at least 5", classifier_two_sample, x[:4], y)


def regression_table(n, seed, noise):
    x = randn(n, 2, seed=seed)
    return torch.cat([x, (x @ torch.tensor([1.0, 2.0]).double() + noise * randn(n, seed=seed + 99))[:, None]], 1)


def test_train_on_synthetic_regression():
    """``R^2 = 1 - noise^2 / (5 + noise^2)`` for perfect samples; for a wrong sign of every slope, far below 0."""
    train, held_out = regression_table(2000, 0, 1.0), regression_table(3000, 1, 1.0)
    good, bad = regression_table(500, 2, 1.0), regression_table(500, 3, 1.0) * torch.tensor([1.0, 1.0, -1.0]).double()
    fair = train_on_synthetic(good, train, held_out, 2, estimator=LinearRegression())
    assert fair.synthetic == pytest.approx(5 / 6, abs=0.02) and fair.real == pytest.approx(5 / 6, abs=0.02)
    # predictions of the wrong sign: 1 - E(y + f)^2 / 6 = 1 - (4 * 5 + 1) / 6
    wrong = train_on_synthetic(bad, train, held_out, 2, estimator=LinearRegression())
    assert wrong.synthetic == pytest.approx(1 - 21 / 6, abs=0.2) and wrong.real == pytest.approx(5 / 6, abs=0.02)


def test_train_on_synthetic_classification():
    def labelled(n, seed, flip=0.0):
        x = randn(n, 3, seed=seed)
        wrong = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < flip
        return torch.cat([((x[:, :1] > 0) ^ wrong[:, None]).double(), x], 1)

    train, held_out = labelled(600, 0), labelled(1000, 1)
    got = train_on_synthetic(labelled(600, 2), train, held_out, 0, categorical=[0])
    assert got.synthetic > 0.95 and got.real > 0.95
    noise = train_on_synthetic(labelled(600, 3, flip=0.5), train, held_out, 0, categorical=[0])
    assert noise.synthetic == pytest.approx(0.5, abs=0.12) and noise.real == got.real
    constant = labelled(600, 2) * torch.tensor([0.0, 1, 1, 1]).double()  # one class was invented away
    share = float((held_out[:, 0] == 0).double().mean())
    assert train_on_synthetic(constant, train, held_out, 0, categorical=[0]).synthetic == pytest.approx(share)
    refuses("target is 4", train_on_synthetic, train, train, held_out, 4)
    refuses("target is -1", train_on_synthetic, train, train, held_out, -1)


# -- neighbours --------------------------------------------------------------------------------------------------------


def precision_recall_by_hand(x, y, k):
    def radii(z):
        return [sorted(math.dist(a, b) for j, b in enumerate(z) if j != i)[k - 1] for i, a in enumerate(z)]

    ry, rx, n, m = radii(y), radii(x), len(x), len(y)
    in_y = [[math.dist(a, b) <= r for b, r in zip(y, ry, strict=True)] for a in x]
    in_x = [[math.dist(b, a) <= r for a, r in zip(x, rx, strict=True)] for b in y]
    covered = [any(in_y[i][j] for i in range(n)) for j in range(m)]
    return sum(map(any, in_y)) / n, sum(map(any, in_x)) / m, sum(map(sum, in_y)) / (k * n), sum(covered) / m


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_is_its_definition(k):
    x, y = randn(17, 2), 0.5 + 1.5 * randn(23, 2, seed=1)
    got = precision_recall(x, y, k)
    expected = precision_recall_by_hand(x.tolist(), y.tolist(), k)
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(expected, rel=1e-12)
    assert precision_recall(x, x, k).precision == precision_recall(x, x, k).coverage == 1
    assert precision_recall(x, y + 100, k) == precision_recall(x + 100, y, k)
    assert precision_recall(x, y + 100, k).density == 0


def test_precision_recall_needs_more_than_k_points():
    refuses("at least 6", precision_recall, randn(5, 2), randn(50, 2))
    refuses("k is 0", precision_recall, randn(5, 2), randn(5, 2), 0)


@pytest.mark.parametrize("d", [2, 50])
@pytest.mark.parametrize("block", [2**22, 53 * 50, 7])
def test_nearest_against_scikit_learn(d, block, monkeypatch):
    monkeypatch.setattr(base, "BLOCK", block)
    x, y = randn(40, d), randn(61, d, seed=1)
    distance, index = base.nearest_neighbors(x, y, 3)
    expected = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(y).kneighbors(x)
    np.testing.assert_allclose(distance, expected[0], rtol=1e-9)
    assert (index.numpy() == expected[1]).all()
    expected = NearestNeighbors(n_neighbors=3).fit(y).kneighbors()  # asked for nothing: the points themselves, left out
    np.testing.assert_allclose(base.nearest_neighbors(y, y, 3, others=True)[0], expected[0], rtol=1e-9)
    assert (base.nearest_neighbors(y + 1e5, y + 1e5)[0] == 0).all()  # exact, whatever the products lose
    refuses("k is 62", base.nearest_neighbors, x, y, 62)


@pytest.mark.parametrize(("d", "noise"), [(2, 0.0), (30, 0.0), (30, 0.05)])
def test_memorisation_names_planted_copies_and_nothing_else(d, noise):
    train, held_out, samples = randn(900, d), randn(700, d, seed=1), randn(600, d, seed=2)
    planted = {3, 77, 500}
    for i in planted:
        samples[i] = train[2 * i % 900] + noise * randn(d, seed=i)
    got = memorisation(samples, train, held_out)
    assert set(got.copies.tolist()) == planted
    assert all(got.nearest[i] == 2 * i % 900 for i in planted)
    assert got.ratio == pytest.approx(1, abs=0.15) and got.closer == pytest.approx(0.5, abs=0.06)


def test_memorisation_of_fair_samples_and_of_the_training_data_itself():
    """No fair sample is named in 40 runs but with a chance of 1 percent each; the share that is closer is a half."""
    runs = [
        memorisation(randn(200, 3, seed=3 * s), randn(300, 3, seed=3 * s + 1), randn(250, 3, seed=3 * s + 2))
        for s in range(40)
    ]
    assert sum(len(r.copies) > 0 for r in runs) <= 2
    closer = np.array([r.closer for r in runs])
    assert closer.mean() == pytest.approx(0.5, abs=4 * closer.std() / math.sqrt(40))
    train = randn(300, 3)
    copied = memorisation(train[:100], train, randn(250, 3, seed=2))
    assert copied.ratio == 0 and copied.closer == 1 and sorted(copied.copies.tolist()) == list(range(100))
    assert torch.equal(copied.nearest, torch.arange(100)) and (copied.distance == 0).all()


def test_memorisation_numbers_by_hand():
    train = torch.tensor([[0.0], [10.0], [20.0]])
    got = memorisation(torch.tensor([[1.0], [13.0], [20.0]]), train, torch.tensor([[2.0], [11.0], [24.0]]), k=2)
    assert got.distance.tolist() == [1, 3, 0] and got.nearest.tolist() == [0, 1, 2]
    assert got.ratio == 0.5  # medians 1 and 2
    assert got.closer == pytest.approx((2.5 + 1 + 3) / 9)  # held out: 2, 1, 4


def test_memorisation_does_not_blame_samples_where_data_repeats_itself():
    """On a grid, held-out points coincide with training points too; then coinciding is no proof."""
    points = [torch.randint(0, 12, (400, 2), generator=torch.Generator().manual_seed(s)).double() for s in range(3)]
    assert len(memorisation(*points).copies) == 0
    # training points that occur many times are copied all the same
    train, samples = randn(300, 4), randn(200, 4, seed=1)
    train[:8] = train[0]
    samples[5] = train[0]
    assert memorisation(samples, train, randn(300, 4, seed=2)).copies.tolist() == [5]


def test_memorisation_says_what_it_cannot_do():
    x = randn(9, 2)
    refuses("k is 1", memorisation, x, x, x, k=1)
    refuses("level", memorisation, x, x, x, level=0.0)
    refuses("cannot be compared", memorisation, x, randn(9, 3), x)
    bad = memorisation(x * math.nan, x, x)
    assert math.isnan(bad.ratio) and math.isnan(bad.closer) and len(bad.copies) == 0


# -- tables ------------------------------------------------------------------------------------------------------------


def mixed(n, seed, shift=0.0):
    """Two numeric columns, then codes of three and of two categories, all related."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, generator=g, dtype=torch.float64)
    b = 0.6 * a + 0.8 * torch.randn(n, generator=g, dtype=torch.float64) + shift
    c = (a + torch.randn(n, generator=g, dtype=torch.float64) > 0.3).double() + (b > 1).double()
    e = 7 * (torch.rand(n, generator=g, dtype=torch.float64) < 0.2 + 0.3 * c).double()
    return torch.stack([a, b, c, e], 1)


def test_columns_against_scipy():
    x, y = mixed(120, 0), mixed(170, 1, shift=0.4)
    got = column_distances(x, y, categorical=[2, 3]).each
    for c in (0, 1):
        assert got[c] == pytest.approx(scipy.stats.ks_2samp(x[:, c], y[:, c]).statistic, rel=1e-12)
    for c in (2, 3):
        shares = [abs(float((x[:, c] == v).double().mean() - (y[:, c] == v).double().mean())) for v in (0, 1, 2, 7)]
        assert got[c] == pytest.approx(sum(shares) / 2, rel=1e-12)
    tied = column_distances(x.round(), y.round()).each  # ties are counted once
    assert tied[0] == pytest.approx(scipy.stats.ks_2samp(x[:, 0].round(), y[:, 0].round()).statistic, rel=1e-12)
    assert column_distances(x, x).each == (0,) * 4 and column_distances(x, x + 100, [3]).each == (1,) * 4
    assert column_distances(x, y, [2, 3]).mean == pytest.approx(np.mean(got))
    refuses("[4]", column_distances, x, y, [4])


def test_columns_between_equal_laws_are_as_stated():
    values = column_distances(randn(200, 200), randn(300, 200, seed=1)).each
    expected, error = 0.87 * math.sqrt(1 / 200 + 1 / 300), np.std(values) / math.sqrt(200)
    assert np.mean(values) == pytest.approx(expected, abs=4 * error)


def test_associations_against_scipy_and_by_hand():
    x = mixed(300, 0)
    got = associations(x, categorical=[2, 3])
    assert got[0, 1] == pytest.approx(scipy.stats.pearsonr(x[:, 0], x[:, 1]).statistic, rel=1e-10)
    counts = np.zeros((3, 2), dtype=int)
    np.add.at(counts, (x[:, 2].long().numpy(), (x[:, 3] > 0).long().numpy()), 1)
    assert got[2, 3] == pytest.approx(scipy.stats.contingency.association(counts, "cramer"), rel=1e-10)
    groups = [x[x[:, 2] == v, 0].numpy() for v in range(3)]
    between = sum(len(g) * (g.mean() - x[:, 0].numpy().mean()) ** 2 for g in groups)
    assert got[0, 2] == pytest.approx(math.sqrt(between / (300 * x[:, 0].numpy().var())), rel=1e-10)
    assert torch.equal(got, got.T) and (got.diagonal() == 1).all()
    constant = torch.cat([x, torch.full((300, 1), 0.1).double()], 1)
    for categorical in ([2, 3], [2, 3, 4]):
        assert associations(constant, categorical)[:4, 4].max() < 1e-15


def test_pairs_are_differences_of_associations():
    x, y, kinds = mixed(300, 0), mixed(200, 1), [2, 3]
    y[:, 0] = y[:, 0].flip(0)  # the columns stay, what they say about each other goes
    got, difference = pair_distances(x, y, kinds), (associations(x, kinds) - associations(y, kinds)).abs()
    assert got.each[0, 1] == difference[0, 1] / 2 and got.each[0, 2] == difference[0, 2]
    assert got.mean == pytest.approx(float(got.each[torch.eye(4) == 0].mean()))
    assert got.each[0, 1] > 0.2 and got.each[2, 3] < 0.1
    line = torch.arange(9.0)[:, None]
    assert pair_distances(torch.cat([line, line], 1), torch.cat([line, -line], 1)).mean == pytest.approx(1)
    refuses("no pair", pair_distances, x[:, :1], y[:, :1])


def test_closest_record_is_its_definition():
    samples, train, held_out = mixed(60, 0), mixed(90, 1), mixed(70, 2)
    samples[:6] = train[:6]
    std = train.std(0, correction=0)

    def distance(rows):
        numeric = ((rows[:, None, :2] - train[:, :2]) / std[:2]).square().sum(2)
        return (numeric + (rows[:, None, 2:] != train[:, 2:]).sum(2)).sqrt().min(1).values.numpy()

    got = closest_record(samples, train, held_out, categorical=[2, 3])
    ours, theirs = distance(samples), distance(held_out)
    expected = (np.median(ours), np.quantile(ours, 0.05), 0.1, np.median(theirs), np.quantile(theirs, 0.05), 0)
    found = (got.median, got.low, got.identical, got.held_out_median, got.held_out_low, got.held_out_identical)
    assert found == pytest.approx(expected, rel=1e-9)
    units = torch.tensor([1e3, 1e-3, 1, 1]).double()  # units do not matter
    assert closest_record(samples * units, train * units, held_out * units, [2, 3]).median == pytest.approx(got.median)


# -- floors ------------------------------------------------------------------------------------------------------------


def difference(x, y):
    return float(x.mean() - y.mean())


def test_floor_of_a_mean_is_that_of_the_textbook():
    x, y, train = 1 + 2 * randn(500), randn(300, seed=1), randn(500, seed=2)
    got = with_floor(difference, x, y, train, resamples=400)
    assert got.value == difference(x, y) and got.floor == difference(train, y) and got.n == 500
    expected = 1.96 * math.sqrt(float(x.var()) / 500 + float(y.var()) / 300)
    assert got.error == pytest.approx(expected, rel=4 / math.sqrt(800))  # the relative error of a standard deviation
    assert with_floor(difference, x, y, train, 400, confidence=0.5).error == pytest.approx(
        got.error * 0.6745 / 1.96, rel=1e-4
    )
    assert got.differs and not with_floor(difference, x - 1, y, train).differs
    assert got.ratio == got.value / got.floor


def test_interval_holds_the_mean_as_often_as_it_says():
    """For the Frechet distance of scalars far from its floor: in 150 draws 95 percent, give or take four errors."""

    def frechet(x, y):
        return float((x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2)

    train = randn(100)
    runs = [
        with_floor(frechet, 1.3 * randn(100, seed=2 * s) + 1, randn(100, seed=2 * s + 1), train, 30) for s in range(150)
    ]
    values, errors = (np.array([getattr(r, name) for r in runs]) for name in ("value", "error"))
    assert (abs(values - values.mean()) < errors).mean() == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 150))


def test_floor_is_taken_at_the_same_n():
    sizes = []

    def metric(x, y):
        sizes.append((len(x), len(y)))
        return float(len(x))

    assert with_floor(metric, randn(50, 2), randn(30, 2), randn(80, 2), 2).n == 50
    assert sizes == [(25, 15), (25, 15), (50, 30)] * 2
    sizes.clear()
    assert with_floor(metric, randn(50, 2), randn(30, 2), randn(40, 2), 0).floor == 40
    assert sizes == [(40, 30)] * 2
    x = torch.arange(80.0)  # halves and subsets have no point twice
    with_floor(lambda a, b: float(len(a) - len(a.unique()) and pytest.fail("twice")), x, x, x[:50], 5)


def test_floor_is_a_function_of_its_seed():
    x, y, train = randn(50, 2), randn(60, 2, seed=1), randn(90, 2, seed=2)
    one, same, other = (with_floor(frechet_distance, x, y, train, 5, seed=s) for s in (0, 0, 1))
    assert one == same and one.error != other.error and one.floor != other.floor
    none = with_floor(frechet_distance, x, y, train, 0)
    assert none.value == one.value and math.isnan(none.error)
    assert with_floor(frechet_distance, x * math.nan, y, train, 3).differs
    refuses("resamples is 1", with_floor, frechet_distance, x, y, train, resamples=1)
    refuses("confidence", with_floor, frechet_distance, x, y, train, confidence=1.0)
    refuses("at least 4", with_floor, frechet_distance, x[:3], y, train)


def test_import_is_light():
    """Nothing but torch and numpy is loaded before a metric that needs it is called."""
    code = "import sys, pushforward.metrics; print([m for m in ('sklearn', 'scipy', 'ot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- known failures ----------------------------------------------------------------------------------------------------

TABLE = runpy.run_path(str(ROOT / "benchmarks" / "metrics.py"))
SEEN = {  # for each failure, metrics that must tell it from fresh data, and metrics that cannot
    "none: fresh data": ("", "Frechet columns closer"),
    "mode dropped": ("Frechet columns", "closer"),
    "mode invented": ("", "closer"),
    "data memorised": ("closer", "Frechet columns"),
    "scale x 1.1": ("Frechet columns", "closer"),
    "variance shrunk": ("coverage", "Frechet columns closer"),
}


def documented():
    """``{failure: {heading: (times, seen)}}`` as printed in the documentation."""
    text = (ROOT / "docs" / "explanation" / "metrics.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in text[text.index("| failure") :].split("\n\n")[0].split("\n")]
    return {
        line[0]: {h: (float(c.strip("*")), c.startswith("*")) for h, c in zip(lines[0][1:], line[1:], strict=True)}
        for line in lines[2:]
    }


def assert_documented(rows, intervals=True):
    page = documented()
    for failure, row in rows.items():
        for heading, (times, seen) in row.items():
            slack = 0.02 if heading == "C2ST" else 0.006  # trees may split elsewhere on another machine
            assert page[failure][heading][0] == pytest.approx(times, abs=slack, rel=0.01), (failure, heading)
            assert page[failure][heading][1] == seen or not intervals, (failure, heading)


def test_known_failures_and_the_table_of_the_documentation():
    """The page prints what is computed, and it is what each metric is for."""
    rows = TABLE["table"](columns=("Frechet", "columns"))
    for failure, row in TABLE["table"](columns=("coverage",), only=("variance shrunk",)).items():
        rows[failure] |= row
    assert rows.keys() == documented().keys() == SEEN.keys()
    assert_documented(rows)
    for failure, row in rows.items():
        for expected, headings in zip((True, False), SEEN[failure], strict=True):
            assert {h: row[h][1] for h in headings.split()} == dict.fromkeys(headings.split(), expected), failure


def test_dear_metrics_in_the_table_of_the_documentation():
    """Values without their intervals, which are twenty times the work."""
    assert_documented(TABLE["table"](resamples=0, columns=("SW", "energy", "density", "pairs")), intervals=False)
    dear = TABLE["table"](resamples=0, columns=("W", "C2ST", "precision", "recall"), only=("mode dropped",))
    assert_documented(dear, intervals=False)
