"""What networks are told: the laws of masks and labels, and runs that are asked for classes, columns and gaps."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import torch

import pushforward as pf
from pushforward.batches import BatchRecipe, feed_for
from pushforward.condition import LabelDropout, RandomMask
from pushforward.config import (
    ConditionConfig,
    Config,
    NetConfig,
    ObjectiveConfig,
    PathConfig,
    TrainConfig,
    components,
    network,
    resolve,
)
from pushforward.data import DataSpec, Transform, load, read_raw, save
from pushforward.data.partial import encode_partial, given_rows
from pushforward.tensor import GaussianMixture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_labels_are_dropped_in_their_share():
    y = torch.arange(20_000) % 7
    told = LabelDropout(0.1)(torch.zeros(20_000, 2), y, seeded())
    assert (told[told >= 0] == y[told >= 0]).all()
    assert abs((told == -1).double().mean() - 0.1) < 4 * math.sqrt(0.09 / 20_000)
    assert (LabelDropout(0.0)(torch.zeros(20_000, 2), y, seeded()) == y).all()
    with pytest.raises(ValueError, match="no classes"):
        LabelDropout(0.1)(torch.zeros(3, 2), None, seeded())


def test_masks_show_whole_pieces_and_every_number_of_them():
    """Given that anything may be shown, 0, 1, ..., k pieces are equally frequent: the beta-binomial law."""
    feature_groups, n = (2, 1, 3, 1), 40_000
    x = torch.randn(n, 7, generator=seeded(1))
    y = RandomMask(0.25, feature_groups)(x + 1, x, seeded())
    shown = ~y.isnan()
    assert (y[shown] == x[shown]).all()
    ends = torch.tensor([0, 2, 3, 6])
    whole = shown[:, ends]
    assert (whole.repeat_interleave(torch.tensor(feature_groups), 1) == shown).all()
    counts = whole.sum(1).bincount(minlength=5) / n
    expected = torch.tensor([0.25 + 0.75 / 5, *[0.75 / 5] * 4])
    assert (counts - expected).abs().max() < 5 * math.sqrt(0.25 / n)
    assert (whole.double().mean(0) - 0.75 / 2).abs().max() < 5 * math.sqrt(0.25 / n)


def test_labels_decide_on_the_coupling_before_they_are_dropped():
    """A class keeps its own source points under optimal transport also where the network is not told the class."""
    x = torch.randn(64, 2, generator=seeded())
    y = torch.arange(64) % 2
    path = pf.Affine()
    recipe = BatchRecipe(path, pf.OptimalTransport(), pf.TIMES["uniform"](), 32)
    dropping = dataclasses.replace(recipe, draw_condition=LabelDropout(0.5))
    (draw, kept), (same, dropped) = feed_for(x, y, recipe, 0)(0), feed_for(x, y, dropping, 0)(0)
    assert (draw.x1 == same.x1).all() and (draw.x0 == same.x0).all()
    assert 0 < (dropped == -1).sum() < 32 and (dropped[dropped >= 0] == kept[dropped >= 0]).all()


def config(**words) -> Config:
    sections = {
        "condition": ConditionConfig,
        "net": NetConfig,
        "path": PathConfig,
        "objective": ObjectiveConfig,
        "train": TrainConfig,
    }
    return Config(**{name: sections[name](**fields) for name, fields in words.items()})


def normals(widths):
    """The laws of pieces of which nothing is known."""
    return tuple(GaussianMixture(torch.zeros(1, width), torch.ones(1), torch.ones(1)) for width in widths)


@pytest.mark.parametrize(
    ("asked", "data", "told", "net"),
    [
        ({}, ((2,), 0, ()), "none", "mlp"),
        ({}, ((1, 8, 8), 10, ()), "labels", "mlp"),
        ({}, ((1, 28, 28), 10, ()), "labels", "dit"),
        ({}, ((5,), 0, (1, 3, 1)), "columns", "tabular"),
        ({}, ((1,), 0, (1,)), "none", "tabular"),
        ({"path": {"coupling": "optimal_transport"}}, ((5,), 0, (1, 3, 1)), "none", "tabular"),
        ({"path": {"coupling": "optimal_transport"}}, ((1, 8, 8), 10, ()), "labels", "mlp"),
        ({"objective": {"objective": "marginal"}}, ((5,), 0, (1, 3, 1)), "none", "tabular"),
        ({"condition": {"condition": "none"}, "net": {"net": "unet"}}, ((3, 9, 7), 4, ()), "none", "unet"),
    ],
    ids=["points", "digits", "pictures", "table", "one column", "ot table", "ot labels", "marginal", "asked"],
)
def test_what_is_left_to_the_data_is_written_out(asked, data, told, net):
    data = DataSpec(*data[:2], normals(data[2]))
    found = resolve(config(**asked), data)
    assert (found.condition.condition, found.net.net) == (told, net)
    assert found.condition.cond_drop == {"none": 1.0, "labels": 0.1, "columns": 0.8}[told]
    assert found.net.width and found.net.depth and resolve(found, data) == found
    field = components(found, data).field_of(network(found, data))
    x = torch.randn(3, *data.shape, generator=seeded())
    y = {"none": None, "labels": torch.tensor([0, 1, -1]), "columns": torch.full((3, 5), math.nan)}[told]
    assert field.velocity(x, 0.5, y=y).shape == x.shape


@pytest.mark.parametrize(
    ("asked", "data", "words"),
    [
        ({"condition": {"condition": "labels"}}, ((2,), 0, ()), "no classes"),
        ({"condition": {"condition": "columns"}}, ((2,), 3, ()), "tables"),
        (
            {"condition": {"condition": "columns"}, "path": {"coupling": "sinkhorn"}},
            ((2,), 0, (1, 1)),
            "--coupling sinkhorn",
        ),
        ({"net": {"net": "dit"}}, ((2,), 0, ()), "transformer"),
    ],
    ids=["no labels", "no columns", "coupling", "vectors"],
)
def test_conditions_that_cannot_be_met_are_refused(asked, data, words):
    with pytest.raises(pf.InputError, match=words):
        network(config(**asked), DataSpec(*data[:2], normals(data[2])))


TINY = {"net": {"width": 32, "depth": 1}}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A run on two classes of 4 x 4 pictures, dark and light, which tells them apart."""
    folder = tmp_path_factory.mktemp("labelled")
    light = np.random.default_rng(0).random(400) < 0.25
    x = np.where(light, 200, 40)[:, None, None] + np.random.default_rng(1).integers(-9, 9, (400, 4, 4))
    np.savez(folder / "data.npz", x=x.astype(np.uint8), y=np.where(light, "light", "dark"))
    words = config(**TINY, train={"batch": 64, "lr": 1e-2, "warmup": 20})
    pf.train(folder / "data.npz", folder / "run", config=words, steps=150)
    return folder


