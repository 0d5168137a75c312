"""What the axes of an array are (``--layout``): values come back, densities do not depend on it, guesses are said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward.cli import main as command_line
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import Transform, inspect, load
from pushforward.data.axes import Axes
from pushforward.errors import InputError
from pushforward.plot.grids import left_out
from pushforward.run.export import Units

CONFIG = Config(net=NetConfig(net="mlp", width=16, depth=1), train=TrainConfig(batch=8, held_out=0.2))
NUMBERS = np.random.default_rng(0)


def main(words):
    """The exit code of a command."""
    try:
        command_line(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


# shape of a row, layout, shape of a model row
TAKEN = [
    ((40,), "sequence", (1, 40)),
    ((28, 3), "sequence", (3, 28)),
    ((8, 8), "image", (1, 8, 8)),
    ((12, 10, 3), "image", (3, 12, 10)),
    ((3, 12, 10), "image", (3, 12, 10)),
    ((12, 10, 5), "image", (5, 12, 10)),
    ((2, 12, 10), "image", (2, 12, 10)),
    ((4, 5, 6), "volume", (1, 4, 5, 6)),
    ((4, 5, 6, 2), "volume", (2, 4, 5, 6)),
    ((2, 4, 5, 6), "volume", (2, 4, 5, 6)),
    ((4, 5, 6), "vector", (120,)),
    ((7,), "vector", (7,)),
    # as it was before there were layouts
    ((28, 3), None, (1, 28, 3)),
    ((8, 8, 8), None, (8, 8, 8)),
    ((12, 10, 3), None, (3, 12, 10)),
    ((12, 10, 5), None, (12, 10, 5)),
    ((4, 5, 6, 2), None, (4, 5, 6, 2)),
]


def whole(shape, dtype="u1", n=30):
    """Integers, which come back bit for bit."""
    return NUMBERS.integers(0, 200, size=(n, *shape)).astype(dtype)


def order(model, shape, layout):
    """The numbers of a row's entries, in the order of the model row."""
    axes = Axes.of((1, *shape), layout, "here")
    index = np.arange(np.prod(shape)).reshape(shape)
    index = index if axes.channel_axis is None else np.moveaxis(index, axes.channel_axis, 0)
    return index.reshape(model)


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4"])
@pytest.mark.parametrize(("shape", "layout", "model"), TAKEN)
def test_rows_come_back_in_their_own_shape(shape, layout, model, dtype):
    rows = whole(shape, dtype)
    data = load(rows, layout=layout)
    t = data.transform
    assert t.shape == tuple(data.x.shape[1:]) == model
    back = t.inverse(data.x)
    assert back.shape == rows.shape and back.dtype == rows.dtype
    assert np.array_equal(back, rows) if dtype != "f4" else np.allclose(back, rows, atol=1e-4)
    # every entry is where the layout says
    entries = order(model, shape, layout).reshape(-1)
    flat = rows.reshape(len(rows), -1)[:, entries]
    x = data.x.flatten(1).numpy()
    for j in (0, len(entries) // 2, len(entries) - 1):
        assert abs(np.corrcoef(flat[:, j].astype(float), x[:, j])[0, 1] - 1) < 1e-6
    # a run stores what it learned, and reads rows like them
    stored = Transform.from_json(json.loads(json.dumps(t.to_json())))
    assert stored == t and torch.equal(stored.forward(rows), data.x)
    assert ("layout" in t.to_json()) == (layout is not None)
    if Units.fits(t):
        assert np.array_equal(Units(t)(data.x).numpy(), back)


def test_the_density_of_units_is_the_sum_of_the_scales():
    rows = whole((28, 3), "f8") * [1.0, 100.0, 0.01]
    t = load(rows, layout="sequence").transform
    scales = rows.std(axis=(0, 1))
    assert t.log_det == pytest.approx(-28 * np.log(scales).sum(), rel=1e-6)
    assert [c.scale for c in t.columns] == pytest.approx(scales.tolist())
    picture = load(rows).transform
    assert picture.log_det == pytest.approx(-84 * np.log(rows.std()), rel=1e-6)
    assert load(rows, layout="vector").transform.log_det == pytest.approx(-np.log(rows.std(0)).sum(), rel=1e-6)


def test_a_vector_is_its_flat_array():
    rows = whole((4, 5))
    one, two = load(rows, layout="vector"), load(rows.reshape(30, 20))
    assert torch.equal(one.x, two.x) and one.transform.columns == two.transform.columns


def test_a_channel_that_is_constant_is_left_out_and_comes_back():
    rows = whole((9, 3))
    rows[..., 1] = 7
    data = load(rows, layout="sequence")
    assert data.x.shape == (30, 2, 9) and np.array_equal(data.transform.inverse(data.x), rows)
    assert np.array_equal(Units(data.transform)(data.x).numpy(), rows)


@pytest.mark.parametrize("layout", ["sequence", "vector", "image"])
def test_noise_of_integers_stays_in_their_cells(layout):
    data = load(whole((6, 4)), layout=layout)
    u = torch.rand(data.x.shape, generator=torch.Generator().manual_seed(0))
    moved = data.transform.dequantize(data.x, u)
    assert not torch.equal(moved, data.x)
    assert np.array_equal(data.transform.inverse(moved), data.transform.inverse(data.x))


# ---- notes


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((28, 3), "pictures of 28 x 3 with one channel; say --layout sequence for sequences of 28 steps of 3 channels"),
        ((8, 8, 8), "8 x 8 with 8 channels, the first axis; say --layout volume for volumes of 8 x 8 x 8"),
        ((12, 10, 5), "12 x 10 with 5 channels or --layout volume"),
        ((6, 6, 6, 2), "volumes of 6 x 6 x 2 with 6 channels; say --layout volume for volumes of 6 x 6 x 6 with 2"),
        ((28, 28), ""),
        ((8, 8), ""),
        ((16, 24, 3), ""),
        ((3, 16, 24), ""),
        ((5,), ""),
    ],
)
def test_a_guess_is_said_where_it_is_doubtful(shape, words):
    rows = whole(shape)
    notes = load(rows).notes
    assert notes == inspect(rows).notes and len(notes) == bool(words)
    assert all(words in note for note in notes)


