"""Evaluation: the report's numbers are the metrics', an exact field reaches the floor, and the page needs nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import train_into
from sklearn.ensemble import ExtraTreesClassifier

import pushforward as pf
from pushforward import run
from pushforward.cli import main
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import load as load_data
from pushforward.errors import InputError
from pushforward.evaluation import budget, fidelity, quality
from pushforward.evaluation import field as fields
from pushforward.evaluation.fidelity import complete_tables
from pushforward.evaluation.quality import COMPONENTS, fit_projection
from pushforward.evaluation.reference import load_reference
from pushforward.evaluation.table import numeric_table
from pushforward.metrics import (
    METRICS,
    Metric,
    classifier_two_sample,
    closest_record,
    column_distances,
    memorisation,
    pair_distances,
    precision_recall,
    with_floor,
    with_floors,
)
from pushforward.metrics.base import subsample
from pushforward.training import Budget

CONFIG = Config(net=NetConfig(width=32, depth=1), train=TrainConfig(batch=64, warmup=5, held_out=0.3))
MEANS, STDS, WEIGHTS = [[-2.0, 0.0], [1.0, 1.5], [2.0, -2.0]], [0.3, 0.5, 0.4], [0.3, 0.4, 0.3]


pytestmark = pytest.mark.usefixtures("one_thread_throughout")


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    """Fewer halves, trees, points of curves and rows: what they cost is not what is tested here."""
    trees = ExtraTreesClassifier(n_estimators=10, min_samples_leaf=5, random_state=0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (quality, fidelity):
            patch.setattr(module, "RESAMPLES", 3)
        judge = dataclasses.replace(METRICS["two_sample"], function=partial(classifier_two_sample, classifier=trees))
        patch.setitem(METRICS, "two_sample", judge)
        fewer = {
            "EVALUATIONS": (2, 8),
            "DIFFUSIONS": (0.0, 1.0),
            "DIFFUSION_STEPS": (8, 8),
            "ROWS": (16, 30),
            "DRAWS": (64, 256),
        }
        for name, few in fewer.items():
            patch.setattr(budget, name, few)
        patch.setattr(fields, "STATES", 8)
        yield


def evaluate(runs, against=None, *, n=50, quick=True, steps=8, seed=0):
    return pf.evaluate(runs, against, n=n, quick=quick, steps=steps, seed=seed)


def trained(source, folder, config=CONFIG, steps=3, **how):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.callbacks, "preview", lambda *_: None)
        assert train_into(source, Path(folder), config, Budget(steps, None), report_every=2, **how)
    return Path(folder)


def mixed(n, seed):
    """Numbers that go together, a category that depends on one, a count with gaps, a column that never varies."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    kind = np.where(a + 0.3 * rng.normal(size=n) > 0, "high", "low")
    count = pd.array(rng.poisson(4, n), dtype="Int64")
    count[rng.random(n) < 0.2] = pd.NA
    return pd.DataFrame({"a": a, "b": 10 * a + rng.normal(size=n), "kind": kind, "count": count, "same": 3})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def plane_file(home):
    """Points of the mixture, in a file."""
    g = torch.Generator().manual_seed(0)
    which = torch.multinomial(torch.tensor(WEIGHTS), 1500, replacement=True, generator=g)
    noise = torch.randn(1500, 2, generator=g)
    points = torch.tensor(MEANS)[which] + torch.tensor(STDS)[which, None] * noise
    np.save(home / "plane.npy", points.numpy())
    return home / "plane.npy"


@pytest.fixture(scope="module")
def plane(plane_file, home):
    return trained(plane_file, home / "plane")


@pytest.fixture(scope="module")
def people(home):
    mixed(400, 0).to_csv(home / "people.csv", index=False)
    return trained(home / "people.csv", home / "people")


@pytest.fixture(scope="module")
def pictures(home):
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 200, (150, 1, 1))
    np.save(home / "pictures.npy", (bright + rng.integers(0, 50, (150, 5, 5))).astype(np.uint8))
    return trained(home / "pictures.npy", home / "pictures")


class Exact(pf.Field):
    """The mixture's field in units of which each column has its own: no `MixtureField`, whose components are round."""

    def __init__(self, path, shift, scale):
        self.path, self.shift, self.scale = path, shift, scale

    def evaluate(self, names, x, t, y=None):
        data = posterior_mean(x.double(), torch.as_tensor(t, dtype=torch.float64), self.shift, self.scale)
        return tuple(pf.convert(data.to(x), x, t, self.path, "data", name) for name in names)


