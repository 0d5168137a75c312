"""Columns that tell rows apart, and numbers among words: fresh values that no row has, and words that come back."""

import math
import re
import string
import uuid

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import Transform, fit, inspect, load, read_like, save
from pushforward.data.encoders.identifier import Identifier, fit_keys
from pushforward.data.encoders.mixed import Mixed
from pushforward.data.encoders.pattern import fit_pattern, free_between, permuted, within
from pushforward.data.encoders.quantile import FILL
from pushforward.data.schema import read_schema
from pushforward.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
ROWS = 300


def random_texts(seed, make):
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys(make(rng) for _ in range(2 * ROWS)))[:ROWS]


def letters(rng, alphabet, low, high=None):
    return "".join(rng.choice(list(alphabet), rng.integers(low, (high or low) + 1)))


# a column, and what all of its values are like
TEXTS = {
    "uuid": (
        random_texts(0, lambda r: str(uuid.UUID(bytes=r.bytes(16), version=4))),
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    ),
    "counted": ([f"ORD-{i:05d}" for i in range(ROWS)], r"ORD-\d{5}"),
    "phone": (random_texts(1, lambda r: f"+4917{r.integers(10**8, 10**9)}"), r"\+4917\d{9}"),
    "20 digits": (random_texts(2, lambda r: f"8944500{r.integers(10**12, 10**13)}"), r"8944500\d{13}"),
    "plate": (
        random_texts(3, lambda r: f"{letters(r, string.ascii_uppercase, 3)}-{r.integers(100, 999)}"),
        r"[A-Z]{3}-[1-9]\d\d",
    ),
    "mail": (
        random_texts(4, lambda r: f"{letters(r, string.ascii_lowercase, 3, 6)}{r.integers(99)}@post.org"),
        r"[a-z]{3,6}\d{1,2}@post\.org",
    ),
    "name": (
        random_texts(5, lambda r: f"{letters(r, 'ABC', 1)}{letters(r, 'aeiou', 2, 7)} Åé{letters(r, 'xyz', 3)}"),
        r"[A-Z][a-z]{2,7} Åé[a-z]{3}",
    ),
    "text": (
        random_texts(
            6, lambda r: " ".join(letters(r, string.ascii_lowercase, 1, 8) for _ in range(r.integers(5, 40))) + "."
        ),
        r"([a-z]{1,8} ){4,38}[a-z]{1,8}\.",
    ),
    "script": (random_texts(7, lambda r: letters(r, "人口学校東京大阪", 6)), r"[人口学校東京大阪]{6}"),
}


def column(name, values, **more):
    """A table of a column and one of numbers."""
    rng = np.random.default_rng(0)
    return pa.table({name: values, "v": rng.normal(size=len(values)), **more})


def through_json(transform):
    import json

    return Transform.from_json(json.loads(json.dumps(transform.to_json())))


@pytest.mark.parametrize("kind", TEXTS)
def test_fresh_texts(kind):
    """Of the same pattern, no two alike, none of a training row, each by the seed and its number alone."""
    values, pattern = TEXTS[kind]
    assert all(re.fullmatch(pattern, value) for value in values)
    transform = through_json(fit(column("id", values)))
    x = torch.zeros(1000, 1)
    fresh = transform.inverse(x, 3)["id"].to_pylist()
    assert len(set(fresh)) == 1000 and not set(fresh) & set(values)
    assert [value for value in fresh if not re.fullmatch(pattern, value)] == []
    assert transform.inverse(x[:7], 3, 40)["id"].to_pylist() == fresh[40:47]
    assert transform.inverse(x, 4)["id"].to_pylist() != fresh
    assert transform.shape == (1,) and "id" not in "".join(map(str, transform.spec().shape))
    (note,) = transform.notes
    assert "'id' has another value in every row" in note and "--keep id" in note


@pytest.mark.parametrize("known", [range(0, 100, 3), range(90), range(100)], ids=len)
def test_all_values_that_are_left_are_drawn_before_longer_ones(known):
    """By enumeration: two digits of which some are taken."""
    values = [f"K{number:02d}" for number in known]
    free = {f"K{number:02d}" for number in range(100)} - set(values)
    drawn = fit_pattern(values, True).values(np.arange(300), 5)
    assert len(set(drawn)) == 300 and set(drawn[: len(free)]) == free
    assert all(re.fullmatch(r"K\d{3,4}", value) for value in drawn[len(free) :])