def test_pictures_are_no_guess(tmp_path):
    for i in range(4):
        Image.fromarray(whole((5, 7), n=1)[0]).save(tmp_path / f"{i}.png")
    assert load(tmp_path).notes == inspect(tmp_path).notes == ()
    assert load(whole((40, 9)), size="30x5").notes == ()


def test_what_is_said_is_a_note():
    rows = whole((28, 3))
    assert load(rows, layout="sequence").notes == (
        "arrays of [28, 3] are taken as sequences of 28 steps of 3 channels (--layout sequence)",
    )
    summary = inspect(rows, layout="sequence")
    assert summary.kind == "sequence" and [c.name for c in summary.columns] == ["x0", "x1", "x2"]
    assert summary.columns[1].max == rows[..., 1].max()


# ---- refusals


@pytest.mark.parametrize(
    ("shape", "layout", "words"),
    [
        ((5, 5), "image", "--layout sequence or vector"),
        ((5,), "sequence", "--layout vector"),
        ((5, 4, 4, 4), "sequence", "--layout image or volume or vector"),
        ((5, 3, 3), "volume", "--layout image or sequence or vector"),
        ((5, 0, 3), "sequence", "has length 0"),
        ((0, 4), "vector", "has length 0"),
        ((5, 4), "pictures", "unknown layout 'pictures'"),
    ],
)
def test_an_array_of_another_layout_is_refused_in_one_sentence(tmp_path, shape, layout, words):
    np.save(tmp_path / "rows.npy", np.zeros(shape))
    for door in (load, inspect):
        with pytest.raises(InputError) as error:
            door(tmp_path / "rows.npy", layout=layout)
        said = str(error.value)
        assert "--layout" in said and words in said and "\n" not in said
        assert "rows.npy" in said or layout == "pictures"


