"""Files as people have them: what once failed is read, trained on, sampled and read back with its right values."""

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import pushforward as pf
from pushforward import cli
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import inspect, load, read_like, save
from pushforward.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
RNG = np.random.default_rng(0)


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(data, folder, **how):
    return pf.train(data, folder / "run", config=CONFIG, steps=3, **how)


@pytest.mark.parametrize("cell", ["US", "", "yes"], ids=["one text", "empty", "one word"])
def test_a_column_of_one_value(cell, tmp_path):
    """Trained on, sampled, scored and given: it is what it was in every row."""
    data = write(tmp_path / "x.csv", ["c,v,w", *(f"{cell},{a:.3f},{b:.2f}" for a, b in RNG.normal(size=(60, 2)))])
    model = trained(data, tmp_path)
    rows = model.sample(5, steps=2)
    assert rows["c"].to_pylist() == [cell or None] * 5
    save(rows, tmp_path / "back.csv")
    assert (
        model.log_likelihood(read_like(tmp_path / "back.csv", model.transform).rows, steps=2).log_prob.isfinite().all()
    )
    if cell:
        assert model.sample(2, where={"c": cell}, steps=2)["c"].to_pylist() == [cell] * 2
        with pytest.raises(InputError, match="was not there in training"):
            model.sample(2, where={"c": "another"}, steps=2)


def test_an_array_without_dimensions(tmp_path):
    np.save(tmp_path / "x.npy", np.float64(3))
    for read in (inspect, load):
        with pytest.raises(InputError, match=r"no rows to learn from in an array of shape \(\)"):
            read(tmp_path / "x.npy")


def test_hidden_files_are_left_out_and_counted(tmp_path):
    for kind in ("cat", "dog", ".ipynb_checkpoints", "__MACOSX", "cat/.trash"):
        (tmp_path / "pets" / kind).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            Image.fromarray(RNG.integers(0, 255, (4, 4)).astype(np.uint8)).save(tmp_path / "pets" / kind / f"{i}.png")
    (tmp_path / "pets" / "readme.txt").write_text("x")
    found = load(tmp_path / "pets")
    assert len(found) == 6 and found.classes == ("cat", "dog")
    assert found.notes == (f"{tmp_path / 'pets'}: not looked at: 9 hidden files and 1 of other endings (readme.txt)",)
    # a hidden folder that is named is looked at
    assert len(load(tmp_path / "pets" / "__MACOSX")) == 3
    (tmp_path / "t" / ".old").mkdir(parents=True)
    for place in ("t", "t/.old"):
        write(tmp_path / place / "a.csv", ["a", "1", "2"])
    assert len(load(tmp_path / "t")) == 2


@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "BOM"])
def test_excels_first_line(mark, start, tmp_path):
    """``sep=;`` names the mark, and lines are counted with it."""
    lines = [f"{start}sep={mark}", f"age{mark}v", *(f"{i}{mark}{i / 4:.2f}" for i in range(20))]
    rows = load(write(tmp_path / "x.csv", lines))
    assert [c.name for c in rows.transform.columns] == ["age", "v"] and len(rows) == 20
    with pytest.raises(InputError, match="line 4"):
        load(write(tmp_path / "x.csv", [*lines[:3], f"a{mark}3", *lines[4:]]), {"age": "number"})


def test_more_categories_than_there_may_be(tmp_path):
    """The message names the limit, and not the schema that was given."""
    data = write(tmp_path / "x.csv", ["sku,v", *(f"s{i},{i % 7}" for i in range(66_000))])
    with pytest.raises(InputError, match=r"more than 65,536 different values, and a categorical column has so many"):
        load(data, {"sku": "categorical"})


def test_classes_that_are_minus_one_and_one(tmp_path):
    y = np.array([-1, 1] * 30)
    np.savez(tmp_path / "x.npz", x=y[:, None] + 0.1 * RNG.normal(size=(60, 1)), y=y)
    model = trained(tmp_path / "x.npz", tmp_path)
    for label in (-1, "-1", np.int64(-1)):
        assert model.labels(3, label).tolist() == [0, 0, 0]
    assert model.labels(2, [1, -1]).tolist() == [1, 0]
    np.savez(tmp_path / "z.npz", x=y[:, None] + 0.1 * RNG.normal(size=(60, 1)), y=y + 1)
    other = pf.train(tmp_path / "z.npz", tmp_path / "other", config=CONFIG, steps=3)
    assert other.labels(2, -1).tolist() == [-1, -1]  # where no class has that name it is none