def test_a_run_with_classes_is_asked_by_name(labelled):
    model = pf.load(labelled / "run")
    assert model.run.data.classes == ("dark", "light") and abs(model.run.data.shares[1] - 0.25) < 0.06
    for name, number in (("dark", 0), ("light", 1)):
        rows = model.sample(20, y=name, steps=8, seed=1)
        assert ((rows.mean((1, 2)) > 120) == bool(number)).all()
        assert (rows == model.sample(20, y=number, steps=8, seed=1)).all()
    mixed = model.sample(20, y=["light", "dark"] * 10, steps=8)
    assert ((mixed.mean((1, 2)) > 120) == (np.arange(20) % 2 == 0)).all()
    # classes that nobody asked for are as frequent as in the data, and those of row i the same however it is split
    free = model.labels(4000, seed=3)
    assert abs(free.double().mean() - model.run.data.shares[1]) < 4 * math.sqrt(0.25 / 4000)
    assert (torch.cat([model.labels(100, seed=3), model.labels(50, seed=3, first=100)]) == free[:150]).all()
    assert ((model.sample(30, steps=8).mean((1, 2)) > 120) == model.labels(30).bool().numpy()).all()


def test_densities_are_told_the_class(labelled):
    model = pf.load(labelled / "run")
    rows = model.sample(4, y="light", steps=8)
    right, wrong = (model.log_prob(rows, y=y, steps=4) for y in ("light", "dark"))
    assert (right > wrong).all()
    codes = model.encode(rows, y="light")
    assert np.abs(model.decode(codes, y="light").astype(int) - rows.astype(int)).max() <= 1