@pytest.mark.parametrize("door", [load, inspect])
def test_a_layout_is_of_arrays(tmp_path, door):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "cats").mkdir()
    for i in range(3):
        Image.fromarray(whole((5, 7), n=1)[0]).save(tmp_path / "cats" / f"{i}.png")
    for name, words in (("t.csv", "a table"), ("cats", "a folder of pictures")):
        with pytest.raises(InputError, match=rf"{name}: --layout image is for arrays .* this is {words}; leave it out"):
            door(tmp_path / name, layout="image")
    with pytest.raises(InputError, match="--resize and --layout sequence"):
        door(whole((8, 8)), size=4, layout="sequence")


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "sequence"},
        {"layout": "image"},
        {"layout": "waves"},
        {"kind": "image"},
        {"kind": "array"},
        {"row_shape": [28]},
        {"row_shape": [28, 4]},
        {"row_shape": [28, 3, 3]},
    ],
)
def test_a_damaged_transform_is_refused(change):
    stored = load(whole((28, 3)), layout="sequence").transform.to_json()
    if change == {"layout": "sequence"}:
        del stored["layout"]
    else:
        stored |= change
    with pytest.raises(InputError, match="transform"):
        Transform.from_json(stored)


# ---- runs


def test_densities_are_those_of_the_transposed_array(tmp_path):
    last = whole((6, 2), "f4")
    first = np.ascontiguousarray(np.moveaxis(last, -1, 1))
    model = pf.train(last, tmp_path / "run", config=CONFIG, steps=3, layout="sequence")
    scale = np.float64([c.scale for c in model.transform.columns])
    low = np.float64([c.low + c.mean for c in model.transform.columns])
    x = torch.from_numpy(((first - low[:, None]) / scale[:, None]).astype("f4"))
    plain = pf.log_likelihood(model.field, x, steps=4, method="exact").log_prob
    found = model.log_prob(last, steps=4)
    assert torch.allclose(found.double(), plain.double() - 6 * np.log(scale).sum(), atol=1e-3)
    # of pictures, whose channels may be first or last
    red = whole((6, 6, 3), "f4")
    made = pf.train(red, tmp_path / "red", config=CONFIG, steps=3, layout="image")
    other = pf.train(np.ascontiguousarray(np.moveaxis(red, -1, 1)), tmp_path / "r", config=CONFIG, steps=3)
    assert torch.equal(
        made.log_prob(red, steps=2), other.log_prob(np.ascontiguousarray(np.moveaxis(red, -1, 1)), steps=2)
    )


@pytest.mark.parametrize(
    ("shape", "layout"), [((6, 2), "sequence"), ((3, 3, 4), "volume"), ((4, 4, 5), "image"), ((3, 4), "vector")]
)
def test_a_run_reads_its_samples_again(tmp_path, monkeypatch, capsys, shape, layout):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", x=whole(shape, "i2", 60))
    small = ["--net", "mlp", "--width", "16", "--depth", "1", "--batch", "8", "--held-out", "0.5", "--device", "cpu"]
    command = ["train", "rows.npz", "--layout", layout, "--steps", "3", "--out", "run", *small]
    assert main(command) == 0
    said = capsys.readouterr()
    assert f"(--layout {layout})" in said.out + said.err and "no preview" not in said.out + said.err
    assert main(["info", "run"]) == 0 and f"(--layout {layout})" in capsys.readouterr().out
    for name in ("new.npz", "new.npy", "new.png"):
        assert main(["sample", "run", "-n", "9", "-o", name, "--steps", "2"]) == 0
    new = np.load("new.npz")["x"]
    assert new.shape == (9, *shape) and new.dtype == np.int16
    assert np.array_equal(new, np.load("new.npy"))
    for name in ("new.npz", "new.npy"):
        assert main(["score", "run", name, "-o", "scores.csv", "--steps", "2"]) == 0
    assert main(["encode", "run", "new.npy", "-o", "codes.npy"]) == 0
    assert np.load("codes.npy").shape == (9, *pf.load("run").transform.shape)
    assert main(["sample", "run", "-n", "9", "-o", "new.csv", "--steps", "2"]) == 2
    assert "do not fit a table; save them as .npy" in capsys.readouterr().err
    # the same command goes on, another layout is refused by name
    assert main(command) == 0
    other = "vector" if layout != "vector" else "image"
    assert main([*command[:3], other, *command[4:]]) == 2
    assert f"--layout was {layout}, is {other}" in capsys.readouterr().err