def test_too_few_rows_to_judge_diffusions_by(tmp_path, capsys):
    model = trained(write(tmp_path / "x.csv", ["a", "1.5", "2.5", "4"]), tmp_path)
    assert np.isfinite(model.tune(2).distance) and model.sample(3)["a"].null_count == 0
    cli.main(["tune", str(tmp_path / "run"), "--nfe", "2"])
    assert "sample uses it from now on" in capsys.readouterr().out


CODES = {"zip": "categorical", "version": "categorical", "flag": "categorical", "id": "drop"}


@pytest.fixture
def codes(tmp_path):
    """Text that looks like other things, a column that is dropped, a date, a number with gaps, and a truth."""
    kinds = ["01234,1.10,True", "1234,1.1,False", "00501,2.0,NA_"]
    lines = [
        f"{i},{kinds[i % 3]},2024-01-{i % 28 + 1:02d},{'' if i % 9 == 0 else i / 8},{i % 2 == 0}" for i in range(90)
    ]
    return write(tmp_path / "codes.csv", ["id,zip,version,flag,day,n,odd", *lines])


def test_what_is_known_is_read_as_the_columns_own_text(codes, tmp_path):
    """``01234`` is that category, not the number 1234; dates, numbers and truths are theirs; anything else a line."""
    model = trained(codes, tmp_path, schema=CODES)
    for name, text in (("zip", "01234"), ("zip", "1234"), ("version", "1.10"), ("flag", "True"), ("flag", "NA_")):
        assert model.sample(3, where={name: text}, steps=2)[name].to_pylist() == [text] * 3, text
    day = model.sample(2, where={"day": "2024-01-05"}, steps=2)["day"].to_pylist()
    assert [str(value) for value in day] == ["2024-01-05"] * 2
    for text in (" 2.5 ", "25e-1"):
        assert model.sample(2, where={"n": text}, steps=2)["n"].to_pylist() == [2.5] * 2
    assert model.sample(2, where={"n": None}, steps=2)["n"].to_pylist() == [None] * 2
    assert model.sample(2, where={"odd": "true"}, steps=2)["odd"].to_pylist() == [True] * 2
    for name, text in (("n", "abc"), ("day", "5.1.2024"), ("odd", "perhaps")):
        with pytest.raises(InputError, match=f"column '{name}'.*{text}"):
            model.sample(2, where={name: text}, steps=2)
    for _ in range(12):  # a thread of a reader once ended the process
        with pytest.raises(InputError, match="was not there in training"):
            model.sample(2, where={"flag": "Nope"}, steps=2)


def test_a_run_reads_its_own_file_as_in_training(codes, tmp_path, capsys):
    """By every command that reads rows again: types, dropped columns, and what it wrote itself."""
    model = trained(codes, tmp_path, schema=CODES)
    rows = read_like(codes, model.transform).rows
    assert rows["zip"].to_pylist()[:3] == ["01234", "1234", "00501"] and rows["version"].to_pylist()[0] == "1.10"
    right = load(codes, CODES).x
    np.testing.assert_array_equal(model.transform.forward(rows), right)
    run, out = str(tmp_path / "run"), tmp_path / "out.csv"
    made = tmp_path / "made.csv"
    cli.main(["sample", run, "-n", "40", "--steps", "2", "-o", str(made)])
    for data in (codes, made):
        cli.main(["score", run, str(data), "--steps", "2", "-o", str(out)])
        cli.main(["encode", run, str(data), "-o", str(out)])
        cli.main(["sample", run, "--fill", str(data), "--steps", "2", "-o", str(out)])
        assert set(read_like(out, model.transform).rows["version"].to_pylist()) <= {"1.10", "1.1", "2.0"}
    assert "90 rows" in capsys.readouterr().out