def test_guidance_of_a_run(labelled):
    model = pf.load(labelled / "run")
    plain = model.sample(6, y="light", steps=4)
    assert (model.sample(6, y="light", guidance=1.0, steps=4) == plain).all()
    assert (model.sample(6, y="light", guidance=0.0, steps=4) == model.sample(6, y=-1, steps=4)).all()
    far = model.sample(6, y="light", guidance=lambda field: pf.ClassifierFreeGuidance(field, 4.0), steps=4)
    assert (far == model.sample(6, y="light", guidance=4.0, steps=4)).all() and not (far == plain).all()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: m.sample(3, y="grey"), "unknown class 'grey'.*dark, light"),
        (lambda m: m.sample(3, y=2), "unknown class '2'"),
        (lambda m: m.sample(3, y=["dark", "light"]), "2 classes for 3 rows"),
        (lambda m: m.sample(3, where={"a": 1}), "--condition columns"),
        (lambda m: m.sample(3, y="dark", guidance=math.nan), "finite"),
    ],
    ids=["name", "number", "count", "where", "nan"],
)
def test_a_run_says_what_it_cannot_be_asked(labelled, ask, words):
    with pytest.raises(pf.InputError, match=words):
        ask(pf.load(labelled / "run"))


def test_without_dropped_labels_there_is_no_guidance(labelled, tmp_path):
    words = config(**TINY, condition={"drop": 0.0}, train={"batch": 32})
    pf.train(labelled / "data.npz", tmp_path / "run", config=words, steps=2)
    model = pf.load(tmp_path / "run")
    with pytest.raises(pf.InputError, match="--cond-drop 0"):
        model.sample(2, y="dark", guidance=2.0)
    with pytest.raises(pf.InputError, match=r"--cond-drop 0.*give y"):
        model.log_prob(model.sample(2, y="dark", steps=2))


def test_labels_of_samples_are_kept(labelled, tmp_path):
    model = pf.load(labelled / "run")
    rows = model.sample(5, y="light", steps=2)
    save(rows, tmp_path / "new.npz", ["light"] * 5)
    again = load(tmp_path / "new.npz")
    assert again.classes == ("light",) and (read_raw(tmp_path / "new.npz").rows == rows).all()
    save(rows, tmp_path / "numbers.npz", ["3", "1", "1", "3", "2"])
    assert read_raw(tmp_path / "numbers.npz").labels.tolist() == [3, 1, 1, 3, 2]


MEANS, STDS, SHARES = {"a": -2.0, "b": 0.5, "c": 3.0}, {"a": 0.6, "b": 0.9, "c": 0.7}, [0.2, 0.5, 0.3]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run on a table with a known law: a category, a number whose law it decides, and one that is often missing."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    kind = rng.choice(list("abc"), 6000, p=SHARES)
    x = np.array([MEANS[k] for k in kind]) + np.array([STDS[k] for k in kind]) * rng.standard_normal(6000)
    z = np.round(10 * x + rng.standard_normal(6000)).astype(int)
    rows = pa.table({"kind": kind, "x": x, "z": pa.array(z, mask=rng.random(6000) < 0.3)})
    words = config(net={"width": 96, "depth": 2}, condition={"cond_drop": 0.4}, train={"warmup": 50})
    pf.train(rows, folder / "run", config=words, steps=1200)
    return pf.load(folder / "run")


def test_the_known_conditional_of_a_number(table):
    """``x | kind`` is normal: mean and standard deviation of 400 draws, for each kind."""
    for kind in "abc":
        new = table.sample(400, where={"kind": kind}, steps=12)
        assert set(new["kind"].to_pylist()) == {kind}
        x = new["x"].to_numpy()
        assert abs(x.mean() - MEANS[kind]) < 0.1 + 4 * STDS[kind] / 20 and abs(x.std() / STDS[kind] - 1) < 0.35


def test_the_known_conditional_of_a_category(table):
    """``kind | x`` is Bayes' rule on the three normal laws; x stays as it was given."""
    for value in (-0.9, 2.0):
        density = np.array(
            [
                p * math.exp(-(((value - MEANS[k]) / STDS[k]) ** 2) / 2) / STDS[k]
                for k, p in zip("abc", SHARES, strict=True)
            ]
        )
        new = table.sample(400, where={"x": value}, steps=12)
        assert new["x"].to_pylist() == [value] * 400
        shares = [new["kind"].to_pylist().count(k) / 400 for k in "abc"]
        assert np.abs(shares - density / density.sum()).max() < 0.15