@pytest.mark.parametrize(("shape", "layout"), [((6, 2), "sequence"), ((3, 3, 4, 2), "volume"), ((4, 3), "vector")])
def test_a_report_draws_rows_of_every_layout(tmp_path, shape, layout):
    rows = whole(shape, "f4", 120)
    np.save(tmp_path / "rows.npy", rows)
    model = pf.train(str(tmp_path / "rows.npy"), tmp_path / "run", config=CONFIG, steps=3, layout=layout)
    report = model.evaluate(str(tmp_path / "rows.npy"), n=30, quick=True, steps=2)
    page = report.to_html()
    assert any(f"--layout {layout}" in note for note in report.runs[0].notes)
    shown = {"sequence": 'alt="Held-out data"', "volume": "the middle slice of each, the first of 2 channels"}
    assert shown.get(layout, "Each column in its own units") in page


def test_sequences_of_one_channel_fit_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = pf.train(whole((6,), "f8"), "run", config=CONFIG, steps=3, layout="sequence")
    assert main(["sample", "run", "-n", "5", "-o", "new.csv", "--steps", "2"]) == 0
    assert main(["score", "run", "new.csv", "-o", "scores.npy", "--steps", "2"]) == 0
    again = model.log_prob(model.sample(5, steps=2, seed=0), steps=2)
    assert np.allclose(np.load("scores.npy")[:, 1], again, atol=1e-3)


def test_the_command_line_refuses_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("flat.npy", np.ones((9, 5)))
    Path("t.csv").write_text("a,b\n1,2\n3,4\n")
    for words in (["train", "flat.npy", "--out", "r"], ["train", "t.csv", "--out", "r"], ["inspect", "t.csv"]):
        assert main([*words, "--layout", "image"]) == 2
        said = capsys.readouterr().err
        assert words[1] in said and "--layout image" in said and len(said.strip().splitlines()) == 1
    assert main(["train", "--reflow", "run", "--layout", "image", "--out", "r"]) == 2
    assert "--layout image: --reflow takes the layout of its run" in capsys.readouterr().err
    assert not Path("r").exists()


def test_pictures_of_sequences_and_volumes():
    assert pf.plot.sequences(torch.randn(5, 9, 1)).axes
    assert pf.plot.rows(torch.randn(5, 2, 9), labels=list("abcde")).axes
    assert pf.plot.rows(torch.randn(5, 8, 6, 6)).axes and pf.plot.rows(torch.randn(5, 1, 4, 6, 6)).axes
    lines = pf.plot.sequences(torch.tensor([[[0.0, 0.5, 1.0]], [[1.0, float("nan"), 0.0]]]), columns=2)
    drawn = lines.axes[0].collections[1].get_segments()
    assert np.array_equal(drawn[0], [[0, 0], [0.5, 0.5], [1, 1]])
    for bad, more in ((torch.zeros(5, 2, 9), {"columns": 0}), (torch.zeros(0, 2, 9), {})):
        with pytest.raises(InputError):
            pf.plot.sequences(bad, **more)
    with pytest.raises(InputError):
        pf.plot.rows(torch.zeros(5, 2, 2, 2, 2, 2))
    assert left_out((1, 9)) == left_out((3, 8, 8)) == left_out((1, 1, 8, 8)) == ""
    assert left_out((9, 5)) == "7 of 9 channels"
    assert left_out((2, 4, 8, 8)) == "the middle slice of each, the first of 2 channels"
    with pytest.raises(InputError):
        pf.plot.sequences(torch.zeros(5, 2, 9), labels=["a"])