def test_pictures_are_brought_to_the_size_of_the_run(tmp_path, capsys):
    (tmp_path / "pics").mkdir()
    for i, size in enumerate([(9, 12), (8, 8), (20, 8)] * 8):
        Image.fromarray(RNG.integers(0, 255, size).astype(np.uint8)).save(tmp_path / "pics" / f"{i}.png")
    model = trained(tmp_path / "pics", tmp_path, resize=8)
    for command in ("score", "encode"):
        more = ["--steps", "1"] if command == "score" else []
        cli.main([command, str(tmp_path / "run"), str(tmp_path / "pics"), *more, "-o", str(tmp_path / "o.csv")])
    assert "24 codes of shape (1, 8, 8)" in capsys.readouterr().out
    assert read_like(tmp_path / "pics", model.transform).rows.shape == (24, 8, 8)


def test_types_of_columns_are_those_of_the_run(tmp_path):
    """Arrow's types by name; what was dropped has none."""
    table = pa.table({"a": pa.array([1, 2, 3] * 20, pa.int16()), "b": ["x", "y", "z"] * 20, "c": [1.5] * 60})
    transform = load(table, {"c": "drop"}).transform
    assert transform.types == {"a": pa.int16(), "b": pa.string()}
    assert {name: column.kind for name, column in transform.schema.items()} == {
        "a": "number",
        "b": "categorical",
        "c": "drop",
    }


def test_scoring_loses_no_row(tmp_path, capsys):
    """A row that the network overflows at has a density below every number, and says so; the others have theirs."""
    data = write(tmp_path / "x.csv", ["a,b", *(f"{a:.4f},{b:.4f}" for a, b in RNG.normal(size=(80, 2)))])
    trained(data, tmp_path)
    near = write(tmp_path / "near.csv", ["a,b", "0.1,0.2", "1.0,-1.0"])
    far = write(tmp_path / "far.csv", ["a,b", "0.1,0.2", "1.0,-1.0", "1e38,-1e38"])
    scores = []
    for file in (near, far):
        out = tmp_path / f"{file.stem}-scores.csv"
        cli.main(["score", str(tmp_path / "run"), str(file), "--steps", "3", "-o", str(out)])
        scores.append(pd.read_csv(out).to_dict("list"))
    assert scores[1]["log_prob"][:2] == pytest.approx(scores[0]["log_prob"], rel=1e-13)
    assert scores[1]["log_prob"][2] < -1e6 and scores[1]["step_error"][2] == np.inf
    said = capsys.readouterr().out
    assert "1 row is so far out" in said and "row 2)" in said and "nan" not in said
    # a matrix of all columns too, whatever is not a number there
    cli.main(["score", str(tmp_path / "run"), str(near), "--steps", "3", "-o", str(tmp_path / "scores.npy")])
    matrix = np.load(tmp_path / "scores.npy")
    assert (
        matrix.shape == (2, 4)
        and matrix[:, 1].tolist() == pytest.approx(scores[0]["log_prob"], rel=1e-13)
        and np.isnan(matrix[:, 3]).all()
    )


def seconds(action):
    """The processor's time that an action takes."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["header", "columns"])
def test_many_columns_take_time_in_proportion(kind, tmp_path):
    """Eight times as many take far less than 64 times as long: a name that is repeated at the end, and whole tables."""

    def header(n):
        path = write(tmp_path / f"{n}.csv", [",".join([*(f"c{i}" for i in range(n)), f"c{n - 1}"]), "1" + ",1" * n])
        with pytest.raises(InputError, match="appears twice"):
            load(path)

    def columns(n):
        names = [f"c{i}" for i in range(n)]
        table = pa.table(dict(zip(names, RNG.normal(size=(n, 5)), strict=True)))
        save(table, tmp_path / f"{n}.parquet")
        found = load(tmp_path / f"{n}.parquet")
        assert found.transform.inverse(found.x).column_names == names

    action, few = (header, 12_500) if kind == "header" else (columns, 500)
    action(few // 8)  # what is done once
    assert seconds(lambda: action(8 * few)) < 24 * seconds(lambda: action(few))