def exact(folder):
    """The run with the exact field of the mixture, in its units, in the place of its network."""
    model = pf.load(folder)
    origin, corner = model.transform.forward(np.array([[0, 0], [1, 1]], np.float32)).double()
    return dataclasses.replace(model, field=Exact(model.field.path, origin, corner - origin))


def posterior_mean(x, t, shift, scale):
    """``E[x_1 | x_t = x]`` for x_1 = shift + scale * mixture and CondOT: each component has independent columns."""
    t = t.expand(len(x)).reshape(-1, 1, 1)
    means = shift + scale * torch.tensor(MEANS, dtype=torch.float64)
    spread = scale * torch.tensor(STDS, dtype=torch.float64)[:, None]
    total = t**2 * spread**2 + (1 - t) ** 2
    gap = x[:, None] - t * means
    logs = torch.tensor(WEIGHTS, dtype=torch.float64).log() - (gap**2 / total + total.log()).sum(2) / 2
    each = means + t * spread**2 / total * gap
    return (logs.softmax(1)[..., None] * each).sum(1)


# ---- numbers


def test_numbers_are_those_of_the_metrics(plane, plane_file):
    report = evaluate(plane, n=300, seed=4)
    model, data = pf.load(plane), load_data(plane_file)
    train, held_out = (part.x for part in data.split(0.3, 0))
    samples = model.transform.forward(model.sample(300, seed=4, steps=8))
    assert report.against.compared == 300 and report.against.own and report.against.rows == 1500
    one = report.runs[0]
    rows = subsample(held_out, 300, 4, "report")  # of 450
    for name in ("sliced_wasserstein", "energy", "frechet", "precision", "recall", "density", "coverage"):
        found = one.score(name)
        assert found.value == pytest.approx(METRICS[name](samples, rows), rel=1e-12)
        assert found.floor == with_floor(METRICS[name], samples, rows, train, 0, seed=4).floor
        assert found.error >= 0 and found.floor_error >= 0 and found.n == 300
    judged = METRICS["two_sample"].function(samples, rows, seed=4)
    assert one.score("two_sample").value == judged.accuracy and one.p_value == judged.p_value
    memory = memorisation(samples, train, rows)
    assert (one.copies.closer, one.copies.ratio, one.copies.suspects) == (
        memory.closer,
        memory.ratio,
        len(memory.copies),
    )
    assert one.copies.closest[0][2] == pytest.approx(float(memory.distance[one.copies.closest[0][0]]))


def test_metric_of_one_record_is_in_the_report(plane, monkeypatch):
    def gap(x, y):
        return float((x.mean(0) - y.mean(0)).norm())

    record = Metric(gap, "gap of the means", "how far the means are apart; less is better", position=25)
    monkeypatch.setitem(METRICS, "mean_gap", record)
    report = evaluate(plane, n=40)
    assert [score.name for score in report.runs[0].scores][1:4] == ["energy", "mean_gap", "frechet"]
    model, (train, held_out) = pf.load(plane), [part.x for part in load_data(report.against.source).split(0.3, 0)]
    samples, rows = model.transform.forward(model.sample(40, seed=0, steps=8)), subsample(held_out, 40, 0, "report")
    assert report.runs[0].score("mean_gap") == with_floor(gap, samples, rows, train, 3, seed=0)
    entry = json.loads(report.to_json())["runs"][0]["scores"][2]
    assert (entry["title"], entry["reading"]) == (record.title, record.reading) and not entry["higher_is_better"]
    assert f"<td class=reading>{record.reading}</td>" in report.to_html()


def test_json_says_what_the_report_says(plane, tmp_path):
    report = evaluate(plane, n=60)
    numbers, page = report.save(tmp_path / "new" / "folder")
    said = json.loads(numbers.read_text())
    one = said["runs"][0]
    assert page.read_text().startswith("<!doctype html>") and sorted(p.name for p in numbers.parent.iterdir()) == [
        "report.html",
        "report.json",
    ]
    for score, entry in zip(report.runs[0].scores, one["scores"], strict=True):
        assert entry["name"] == score.name and entry["verdict"] == score.verdict
        assert entry["measured"] == dataclasses.asdict(score.measured)
    assert one["run"]["config"] == json.loads((plane / "config.json").read_text())["config"]
    assert one["run"]["convention"].startswith("t=0 source") and said["against"]["own"] is True
    assert one["timing"]["evaluations"] == 8 and one["training"]["steps"] == 3 and len(one["training"]["loss"]) == 2
    assert "transform" not in one["run"]["data"] and "plot_data" not in one