def test_many_texts_are_not_kept_and_fresh_ones_are_longer_than_all():
    values = [f"c{i:06d}" for i in range(70_000)]
    transform = fit(column("id", values))
    fresh = transform.inverse(torch.zeros(500, 1))["id"].to_pylist()
    assert len(set(fresh)) == 500 and all(re.fullmatch(r"c\d{7}", value) for value in fresh)
    with pytest.raises(InputError, match="more than 65,536"):
        fit(column("id", values), schema=read_schema({"id": "keep"}))


@given(size=st.integers(2, 600), seed=st.integers(0, 2**40))
@settings(deadline=None)
def test_numbers_are_permuted(size, seed):
    assert sorted(permuted(np.arange(size), size, seed)) == list(range(size))
    large = permuted(np.arange(200), 2**61 + size, seed)
    assert len(set(large.tolist())) == 200 and large.min() >= 0 and large.max() < 2**61 + size


@given(taken=st.sets(st.integers(0, 60), min_size=1))
@settings(deadline=None)
def test_what_is_between_numbers_is_free(taken):
    free = free_between(np.array(sorted(taken)), 0, 61)
    size = sum(b - a for a, b in free)
    assert (
        sorted(within(free, np.arange(size)).tolist()) == sorted(set(range(61)) - taken) if size else len(taken) == 61
    )


KEYS = {
    "id": lambda r: r.permutation(90_000)[:ROWS] + 10_000,
    "customer_id": lambda r: np.sort(r.permutation(10**8)[:ROWS]),
    "PassengerId": lambda r: r.permutation(np.arange(1, ROWS + 1)),
    "shuffled": lambda r: r.permutation(ROWS),
    "part of a table": lambda r: np.sort(r.permutation(400)[:ROWS]),
    "tweet": lambda r: r.permutation(10**6)[:ROWS] + 10**18,
}


@pytest.mark.parametrize("name", KEYS)
def test_fresh_keys(name):
    values = KEYS[name](np.random.default_rng(1))
    transform = through_json(fit(column(name, values)))
    assert transform.shape == (1,) and transform.numeric
    fresh = transform.inverse(torch.zeros(2000, 1), 1)[name]
    assert fresh.type == pa.int64() and len(set(fresh.to_pylist())) == 2000
    assert not set(fresh.to_pylist()) & set(values.tolist())
    kept = fit(column(name, values), schema=read_schema({name: "keep"}))
    assert kept.shape == (2,) and not [note for note in kept.notes if "not learned" in note]


@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers(start):
    values = np.arange(start, start + ROWS)
    transform = through_json(fit(column("", values)))
    assert transform.inverse(torch.zeros(5, 1), 9)[""].to_pylist() == list(range(start, start + 5))
    assert transform.inverse(torch.zeros(2, 1), 9, 7)[""].to_pylist() == [start + 7, start + 8]
    assert "counts the rows" in transform.notes[0]
    report = inspect(column("n", values))
    assert report.columns[0].model == "counts the rows" and report.notes[0].startswith("column 'n' counts the rows")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("year", np.arange(1850, 1850 + ROWS)),
        ("population", np.random.default_rng(0).permutation(10**7)[:ROWS]),
        ("paid", np.random.default_rng(0).permutation(10**5)[:ROWS]),
        ("id", np.repeat(np.arange(100), 3)),
        ("few", np.arange(12)),
        ("balance", np.arange(ROWS) - 150),
    ],
)
def test_numbers_that_are_no_keys(name, values):
    transform = fit(column(name, values))
    assert transform.shape == (2,) and transform.notes == ()


def test_a_key_that_is_all_there_is_to_learn():
    transform = fit(pa.table({"id": np.arange(ROWS)}))
    assert transform.shape == (1,) and transform.notes == ()


def test_values_that_repeat_sometimes_and_gaps():
    rng = np.random.default_rng(0)
    codes = [f"u{i:04d}" for i in rng.integers(0, 400, ROWS)]
    transform = through_json(fit(column("user", codes)))
    share = len(set(codes)) / ROWS
    fresh = transform.inverse(torch.zeros(1000, 1))["user"].to_pylist()
    assert len(set(fresh)) == pytest.approx(1000 * share, abs=2) and not set(fresh) & set(codes)
    values = [None if i % 4 == 0 else f"X{i}" for i in range(ROWS)]
    transform = through_json(fit(column("id", values)))
    assert transform.shape == (2,)
    back = transform.inverse(transform.forward(column("id", values)))["id"].to_pylist()
    assert [value is None for value in back] == [value is None for value in values] and not set(back) & set(values) - {
        None
    }


