"""Rules of pairs of values: a column that two others determine, and only those pairs that occur."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_data_rules import gaps_filled, points, same_rows

import pushforward as pf
from pushforward.config import ConditionConfig, Config, NetConfig, TrainConfig
from pushforward.data import Transform, fit, inspect, read_schema
from pushforward.errors import InputError

N = 600
CONFIG = Config(
    net=NetConfig(width=8, depth=1),
    train=TrainConfig(batch=32, warmup=2),
    condition=ConditionConfig(condition="columns"),
)
PRICES = np.random.default_rng(9).integers(10, 40, (6, 4))
JOBS = {(f"d{i}", f"j{2 * i + k:02d}") for i in range(6) for k in range(4)}


def names(transform):
    """The rules of several columns."""
    return {rule.name for rule in transform.rules.kept if rule.sources}


def cars(rng, n=N):
    make, grade = rng.integers(0, 6, n), rng.integers(0, 4, n)
    return {"make": [f"m{i}" for i in make], "grade": [f"g{i}" for i in grade], "price": PRICES[make, grade]}


def staff(rng, n=N):
    team = rng.integers(0, 6, n)
    return {"team": [f"d{i}" for i in team], "job": [f"j{i:02d}" for i in 2 * team + rng.integers(0, 4, n)]}


def premiums(rng, n=N):
    """By the age of whole years and the sex, of which one age of each was not seen."""
    age, sex = rng.integers(20, 40, n), rng.integers(0, 2, n)
    age = np.where(age == 30 + sex, 33, age)
    return {"age": age, "sex": np.array(["f", "m"])[sex], "premium": (age // 3 * (7 + 4 * sex)) % 50 * 1.5}


def obeyed(table):
    """Hold a table to the laws of those above of which it has the columns, in plain numbers."""
    s, laws = {name: table[name].to_pylist() for name in table.column_names}, 0
    if {"make", "grade", "price"} <= set(s):
        laws += 1
        rows = zip(s["make"], s["grade"], s["price"], strict=True)
        assert all(price == PRICES[int(make[1:]), int(grade[1:])] for make, grade, price in rows)
    if {"team", "job"} <= set(s):
        laws += 1
        assert set(zip(s["team"], s["job"], strict=True)) <= JOBS
    if {"age", "sex", "premium"} <= set(s):
        laws += 1
        rows = [(a, "fm".index(b), c) for a, b, c in zip(s["age"], s["sex"], s["premium"], strict=True)]
        for age, sex, premium in rows:
            if age in range(20, 40) and age != 30 + sex:
                assert premium == age // 3 * (7 + 4 * sex) % 50 * 1.5
        assert len({row[:2] for row in rows}) == len(set(rows))  # also of pairs that were not seen
    return laws


MADE = {cars: "price by make, grade", staff: "together(team, job)", premiums: "premium by age, sex"}


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_rules_of_pairs_are_found_and_kept(make, seed):
    rng = np.random.default_rng(seed)
    table = pa.table(make(rng) | {"x": rng.normal(size=N)})
    transform = fit(table)
    assert names(transform) == {MADE[make]}
    assert any(MADE[make] in note for note in transform.notes)
    same_rows(transform.inverse(transform.forward(table)), table)
    assert transform.possible(table).all() and obeyed(table) == 1
    for width in (1.0, 4.0):  # also of a model that says anything
        made = transform.inverse(points(transform, width=width))
        assert made.schema.equals(table.schema)
        assert transform.possible(made).all() and obeyed(made) == 1
    assert Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False))) == transform
    assert MADE[make] not in names(fit(table, schema=read_schema({"rules": [f"not {MADE[make]}"]})))


def test_what_is_nearly_so_is_no_rule():
    """One row in a hundred that says otherwise, and pairs that are rare but occur; and two that say the same."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = cars(rng)
        some = rng.random(N) < 0.02
        table["price"] = np.where(some, rng.integers(10, 40, N), table["price"])
        team = rng.integers(0, 6, N)
        job = np.where(rng.random(N) < 0.05, rng.integers(0, 14, N), 2 * team + rng.integers(0, 4, N))
        table |= {"team": [f"d{i}" for i in team], "job": [f"j{i:02d}" for i in job]}
        # near a column that one of the two determines, but for some noise in it
        table["size"] = np.where(rng.random(N) < 0.02, 9, team % 3)
        assert not names(fit(pa.table(table))), seed