def test_report_is_a_function_of_the_seed(plane):
    a, b, c = (evaluate(plane, n=50, seed=seed).runs[0].scores for seed in (0, 0, 1))
    assert a == b and a != c


def test_exact_field_reaches_the_floor_and_the_untrained_network_does_not(plane):
    good, bad = (evaluate(m, n=400, steps=20).runs[0] for m in (exact(plane), pf.load(plane)))
    assert [score.name for score in good.scores if not score.at_floor] == []
    assert abs(good.copies.closer - 0.5) < 0.06 and good.copies.suspects == 0 and good.p_value > 0.01
    failed = {score.name for score in bad.scores if not score.at_floor}
    assert failed >= {"sliced_wasserstein", "energy", "two_sample", "precision", "columns"}
    assert bad.score("two_sample").value > 0.7 and bad.p_value < 1e-6
    assert all(score.verdict != "beyond the floor" for score in bad.scores if score.name in ("energy", "frechet"))


def test_run_that_knows_its_data_by_heart_is_found_out(pictures, home):
    model, train = pf.load(pictures), load_data(home / "pictures.npy").split(0.3, 0)[0].x
    thief = dataclasses.replace(model, field=pf.EmpiricalField(model.field.path, train))
    one = evaluate(thief, n=60, steps=20).runs[0]
    assert one.copies.suspects == 60 and one.copies.closer > 0.99
    assert {score.name for score in one.scores if score.at_floor} >= {"sliced_wasserstein", "energy", "coverage"}
    assert torch.allclose(one.plot_data.closest, one.plot_data.originals, atol=0.1)
    # its loss is the floor itself, its excess exactly nothing; beyond the rows it knows it is worse
    found, note = fields.measure_losses(thief, load_reference([thief], None, 60, 0), 256, 0)
    assert found.train == found.floor and found.excess.value == 0 and note == ""
    assert found.held_out.value > 5 * found.train.value


def test_losses_without_a_floor_say_why(plane, plane_file, home, monkeypatch):
    coupled = CONFIG.model_copy(update={"path": CONFIG.path.model_copy(update={"coupling": "optimal_transport"})})
    model = pf.load(trained(plane_file, home / "coupled", coupled))
    found, note = fields.measure_losses(model, load_reference([model], None, 500, 0), 256, 0)
    assert found.floor is None and found.excess is None and "coupling optimal_transport" in note
    monkeypatch.setattr(fields, "WORK", 1000)
    found, note = fields.measure_losses(pf.load(plane), load_reference([pf.load(plane)], None, 500, 0), 256, 0)
    assert found.floor is None and "1,050 training rows are too many" in note