def test_gaps_are_filled_and_the_rest_is_kept(table):
    """``z | x`` is 10 x rounded: imputed from x, never by a missing value; absent columns are drawn as a whole."""
    x = np.linspace(-2, 3, 30)
    z = [None if i % 3 else round(10 * v) for i, v in enumerate(x)]
    full = table.fill(pa.table({"z": pa.array(z, pa.int64()), "x": x}), steps=12)
    assert full.column_names == ["kind", "x", "z"] and full["x"].to_pylist() == x.tolist()
    new = full["z"].to_numpy()
    assert full["z"].null_count == 0 and [a for a, b in zip(new, z, strict=True) if b is not None] == z[::3]
    assert np.abs(new - 10 * x).mean() < 4
    # a gap of the training data is a value like any other where it is asked for
    gone = table.sample(20, where={"z": None, "kind": "b"}, steps=4)
    assert gone["z"].null_count == 20


def test_guidance_towards_known_columns(table):
    """The more it leans, the further the law of x goes towards its kind; nothing known is nothing to lean towards."""
    mean = [table.sample(200, where={"kind": "a"}, guidance=w, steps=8)["x"].to_numpy().mean() for w in (0.0, 1.0)]
    free = sum(p * MEANS[k] for k, p in zip("abc", SHARES, strict=True))
    assert abs(mean[0] - free) < 0.6 and abs(mean[1] - MEANS["a"]) < 0.25
    with pytest.raises(pf.InputError, match="--where"):
        table.sample(3, guidance=2.0)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: m.sample(2, where={"knd": "a"}), "unknown column 'knd'; did you mean 'kind'"),
        (lambda m: m.sample(2, where={"kind": "q"}), "'q' was not there in training"),
        (lambda m: m.sample(2, where={"x": "many"}), "'x'.*text|not a number"),
        (lambda m: m.sample(2, where={"x": None}), "missing"),
        (lambda m: m.sample(2, y="a"), "without classes"),
        (lambda m: m.fill(np.zeros((3, 3))), "only rows of a table"),
    ],
    ids=["column", "category", "text", "no gaps there", "classes", "array"],
)
def test_a_table_says_what_it_cannot_be_asked(table, ask, words):
    with pytest.raises(pf.InputError, match=words):
        ask(table)


def test_partial_rows_are_the_encoding_with_gaps():
    """Every known entry is that of ``forward``, and a gap is NaN but for the mark that a value exists."""
    rows = pa.table(
        {"a": [1.0, None, 3.0, 2.5], "b": ["x", "y", "x", "y"], "when": pa.array([1, 2, 3, 4], pa.date32())}
    )
    from pushforward.data.fitting import fit

    transform = fit(rows)
    whole, some = transform.forward(rows), encode_partial(transform, given_rows(transform, rows))
    assert transform.feature_groups == (1, 1, 2, 1)
    known = ~some.isnan()
    assert (~known).nonzero().tolist() == [[1, 0]]
    assert (some[known][[0, 1, 2, 3]] == whole[0, :4]).all() and some[1, 1] == whole[0, 1] != whole[1, 1]
    assert encode_partial(transform, given_rows(transform, rows.select(["b"]))).isnan().sum(1).tolist() == [3] * 4
    again = Transform.from_json(transform.to_json())
    assert again.feature_groups == transform.feature_groups


def call(*args) -> None:
    from pushforward.cli import main

    main([str(arg) for arg in args])