def test_both_columns_must_say_something():
    """Of a column that one alone determines nothing else is said."""
    rng = np.random.default_rng(0)
    table = cars(rng)
    table["origin"] = ["EU" if int(make[1]) % 2 else "US" for make in table["make"]]
    assert names(fit(pa.table(table))) == {"price by make, grade", "origin by make"}


def test_a_pair_that_hardly_occurs_determines_nothing():
    """One row of its kind: its pair says its value, as the pair of any single row would."""
    rng = np.random.default_rng(0)
    a, b = rng.choice(list("klmn"), N), rng.choice(list("pqrs"), N)
    a[:2], b[[0, 2]] = "z", "z"
    won = np.where(np.arange(N) == 0, "yes", "no")
    assert names(fit(pa.table({"a": a, "b": b, "won": won}))) == set()


def test_a_column_that_determines_both_stays():
    """A number of each pair: both are computed from it, and no other pair is made."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, N), rng.integers(0, 3, N)
    code = np.array([11, 35, 12, 70, 18, 44, 27, 93, 58])[3 * a + b]
    a, b = ([f"{name}{i}" for i in values] for name, values in (("a", a), ("b", b)))
    assert names(fit(pa.table({"code": code, "a": a, "b": b}))) == {"a by code", "b by code"}


def test_dates_gaps_and_types_of_pairs():
    import datetime as dt

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, N), rng.integers(0, 3, N)
    a_cells = pa.array([f"a{i}" for i in a], mask=a == 4).dictionary_encode()
    day = [dt.date(2020, 1, 1) + dt.timedelta(days=int(7 * i)) for i in b]
    what = (a * 2 + b * b) % 5
    table = pa.table(
        {
            "a": a_cells,
            "day": day,
            "flag": pa.array(what > 2),
            "word": pa.array([f"w{i}" for i in what], mask=what == 0).dictionary_encode(),
            "when": [dt.datetime(2021, 1, 1 + int(i)) for i in what],
            "cost": pa.array([f"{i / 4:.2f}" for i in what]).cast(pa.decimal128(9, 2)),
            "x": rng.normal(size=N),
        }
    )
    rules = ["word by a, day", "flag by a, day", "when by a, day", "cost by a, day", "together(a, day)", "not any"]
    transform = fit(table, schema=read_schema({"rules": rules}))
    assert len(transform.rules.kept) == 5 and transform.shape == fit(table.select(["a", "day", "x"])).shape
    same_rows(transform.inverse(transform.forward(table)), table)
    made = transform.inverse(points(transform))
    assert made.schema.equals(table.schema) and transform.possible(made).all()
    seen = {tuple(row.values()) for row in table.drop_columns(["x"]).to_pylist()}
    assert {tuple(row.values()) for row in made.drop_columns(["x"]).to_pylist()} <= seen
    assert Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False))) == transform


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price by make, make", "each once"),
        ("price by price, make", "by itself"),
        ("x by make, grade", r"rule x by make, grade: \('m\d', 'g\d'\) have .* and .*; correct it"),
        ("together(make)", "write together"),
        ("together(price, x)", 'say "x": "categorical" in the schema'),
        ("together(make, make)", "by itself"),
        ("together(make, q)", "unknown column 'q'"),
        ("price by make grade", "write a column"),
    ],
)
def test_rules_that_cannot_be(text, words):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=words):
        fit(pa.table(cars(rng) | {"x": rng.normal(size=N)}), schema=read_schema({"rules": [text, "not any"]}))


def test_pairs_that_are_said():
    """Also where they are too few to be found; and inspect says which columns are computed."""
    rng = np.random.default_rng(0)
    few = pa.table(cars(rng, 40) | staff(rng, 40) | {"x": rng.normal(size=40)})
    assert not names(fit(few))
    rules = {"rules": ["price by make, grade", "together(team, job)"]}
    transform = fit(few, schema=read_schema(rules))
    assert names(transform) == set(rules["rules"]) and transform.rules.optional_columns == {"price"}
    made = transform.inverse(points(transform))
    pairs = [set(zip(t["team"].to_pylist(), t["job"].to_pylist(), strict=True)) for t in (made, few)]
    assert pairs[0] <= pairs[1]
    number = fit(few, schema=read_schema({"rules": ["together(price, make)", "not any"]}))  # as the other way round
    assert names(number) == {"together(make, price)"}
    made = number.inverse(points(number))
    assert number.possible(made).all()
    models = {column.name: column.model for column in inspect(few, rules).columns}
    assert models["price"] == "by rule: price by make, grade" and models["job"].startswith("one of")


def test_files_that_no_fit_gives():
    rng = np.random.default_rng(0)
    plain = fit(pa.table(cars(rng) | staff(rng) | {"x": rng.normal(size=N)})).to_json()
    assert [rule["kind"] for rule in plain["rules"]] in (["pair", "together"], ["together", "pair"])
    for i in (0, 1):
        for key, value in (("pairs", []), ("pairs", [0, 0]), ("pairs", [10**9]), ("first", {}), ("support", -1)):
            odd = json.loads(json.dumps(plain))
            odd["rules"][i][key] = value
            with pytest.raises(InputError):
                Transform.from_json(odd)


# ---- runs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(0)
    table = pa.table(cars(rng) | staff(rng) | premiums(rng) | {"x": rng.normal(size=N)})
    return pf.train(table, tmp_path_factory.mktemp("joint") / "run", config=CONFIG, steps=20), table


WHERE = [
    {"price": int(PRICES[2, 1])},
    {"price": int(PRICES[2, 1]), "make": "m2"},
    {"price": int(PRICES[2, 1]), "grade": "g1"},
    {"make": "m2"},
    {"make": "m2", "grade": "g1"},
    {"team": "d3"},
    {"job": "j07"},
    {"job": "j00"},
    {"job": "j07", "team": "d3"},
    {"age": 30},
    {"age": 30, "sex": "f"},
    {"premium": 63.0},
]


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_rules_hold_of_rows_that_are_known_in_part(model, where):
    trained, _ = model
    assert {"price by make, grade", "together(team, job)", "premium by age, sex"} == names(trained.transform)
    made = trained.sample(30, where=where, steps=2)
    assert trained.transform.possible(made).all() and obeyed(made) == 3
    for name, value in where.items():
        assert set(made[name].to_pylist()) == {value}
    same_rows(trained.sample(20, where=where, steps=2, first=10), made.slice(10))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"team": "d0", "job": "j13"}, r"together\(team, job\)"),
        ({"price": int(PRICES[2, 1]) + 1, "make": "m2", "grade": "g1"}, "price by make, grade"),
        ({"price": 1, "make": "m2"}, r"no row of the training data has these 'price' and 'make' \(price by"),
    ],
)
def test_what_is_known_may_not_break_a_rule(model, where, words):
    with pytest.raises(InputError, match=words):
        model[0].sample(3, where=where, steps=2)


def test_gaps_are_filled_so_that_rules_hold(model):
    trained, table = model
    filled = gaps_filled(trained, table, 80)
    assert trained.transform.possible(filled).all() and obeyed(filled) == 3


def test_a_run_keeps_its_rules_and_scores_by_them(model):
    trained, _ = model
    assert pf.load(trained.folder).transform == trained.transform
    made = trained.sample(12, steps=2)
    assert obeyed(made) == 3
    less = made.drop_columns(["price", "premium"])
    torch.testing.assert_close(trained.log_prob(made, steps=2), trained.log_prob(less, steps=2))
    teams = made["team"].to_pylist()
    broken = made.set_column(
        made.column_names.index("job"),
        "job",
        pa.array(["j00" if t == "d5" else j for t, j in zip(teams, made["job"].to_pylist(), strict=True)]),
    )
    scores = trained.log_prob(broken, steps=2)
    assert [score == -math.inf for score in scores.tolist()] == [team == "d5" for team in teams]