def test_loss_of_a_run_with_classes_is_that_of_its_labelled_field(home):
    """Two classes far apart: the exact field has the loss of the floor, with classes exchanged far more."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = 0.1 * torch.randn(400, 3, 1, generator=g) + torch.tensor([[-1.0], [2.0]])[y][:, None]
    np.savez(home / "classes.npz", x=x.numpy(), y=y.numpy())
    model = pf.load(trained(home / "classes.npz", home / "classes"))
    rows = load_reference([model], None, 100, 0)
    data = load_data(home / "classes.npz")
    train, held_out = data.split(0.3, 0)
    assert torch.equal(rows.labels[0], train.y) and torch.equal(rows.labels[1], subsample(held_out.y, 100, 0, "report"))
    told = pf.EmpiricalField(model.field.path, train.x, labels=train.y)
    found, note = fields.measure_losses(dataclasses.replace(model, field=told), rows, 256, 0)
    assert note == "" and found.train == found.floor and found.excess.value == 0
    exchanged = pf.EmpiricalField(model.field.path, train.x, labels=1 - train.y)
    worse, _ = fields.measure_losses(dataclasses.replace(model, field=exchanged), rows, 256, 0)
    assert worse.floor == found.floor and worse.train.value > 2 * worse.floor.value
    np.savez(home / "classes.npz", x=x.numpy(), y=2 + y.numpy())  # the same rows with other classes
    assert fields.measure_losses(model, load_reference([model], None, 100, 0), 256, 0)[1].startswith(
        "no loss: the classes"
    )


def test_large_networks_are_asked_for_less_and_it_is_said(plane):
    """Every part stays within its operations, but for the least of each; a small network is asked for everything."""
    usual = {
        "EVALUATIONS": (4, 8, 16, 32),
        "DIFFUSIONS": (0.0, 0.5, 1.0),
        "DIFFUSION_STEPS": (32, 16),
        "ROWS": (16, 128),
    }

    def of(flops, steps=None, device="cpu"):
        model = pf.load(plane)
        model = dataclasses.replace(model, run=model.run.model_copy(update={"flops": flops}), device=device)
        return budget.evaluation_budget(model, 2000, steps, 50)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in usual.items():
            patch.setattr(budget, name, value)
        small, large, huge = of(3_000_000), of(100_000_000), of(10**12)
    assert small.steps is None and small.note == "" and small.evaluations == usual["EVALUATIONS"]
    assert (small.evaluation_samples, small.diffusion_samples, small.likelihood_rows, small.likelihood_steps) == (
        1000,
        1000,
        128,
        None,
    )
    assert large.steps == 15 and "15 evaluations instead of 50" in large.note
    assert large.steps * 2000 * 1e8 <= budget.SAMPLES
    assert large.evaluation_samples * sum(large.evaluations) * 1e8 <= budget.CURVE
    assert large.diffusion_samples * len(large.diffusions) * large.diffusion_steps * 1e8 <= budget.CURVE
    assert (
        huge.steps == 8
        and huge.evaluation_samples == 100
        and huge.evaluations == (4, 8, 16)
        and huge.likelihood_rows == 16
    )
    assert of(400_000_000, device="cuda").steps is None
    assert of(400_000_000, steps=50).steps == 50 and of(400_000_000, steps=50).note == ""


def test_likelihood_and_loss_of_the_exact_field(plane, plane_file):
    one = evaluate(exact(plane), n=30, quick=False).runs[0]
    field = pf.MixtureField(pf.Affine(), *(torch.tensor(v, dtype=torch.float64) for v in (MEANS, STDS, WEIGHTS)))
    rows = load_data(plane_file).split(0.3, 0)[1]
    user = torch.from_numpy(rows.transform.inverse(subsample(rows.x, 30, 0, "report")))
    truth = field.log_prob(user.double(), 1.0)
    assert one.likelihood.nats.value == pytest.approx(float(truth.mean()), abs=2e-2)
    assert one.likelihood.nats.error == pytest.approx(float(truth.std()) / math.sqrt(30), rel=1e-2)
    assert one.likelihood.bits_per_dimension == pytest.approx(-one.likelihood.nats.value / 2 / math.log(2))
    found = one.training.losses
    assert found.draws == found.train.n == 256 and one.likelihood.nats.n == one.likelihood.rows == 30
    # the best field does as well on new rows, and the exact field of the training rows alone does better on those
    assert abs(found.train.value - found.held_out.value) < 4 * math.hypot(found.train.error, found.held_out.error)
    assert found.floor.value < found.train.value and found.excess.value > 0
    assert found.excess.value == pytest.approx(found.train.value - found.floor.value, rel=1e-6)
    curve = one.by_evaluations
    assert curve.x == (2, 8) and curve.y[-1] < 2.5 * curve.floor and len(one.by_diffusion.y) == 2


def test_floors_together_are_floors_apart():
    g = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 60, 3, generator=g)

    def both(x, y):
        p = precision_recall(x, y)
        return p.precision, p.coverage

    together = with_floors(both, a, b, c, 4, seed=1)
    assert together == tuple(with_floor(METRICS[name], a, b, c, 4, seed=1) for name in ("precision", "coverage"))


# ---- tables


def test_columns_of_every_kind(people, home):
    report = evaluate(people, n=150)
    one, model, data = report.runs[0], pf.load(people), load_data(home / "people.csv")
    train, held_out = (part.x for part in data.split(0.3, 0))
    raw = pd.read_csv(home / "people.csv")
    seen = numeric_table(data.x, data.transform)
    assert seen.names == ("a", "b", "kind", "count") and seen.categories == (None, None, ("high", "low"), None)
    assert np.allclose(seen.values[:, 0], raw["a"], atol=1e-5)
    assert [seen.categories[2][int(k)] for k in seen.values[:20, 2]] == raw["kind"].tolist()[:20]
    assert np.array_equal(seen.values[:, 3].numpy(), raw["count"].to_numpy(float), equal_nan=True)

    samples = model.transform.forward(model.sample(150, seed=0, steps=8))
    rows = complete_tables(tuple(numeric_table(x, data.transform) for x in (samples, held_out, train)))
    assert rows.names == ("a", "b", "kind", "count", "count missing") and rows.categorical == (2, 4)
    ours, theirs, known = rows.values
    assert [c.name for c in one.table.columns] == list(rows.names)
    distances = column_distances(ours, theirs, rows.categorical)
    assert [c.distance for c in one.table.columns] == list(distances.each)
    assert one.score("columns").value == distances.mean
    assert one.score("pairs").value == pair_distances(ours, theirs, rows.categorical).mean
    assert one.table.closest == closest_record(ours, known, theirs, rows.categorical)
    share = float((ours[:, 4] == 1).double().mean() - (theirs[:, 4] == 1).double().mean())
    assert one.table.columns[4].distance == pytest.approx(abs(share))
    assert [name for name, _, _ in one.table.utility] == ["a", "b", "kind", "count"]
    real = {name: u.real for name, _, u in one.table.utility}
    assert real["a"] > 0.9 and real["kind"] > 0.8 and real["count"] < 0.3  # what the columns say of each other


def test_columns_beyond_comparison_are_left_out_and_said(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=700), "code": [f"c{k}" for k in rng.integers(0, 250, 700)]})
    frame.to_csv(tmp_path / "codes.csv", index=False)
    folder = trained(tmp_path / "codes.csv", tmp_path / "run")
    one = evaluate(folder, n=50).runs[0]
    assert [c.name for c in one.table.columns] == ["a"] and one.table.pairs == ()
    assert any("1 columns" in note for note in one.notes)


def test_large_points_are_seen_through_their_components():
    g = torch.Generator().manual_seed(0)
    low = torch.randn(300, 4, generator=g) @ torch.randn(4, 1100, generator=g)
    view = fit_projection(low, 0)
    assert view(low).shape == (300, COMPONENTS)
    # four directions hold everything: distances are kept
    assert torch.allclose(
        torch.cdist(view(low[:20]), view(low[:20])), torch.cdist(low[:20], low[:20]), rtol=1e-3, atol=0.05
    )
    assert torch.equal(fit_projection(low[:, :900], 0)(low[:, :900]), low[:, :900])


# ---- against what


def test_against_a_file_of_other_rows(plane, tmp_path):
    shifted = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    np.save(tmp_path / "other.npy", shifted)
    report = evaluate(exact(plane), tmp_path / "other.npy", n=200)
    held = report.against
    assert (held.own, held.rows, held.compared, held.floor) == (False, 200, 100, 100)
    assert report.runs[0].copies is not None  # the training data are still there
    energy = report.runs[0].score("energy")
    assert energy.value > energy.floor + energy.floor_error  # two halves of the file agree, samples do not
    same = evaluate(exact(plane), shifted, n=200)
    assert same.runs[0].score("energy") == energy


def test_data_that_moved_are_known_again(plane, plane_file, tmp_path):
    moved = shutil.copy(plane_file, tmp_path / "moved.npy")
    report = evaluate(plane, moved, n=50)
    assert report.against.own and report.notes[0].startswith("50 of 450 rows")
    assert report.runs[0].scores == evaluate(plane, n=50).runs[0].scores


def test_data_that_changed_or_are_gone(plane_file, tmp_path):
    source = Path(shutil.copy(plane_file, tmp_path / "data.npy"))
    folder = trained(source, tmp_path / "run")
    np.save(source, np.load(source)[:400])
    report = evaluate(folder, n=50)
    assert not report.against.own and "has changed since training" in report.notes[0]
    assert report.runs[0].copies is None and any("copies of them cannot be found" in note for note in report.notes)
    assert "copies cannot be looked for" in report.to_html()
    source.unlink()
    with pytest.raises(InputError, match=r"training data cannot be read .*--against DATA"):
        evaluate(folder, n=50)


def test_bad_input_is_said_plainly(plane, people, tmp_path):
    with pytest.raises(InputError, match="-n 5: at least 20 samples"):
        evaluate(plane, n=5)
    with pytest.raises(InputError, match="no run to evaluate"):
        evaluate([])
    with pytest.raises(InputError, match=r"no config\.json"):
        evaluate(tmp_path)
    with pytest.raises(InputError, match="rows differ in shape or columns"):
        evaluate([plane, people], plane)
    with pytest.raises(InputError, match="15 and 15 rows are too few"):
        evaluate(plane, np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32))
    with pytest.raises(InputError, match="expected an array"):
        evaluate(plane, np.zeros((50, 3), np.float32))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        evaluate(plane, n=20).save(tmp_path / "file")


# ---- several runs


def test_several_runs_side_by_side(plane, plane_file, tmp_path):
    other = trained(plane_file, tmp_path / "plane", steps=4)
    steps = []
    report = pf.evaluate([plane, other], n=60, quick=True, steps=8, progress=lambda *step: steps.append(step))
    shares, words = zip(*steps, strict=True)
    assert list(shares) == sorted(shares) and shares[-1] == 1 and words[-1] == "done"
    assert sum(share < 0.5 for share in shares) == len(shares) // 2 and words[0].startswith("plane: ")
    alone = [evaluate(folder, n=60).runs[0] for folder in (plane, other)]
    assert [r.scores for r in report.runs] == [r.scores for r in alone]
    page = report.to_html()
    assert "Side by side" in page and page.count("<details>") == 2 and "plane (2)" in page
    split = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"held_out": 0.2})})
    third = trained(plane_file, tmp_path / "third", split)
    with pytest.raises(InputError, match="say what all are compared with, as in --against"):
        evaluate([plane, third], n=60)
    mixed = evaluate([plane, third], plane_file, n=60)
    assert not mixed.against.own and sum("was trained on rows of" in note for note in mixed.notes) == 2


# ---- the page


class Page(HTMLParser):
    """What a page opens, closes and loads."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def page_file(people, home):
    evaluate(people, n=60, quick=False).save(home / "page")
    return home / "page" / "report.html"