def test_text_that_is_called_so(tmp_path):
    table = column("kind", list("ab") * 150, zip=np.arange(ROWS) % 7)
    transform = fit(table, schema=read_schema({"kind": "text", "zip": "text"}))
    assert transform.shape == (1,) and isinstance(transform.columns[0], Identifier)
    with pytest.raises(InputError, match="'v' has type double"):
        fit(table, schema=read_schema({"v": "text"}))


def test_identifiers_from_training_to_scoring(tmp_path):
    table = column("id", TEXTS["counted"][0], key=np.arange(ROWS), w=np.random.default_rng(1).normal(size=ROWS))
    model = pf.train(table, tmp_path / "run", config=CONFIG, steps=3)
    rows = model.sample(40, steps=2, seed=2)
    parts = [model.sample(20, steps=2, seed=2, first=first) for first in (0, 20)]
    assert (
        rows.column_names == ["id", "v", "key", "w"]
        and rows["id"].to_pylist() == pa.concat_tables(parts)["id"].to_pylist()
    )
    assert rows["key"].to_pylist() == list(range(40))
    save(rows, tmp_path / "s.csv")
    again = read_like(tmp_path / "s.csv", model.transform).rows
    assert model.log_prob(again, steps=2).isfinite().all()
    without = model.log_prob(again.select(["v", "w"]), steps=2)
    torch.testing.assert_close(without, model.log_prob(again, steps=2))
    given = model.sample(2, where={"v": 0.5, "id": "ORD-77777"}, steps=2)
    assert given["id"].to_pylist() == ["ORD-77777"] * 2
    filled = model.fill(pa.table({"id": ["mine", None], "v": [None, 1.0], "w": [0.1, 0.2]}), steps=2)
    assert filled["id"].to_pylist()[0] == "mine" and filled["id"].to_pylist()[1] is not None


# ---- numbers among words


WORDS = [
    *("T", "<0.1", "n/a (see note)", "refused", "1_000", "12 o'clock", "007", "0x1F", "+5", "1.2.3", "-", "∞"),
]


def mixed(decimals=1, words=WORDS, share=0.2, gaps=0.0, n=600):
    rng = np.random.default_rng(0)
    cells = [f"{value:.{decimals}f}" for value in rng.gamma(2.0, 10.0, n)]
    for i in np.flatnonzero(rng.random(n) < share):
        cells[i] = words[rng.integers(len(words))]
    return [None if rng.random() < gaps else cell for cell in cells]


@pytest.mark.parametrize("decimals", [0, 1, 3])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
@pytest.mark.parametrize("n", [100, 600])
def test_words_come_back_beside_numbers(decimals, gaps, n):
    table = column("rain", mixed(decimals, gaps=gaps, n=n))
    transform = through_json(fit(table))
    assert isinstance(transform.columns[0], Mixed)
    x = transform.forward(table)
    for rows in (x, transform.dequantize(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))):
        assert transform.inverse(rows)["rain"].to_pylist() == table["rain"].to_pylist()
    out = transform.inverse(3 * torch.randn(500, *transform.shape))["rain"].to_pylist()
    numbers = [cell for cell in out if cell is not None and cell not in WORDS]
    assert all(re.fullmatch(rf"-?\d+(\.\d{{{decimals}}})?", cell) for cell in numbers) and numbers
    assert all(("." in cell) == (decimals > 0) for cell in numbers)
    (note,) = transform.notes
    assert "numbers and words" in note and "the first in row" in note
    with pytest.raises(InputError, match=r"row 1: 'new' was not there in training"):
        transform.forward(column("rain", ["new", "1.0"]))


