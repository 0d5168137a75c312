"""A column that is a step function of a number whose values do not repeat: found, and kept in every sample."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest
from test_data_rules import points, same_rows

from pushforward.data import Transform, fit, read_schema
from pushforward.errors import InputError

N = 500


def names(transform):
    return {rule.name for rule in transform.rules.kept if rule.sources}


def bodies(rng):
    bmi = rng.normal(26, 5, N)
    return {"bmi": bmi, "obese": np.where(bmi > 30, "yes", "no")}


def marks(rng):
    score = rng.uniform(0, 100, N)
    return {"score": score, "grade": np.searchsorted([40, 55, 70, 85], score)}


def ages(rng):
    age = rng.gamma(8, 5, N)
    return {"age": age, "group": np.array(["young", "mid", "old"])[(age > 30) * 1 + (age > 50)]}


def times(rng):
    seconds = rng.permutation(10**7)[:N]
    start = [dt.datetime(2020, 1, 1) + dt.timedelta(seconds=int(s)) for s in seconds]
    return {"start": pa.array(start, pa.timestamp("s")), "late": pa.array(seconds > 6 * 10**6)}


LAWS = {
    "bmi": lambda t, near: all(
        (o == "yes") == (b > 30) for o, b in zip(t["obese"], t["bmi"], strict=True) if abs(b - 30) > near
    ),
    "score": lambda t, near: all(
        g == np.searchsorted([40, 55, 70, 85], s)
        for g, s in zip(t["grade"], t["score"], strict=True)
        if min(abs(s - k) for k in (40, 55, 70, 85)) > near
    ),
    "age": lambda t, near: all(
        g == ["young", "mid", "old"][(a > 30) + (a > 50)]
        for g, a in zip(t["group"], t["age"], strict=True)
        if min(abs(a - 30), abs(a - 50)) > near
    ),
    "start": lambda t, near: all(
        late == (s > dt.datetime(2020, 1, 1) + dt.timedelta(seconds=6 * 10**6))
        for late, s in zip(t["late"], t["start"], strict=True)
        if abs((s - dt.datetime(2020, 3, 10, 10, 40)).total_seconds()) > 10**5
    ),
}
MADE = {bodies: "obese by bmi", marks: "grade by score", ages: "group by age", times: "late by start"}


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_steps_are_found_and_kept(make, seed):
    """Thresholds half way between the rows beside them: right but for what lies between those two."""
    rng = np.random.default_rng(seed)
    table = pa.table(make(rng) | {"x": rng.normal(size=N)})
    transform = fit(table)
    assert names(transform) == {MADE[make]}
    assert any(note.startswith(f"rule {MADE[make]} (") and "step" in note for note in transform.notes)
    same_rows(transform.inverse(transform.forward(table)), table)
    assert transform.possible(table).all()
    source = next(iter(LAWS.keys() & set(table.column_names)))
    for width in (1.0, 3.0):
        made = transform.inverse(points(transform, width=width))
        assert made.schema.equals(table.schema) and transform.possible(made).all()
        assert LAWS[source](made.to_pydict(), 0.5)
    assert Transform.from_json(json.loads(json.dumps(transform.to_json(), allow_nan=False))) == transform
    assert not names(fit(table, schema=read_schema({"rules": [f"not {MADE[make]}"]})))


def test_thresholds_are_half_way():
    bmi = np.r_[np.linspace(18, 29.9, 80), np.linspace(30.1, 45, 80)] + 0.0
    transform = fit(pa.table({"bmi": bmi, "obese": bmi > 30}))
    (rule,) = [rule for rule in transform.rules.kept if rule.sources]
    assert rule.keys[1] == pytest.approx(30) and "(1 step at 30)" in rule.note


def test_ties_and_distances_are_no_steps():
    """What is likely but not so in every row; groups that are apart; too few rows."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=N)
        near = x + 0.1 * rng.normal(size=N) > 0.5
        far = np.where(rng.random(N) < 0.5, rng.normal(0, 1, N), rng.normal(14, 1, N))
        table = {"x": x, "near": near, "far": far, "side": np.where(far > 7, "r", "l")}
        assert not names(fit(pa.table(table))), seed
        few = rng.normal(size=16)
        assert not names(fit(pa.table({"x": few, "y": few > 0})))


def test_steps_that_are_said():
    """Of any number of rows, more than a table of values would hold; refused where two values lie in one place."""
    rng = np.random.default_rng(0)
    bmi = rng.normal(26, 5, 100_000)
    table = pa.table({"bmi": bmi, "obese": bmi > 30, "x": rng.normal(size=len(bmi))})
    transform = fit(table, schema=read_schema({"rules": ["obese by bmi", "not any"]}))
    (rule,) = transform.rules.kept
    assert rule.keys[1] == pytest.approx(30, abs=1e-2) and len(rule.keys) == 2
    odd = np.array(table["obese"])
    odd[99_998] = not odd[99_998]
    table = table.set_column(1, "obese", pa.array(odd))
    with pytest.raises(InputError, match=r"obese by bmi: (False and True|True and False) both lie within"):
        fit(table, schema=read_schema({"rules": ["obese by bmi", "not any"]}))