@pytest.fixture(scope="module")
def pictures_page(pictures):
    return evaluate(pictures, n=40, quick=False).to_html()


SECTIONS = ("Quality", "Samples beside data", "Copies of the training data", "Quality against evaluations")
SECTIONS += ("Quality against diffusion", "Trajectories", "Likelihood", "Training", "Cost of sampling", "Configuration")


@pytest.mark.parametrize("kind", ["table", "pictures"])
def test_page_is_whole_and_loads_nothing(kind, page_file, pictures_page):
    text = page_file.read_text() if kind == "table" else pictures_page
    page = Page(text)
    assert page.open == [] and page.wrong == []
    assert page.loads and all(address.startswith("data:") for address in page.loads)
    assert "script" not in page.tags and "url(" not in text and "@import" not in text
    for title in SECTIONS + (("Columns", "Table fidelity") if kind == "table" else ()):
        assert f"<h2>{title}</h2>" in text, title
    assert page.tags.count("img") >= 6
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_names_from_the_data_are_text_on_the_page(tmp_path):
    frame = mixed(120, 0).rename(columns={"b": "<script>alert(1)</script>"})
    frame["kind"] = frame["kind"].replace("high", "<b>high</b>")
    frame.to_csv(tmp_path / "odd.csv", index=False)
    text = evaluate(trained(tmp_path / "odd.csv", tmp_path / "run"), n=30).to_html()
    assert "<script" not in text and "&lt;script&gt;" in text and "<b>high" not in text