def test_dates_among_words(tmp_path):
    days = [f"2023-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(ROWS)]
    days[200] = "unknown"
    path = tmp_path / "t.csv"
    path.write_text("day,v\n" + "".join(f"{day},{i / 7:.3f}\n" for i, day in enumerate(days)))
    data = load(path)
    assert "'day' holds dates and words" in data.notes[0] and "line 202" in data.notes[0]
    assert data.transform.inverse(data.x)["day"].to_pylist() == days


def test_probabilities_of_words_and_numbers_sum_to_one():
    """By quadrature over the noise of every value there is, with the law of the column in place of a model's.

    Under that law (normal by rank, uniform in the cells of words) each value has its share of the training rows.
    """
    cells = ["T"] * 100 + ["x"] * 60 + [str(i % 9) for i in range(440)]
    transform = fit(column("c", cells), schema=read_schema({"v": "drop"}))
    values = sorted(set(cells))
    x = transform.forward(pa.table({"c": values}))
    words, n = transform.columns[0].words, 400
    corner = np.array(words.bin_width)
    total = {}
    for value, row in zip(values, x, strict=True):
        u = np.random.default_rng(0).random((n, len(row)))
        moved = transform.dequantize(row.expand(n, -1), torch.from_numpy(u).float())
        share = words.shares[words.categories.index(value)] if value in words.categories else words.shares[0]
        # the density of the law: of the number's entry, normal noise or the quantile; of the words, even in a cube
        density = -0.5 * moved[:, 0].double() ** 2 - 0.5 * math.log(2 * math.pi)
        log_prob = density + math.log(share) - math.log(np.prod(corner)) + transform.log_dets(moved)
        total[value] = float(log_prob.exp().mean())
    # the normal density is even over the whole of each cell by rank, of which noise covers a part, FILL
    numbers = sum(share for value, share in total.items() if value not in words.categories)
    assert numbers == pytest.approx(FILL * 440 / 600, rel=1e-2)
    assert total["T"] == pytest.approx(100 / 600, rel=1e-3) and total["x"] == pytest.approx(60 / 600, rel=1e-3)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["2", "3", "4", "5more"] * 50, "one of 4 categories"),  # few values in all
        ([f"{i}" for i in range(150)] + [f"w{i}" for i in range(150)], "fresh values"),  # words that do not repeat
        (["a", "b", "c"] * 90 + [f"{i}" for i in range(30)], "one of 33 categories"),  # few numbers
        ([f"{i:03d}" for i in range(150)] * 2, "one of 150 categories"),  # names of digits
    ],
)
def test_text_that_is_no_number_among_words(cells, kind):
    assert fit(column("c", cells)).columns[0].form().startswith(kind)


def test_words_from_training_to_scoring(tmp_path):
    table = column("rain", mixed(gaps=0.1))
    model = pf.train(table, tmp_path / "run", config=CONFIG, steps=3)
    assert model.sample(2, where={"rain": "T"}, steps=2)["rain"].to_pylist() == ["T"] * 2
    assert model.sample(2, where={"rain": "3.5"}, steps=2)["rain"].to_pylist() == ["3.5"] * 2
    assert model.sample(2, where={"rain": None}, steps=2)["rain"].to_pylist() == [None] * 2
    save(model.sample(50, steps=2), tmp_path / "s.csv")
    assert model.log_prob(read_like(tmp_path / "s.csv", model.transform).rows, steps=2).isfinite().all()
    assert any("rain" in note and "words" in note for note in model.transform.notes)


def test_notes_are_told(tmp_path, capsys):
    """In the terminal, by inspect and info, and in the report."""
    from pushforward import cli

    path = tmp_path / "t.csv"
    save(column("id", TEXTS["counted"][0], rain=mixed(n=ROWS)), path)
    assert len([note for note in inspect(path).notes if "'id'" in note or "'rain'" in note]) == 2
    words = ["--steps", "3", "--width", "8", "--depth", "1", "--batch", "16"]
    cli.main(["train", str(path), "--out", str(tmp_path / "run"), *words])
    assert "'id' has another value in every row" in (said := capsys.readouterr().err) and "'rain' holds numbers" in said
    cli.main(["info", str(tmp_path / "run")])
    assert "'id' has another value in every row" in capsys.readouterr().out
    report = pf.load(tmp_path / "run").evaluate(n=40, quick=True)
    assert any("'id' has another value" in note for note in report.runs[0].notes)
    cli.main(["train", str(path), "--out", str(tmp_path / "two"), *words, "--drop", "id", "--text", "rain"])
    assert pf.load(tmp_path / "two").sample(2, steps=1).column_names == ["v", "rain"]
    cli.main(["train", str(path), "--out", str(tmp_path / "three"), *words, "--keep", "id"])
    assert set(pf.load(tmp_path / "three").sample(9, steps=1)["id"].to_pylist()) <= set(TEXTS["counted"][0])
    with pytest.raises(SystemExit):
        cli.main(["train", str(path), "--out", str(tmp_path / "four"), "--keep", "id", "--drop", "id"])
    assert "--keep id: --drop names it, too" in capsys.readouterr().err


def test_keys_of_small_types():
    """As many as the type holds, but for those next to a training row."""
    keys = fit_keys(np.array([3, 5, 250], np.uint8), False, True)
    drawn = keys.values(np.arange(300), 0)
    assert len(set(drawn[:215])) == 215 and set(drawn) & {3, 5, 250} == set() and max(drawn) == 255