def test_the_command_line_asks_for_classes(labelled, tmp_path, capsys):
    run = labelled / "run"
    call("sample", run, "-n", 4, "--y", "light", "--steps", 2, "-o", tmp_path / "new.npz")
    again = read_raw(tmp_path / "new.npz")
    assert again.rows.shape == (4, 4, 4) and again.labels.tolist() == ["light"] * 4
    call(
        "sample", run, "--per-class", 3, "--guidance", 2, "--interval", 0.1, 0.9, "--steps", 2, "-o", tmp_path / "a.npz"
    )
    assert read_raw(tmp_path / "a.npz").labels.tolist() == ["dark"] * 3 + ["light"] * 3
    call("sample", run, "--per-class", 2, "--guidance", 2, "--weak", run, "--steps", 2, "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    call("info", run)
    assert "dark" in (out := capsys.readouterr().out) and "FLOP" in out


def test_the_command_line_scores_and_encodes_by_class(labelled, tmp_path, capsys):
    run, file, model = labelled / "run", tmp_path / "rows.npz", pf.load(labelled / "run")
    rows = model.sample(3, y="dark", steps=2)
    save(rows, file)
    call("score", run, file, "--y", "light", "--steps", 2, "-o", tmp_path / "s.csv")
    found = torch.tensor(read_raw(tmp_path / "s.csv").rows["log_prob"].to_pylist()).float()
    torch.testing.assert_close(found, model.log_prob(rows, y="light", steps=2).float(), rtol=1e-5, atol=1e-3)
    assert not torch.allclose(found, model.log_prob(rows, steps=2).float(), rtol=1e-3)
    call("encode", run, file, "--y", "dark", "-o", tmp_path / "z.npy")
    assert np.allclose(np.load(tmp_path / "z.npy"), model.encode(rows, y="dark"), atol=1e-5)
    for command in ("score", "encode"):
        with pytest.raises(SystemExit, match="2"):
            call(command, run, file, "--y", "drak", "-o", tmp_path / "no.npy")
        assert "did you mean 'dark'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "one of -n, --per-class and --fill"),
        (("-n", 3, "--per-class", 2), "-n and --per-class"),
        (("--per-class", 2, "--y", "dark"), "--per-class 2"),
        (("-n", 3, "--y", "drak"), "did you mean 'dark'"),
        (("-n", 3, "--where", "a=1"), "--condition columns"),
        (("-n", 3, "--where", "a"), "COLUMN=VALUE"),
        (("-n", 3, "--rescale", 0.5), "--guidance"),
        (("-n", 3, "--guidance", 2, "--rescale", 1.5), "share"),
        (("-n", 3, "--guidance", 2, "--interval", 0.9, 0.1), "interval"),
        (("--fill", "digits"), "--condition columns"),
    ],
    ids=["none", "two", "both", "class", "where", "pair", "rescale", "share", "interval", "fill"],
)
def test_the_command_line_says_what_is_wrong(labelled, tmp_path, capsys, flags, words):
    with pytest.raises(SystemExit) as stop:
        call("sample", labelled / "run", "-o", tmp_path / "x.npz", *flags)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and words in err and "Traceback" not in err and not (tmp_path / "x.npz").exists()


def test_the_command_line_fills_gaps(table, tmp_path):
    (tmp_path / "gaps.csv").write_text("kind,x,z\na,-2.25,\n,,17\n")
    call("sample", table.folder, "--fill", tmp_path / "gaps.csv", "--steps", 4, "-o", tmp_path / "full.csv")
    lines = [line.replace('"', "").split(",") for line in (tmp_path / "full.csv").read_text().splitlines()]
    assert lines[0] == ["kind", "x", "z"] and lines[1][:2] == ["a", "-2.25"] and lines[2][2] == "17"
    assert all(cell for line in lines for cell in line)
    call("sample", table.folder, "-n", 5, "--where", "kind=b", "--where", "z=", "--steps", 2, "-o", tmp_path / "b.csv")
    rows = [line.replace('"', "").split(",") for line in (tmp_path / "b.csv").read_text().splitlines()[1:]]
    assert len(rows) == 5 and all(row[0] == "b" and row[2] == "" for row in rows)


@pytest.mark.parametrize("field", ["preconditioned", "energy", "joint"])
def test_every_field_trains_and_samples_by_name(field, tmp_path):
    """A run of each kind of field learns something, is loaded again, and is the kind that was asked for."""
    words = config(
        **TINY, objective={"field": field, "objective": "joint" if field == "joint" else "flow"}, train={"batch": 64}
    )
    pf.train("moons", tmp_path / "run", config=words, steps=12, report_every=4)
    model = pf.load(tmp_path / "run")
    assert type(model.field).__name__.lower() == field and model.sample(3, steps=2).shape == (3, 2)


def test_a_field_that_does_not_exist_on_the_path_is_refused():
    words = config(path={"source": "uniform"}, objective={"field": "energy"})
    with pytest.raises(pf.InputError, match="--field energy"):
        components(words, DataSpec((2,)))