def test_page_in_a_browser(page_file):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (390, 1280):
            page, said, asked = browser.new_page(viewport={"width": width, "height": 800}), [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(page_file.as_uri())
            assert said == [] and [url[:4] for url in asked if not url.startswith("data:")] == ["file"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            page.close()
        browser.close()


# ---- the command


def test_command_writes_the_report_and_shows_a_table(plane, tmp_path, capsys):
    copy = shutil.copytree(plane, tmp_path / "run")
    main(["evaluate", str(copy), "-n", "60", "--steps", "8", "--quick", "--device", "cpu"])
    out = capsys.readouterr().out
    assert {"report.html", "report.json"} <= {path.name for path in copy.iterdir()}
    said = json.loads((copy / "report.json").read_text())["runs"][0]["scores"]
    for score in said:
        assert score["title"] in out and score["verdict"] in out
    assert "note: 60 of 450 rows" in out and "suspected copies" in out
    main(["evaluate", str(plane), str(copy), "-n", "40", "--steps", "4", "--quick", "--out", str(tmp_path / "both")])
    assert (tmp_path / "both" / "report.html").is_file() and "plane" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--out: say in which folder"),
        (["--out", "FILE"], "is a file; give a folder"),
        (["--out", "new", "-n", "3"], "-n 3: at least 20"),
        (["--out", "new", "--steps", "0"], "--steps 0"),
        (["--out", "new", "--against", "nowhere.csv"], "no such file"),
    ],
    ids=["no-out", "out-is-a-file", "few", "steps", "no-data"],
)
def test_command_refuses_in_one_line(flags, words, plane, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(plane), str(plane), *flags, "--device", "cpu"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "new").exists()
