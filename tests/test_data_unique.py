"""Rows of which no two may agree in some columns: in every sample, filled and partly known ones too."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

import pushforward as pf
from pushforward.config import ConditionConfig, Config, NetConfig, TrainConfig
from pushforward.data import Transform, fit, inspect, read_schema
from pushforward.errors import InputError

CONFIG = Config(
    net=NetConfig(width=8, depth=1),
    train=TrainConfig(batch=32, warmup=2),
    condition=ConditionConfig(condition="columns"),
)
RULES = ["unique(make, k)", "not any"]


def lots(n=400):
    """Combinations of 20 makes and 30 numbers, no two alike, with keys."""
    rng = np.random.default_rng(0)
    place = rng.permutation(600)[:n]
    return pa.table(
        {
            "id": [f"K-{i:04d}" for i in range(n)],
            "make": [f"m{i // 30:02d}" for i in place],
            "k": place % 30,
            "x": rng.normal(size=n),
        }
    )


def combinations(table, *names):
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("unique") / "run"
    return pf.train(lots(), out, config=CONFIG, steps=20, schema={"rules": RULES})


@pytest.mark.parametrize("n", [1, 50, 300, 500])
def test_no_two_samples_agree(model, n):
    made = model.sample(n, steps=2)
    assert len(set(combinations(made, "make", "k"))) == len(made) == n
    assert len(set(made["id"].to_pylist())) == n  # keys are those of the row's number
    plain = model.independent().sample(n, steps=2)
    assert made["id"].equals(plain["id"])
    # the first of each combination is what it would have been: only the others are drawn again
    first = {}
    for i, pair in enumerate(combinations(plain, "make", "k")):
        first.setdefault(pair, i)
    kept = sorted(first.values())
    assert made.take(kept).equals(plain.take(kept)) and (n < 300 or len(kept) < n)
    assert made.equals(model.sample(n, steps=2))
    assert not made.equals(model.sample(n, steps=2, seed=1))


def test_rows_known_in_part(model):
    made = model.sample(20, steps=2, where={"make": "m03"})
    assert set(made["make"].to_pylist()) == {"m03"} and len(set(made["k"].to_pylist())) == 20
    assert len(model.sample(1, steps=2, where={"make": "m03", "k": 3})) == 1
    with pytest.raises(InputError, match=r"where: says all columns of unique\(make, k\), which at most one row"):
        model.sample(2, steps=2, where={"make": "m03", "k": 3})


def test_gaps_are_filled_with_other_combinations_and_given_cells_stay(model):
    k = [*[None] * 18, 3, 4, 5, 5, None]
    rows = pa.table({"make": ["m01"] * 20 + ["m02"] * 3, "k": pa.array(k, pa.int64()), "x": pa.nulls(23, pa.float64())})
    made = model.fill(rows, steps=2)
    assert made["make"].equals(rows["make"])
    assert all(before in (None, after) for before, after in zip(k, made["k"].to_pylist(), strict=True))
    pairs = combinations(made, "make", "k")
    assert len(set(pairs)) == 22 and pairs.count(("m02", 5)) == 2  # of which both were given


def test_more_than_the_model_can_give_is_refused(model):
    with pytest.raises(InputError, match=r"unique\(make, k\): of the 3,000 rows .* the model gives [\d,]+ without"):
        model.sample(3000, steps=2)
    with pytest.raises(InputError, match="hardly one more; ask for"):
        model.sample(90, steps=2, where={"make": "m03"})


def test_a_run_keeps_it_and_its_densities_know_nothing_of_it(model, tmp_path, capsys):
    from pushforward.cli import main

    again = pf.load(model.folder)
    assert again.transform == model.transform and again.transform.rules.unique
    assert any("unique(make, k)" in note for note in model.run.data.notes)
    made = model.sample(40, steps=2)
    twice = pa.concat_tables([made, made])
    scores = model.log_prob(twice, steps=2)
    assert scores.isfinite().all() and torch.equal(scores, model.independent().log_prob(twice, steps=2))
    main(["sample", str(model.folder), "-n", "300", "-o", str(tmp_path / "s.csv"), "--steps", "2"])
    with pytest.raises(SystemExit) as stopped:
        main(["sample", str(model.folder), "-n", "5000", "-o", str(tmp_path / "t.csv"), "--steps", "2"])
    assert stopped.value.code == 2 and "without repetition" in capsys.readouterr().err
    assert model.evaluate(lots(), n=700, steps=2, quick=True)  # of the law, whose draws may agree


def test_several_rules_and_one_column(tmp_path):
    """Of numbers that repeat, of a key of which some do, and of both; a missing value is like no other."""
    rng = np.random.default_rng(1)
    k = pa.array(rng.permutation(5000)[:300], mask=rng.random(300) < 0.3)
    code = [f"{rng.integers(10**9):09d}-{chr(65 + i % 26)}" for i in range(300)]
    code[1] = code[0]
    table = pa.table({"k": k, "code": code, "word": rng.choice(list("uvw"), 300), "x": rng.integers(0, 400, 300)})
    schema = {"rules": ["unique(k)", "unique(code)", "unique(word, x)"]}
    trained = pf.train(table, tmp_path / "run", config=CONFIG, steps=5, schema=schema)
    assert any(
        "unique(code): does not hold in 1 of 300 rows, the first is row 2; samples do not" in note
        for note in trained.run.data.notes
    )
    made = trained.sample(500, steps=4)
    there = [value for value in made["k"].to_pylist() if value is not None]
    assert len(set(there)) == len(there) < 500
    assert len(set(made["code"].to_pylist())) == len(set(combinations(made, "word", "x"))) == 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unique()", "write unique"),
        ("unique(make", "write unique"),
        ("unique(make k)", "write unique"),
        ("unique(make, make)", "each column once"),
        ("unique(make, q)", "unknown column 'q'"),
        ("unique(make)", r"rule unique\(make\): does not hold in 380 of 400 rows, the first is row \d+; correct it"),
    ],
)
def test_rules_that_cannot_be(text, words):
    with pytest.raises(InputError, match=words):
        fit(lots(), schema=read_schema({"rules": [text]}))


def test_half_the_rows_are_too_many_and_fewer_are_said():
    pairs = pa.table({"a": [i // 2 for i in range(100)], "x": np.random.default_rng(0).normal(size=100)})
    with pytest.raises(InputError, match="50 of 100"):
        fit(pairs, schema=read_schema({"rules": ["unique(a)"]}))
    some = pa.table({"a": [max(i, 40) for i in range(100)], "x": pairs["x"]})
    notes = inspect(some, {"rules": ["unique(a)"]}).notes
    assert any("40 of 100 rows, the first is row 2; samples do not repeat any" in note for note in notes)
    left_out = {"a": "drop", "rules": ["unique(a)"]}
    with pytest.raises(InputError, match="unknown column 'a'"):
        fit(some, schema=read_schema(left_out))


def test_it_is_restored_from_json():
    transform = fit(lots(), schema=read_schema({"rules": ["unique(make, k)"]}))
    plain = json.loads(json.dumps(transform.to_json()))
    assert Transform.from_json(plain) == transform
    for odd in ([], ["make", "make"], ["nobody"], "make", [3]):
        plain["rules"][-1]["columns"] = odd
        with pytest.raises(InputError, match="unique"):
            Transform.from_json(plain)


def test_columns_that_others_determine_may_be_unique():
    """``total = a + b`` is computed, and compared as it is written."""
    from pushforward.run.distinct import distinct_rows

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 60, (2, 300))
    transform = fit(pa.table({"a": a, "b": b, "total": a + b}), schema=read_schema({"rules": ["unique(a, total)"]}))

    def make(numbers, seed, first):
        g = torch.Generator().manual_seed(seed)
        return transform.inverse(torch.randn(len(numbers), *transform.shape, generator=g))

    made = distinct_rows(transform, make, 1500, 0, 0)
    assert len(set(combinations(made, "a", "total"))) == 1500
    assert made["total"].to_pylist() == [x + y for x, y in combinations(made, "a", "b")]
