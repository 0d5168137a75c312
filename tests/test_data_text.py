"""Tables as text: separators, quotation marks, encodings, first lines, and how numbers and dates are written."""

import gzip
import json
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

import pushforward as pf
from pushforward import cli
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import Transform, load, read_like, read_raw, save
from pushforward.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")
CONFIG = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=16, warmup=2))
V = [f"{i / 7:.3f}" for i in range(40)]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(tmp_path, cells, mark=";", other=None, schema=None, **how):
    """The column ``c`` of a file with these cells, and the notes."""
    lines = [mark.join(["c", "v"]), *(mark.join(pair) for pair in zip(cells, other or V, strict=False))]
    raw = read_raw(write(tmp_path / "t.csv", "\n".join(lines) + "\n"), schema, **how)
    return raw.rows["c"], raw.notes


def cycle(*cells):
    return [cells[i % len(cells)] for i in range(40)]


# ---- numbers


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (("1,5", "2", "-3,25"), "double", [1.5, 2.0, -3.25]),
        (("1.234,5", "2,25", "1.000.000,0"), "double", [1234.5, 2.25, 1e6]),
        (("1.234", "693", "12.345.678"), "int64", [1234, 693, 12345678]),  # two points
        (("1 234,5", "2", "12 345"), "double", [1234.5, 2.0, 12345.0]),
        (("1\u00a0234", "17", "5"), "int64", [1234, 17, 5]),
        (("1\u202f234,75", "17", "5"), "double", [1234.75, 17.0, 5.0]),
        (("1'234.5", "17", "5"), "double", [1234.5, 17.0, 5.0]),
        (("1,234.5", "17", "1,000,000"), "double", [1234.5, 17.0, 1e6]),
        (("1,234,567", "17", "5"), "int64", [1234567, 17, 5]),
        (("1e5", "2.5e-3", "1E+10"), "double", [1e5, 2.5e-3, 1e10]),
        (("+1", "-2", "+3"), "double", [1, -2, 3]),
        (("50.10", "7.25", "3.00"), "double", [50.1, 7.25, 3.0]),
        (("true", "false", "true"), "bool", [True, False, True]),
    ],
)
def test_numbers(tmp_path, cells, kind, first):
    column, notes = rows_of(tmp_path, cycle(*cells))
    assert str(column.type) == kind and column.to_pylist()[:3] == first
    marked = any(mark in cell for cell in cells for mark in (",", " ", "'", "\u00a0", "\u202f", ".345"))
    assert bool([note for note in notes if "'c'" in note]) == marked


@pytest.mark.parametrize("cells", [("0x1F", "0x20"), ("3E5", "7E2"), ("+491701", "+492202"), ("007", "123")])
def test_names_of_digits_are_text(tmp_path, cells):
    column, notes = rows_of(tmp_path, cycle(*cells))
    assert column.type == pa.string() and column.to_pylist()[:2] == list(cells)
    assert any("'c' is read as text" in note and "would not come back" in note for note in notes)


def test_names_of_many_digits_and_of_versions_are_text(tmp_path):
    column, _ = rows_of(tmp_path, [f"8944500173605156{i:04d}" for i in range(40)])
    assert column.to_pylist()[7] == "89445001736051560007"
    for cells in (("1.1", "1.10", "1.9"), ("2.0", "2.10", "3.1")):
        column, notes = rows_of(tmp_path, cycle(*cells))
        assert column.to_pylist()[:3] == list(cells) and "'c' is read as text" in notes[0]
    assert rows_of(tmp_path, cycle("1.1", "1.10", "1.9"), schema={"c": "number"})[0].to_pylist()[:2] == [1.1, 1.1]


def test_one_decimal_mark_in_a_file(tmp_path):
    """1.234 is a thousand beside 0,55, a fraction beside 0.55, and a guess that is said by itself."""
    cells = cycle("1.234", "693", "88.441")
    commas, points = [value.replace(".", ",") for value in V], V
    column, notes = rows_of(tmp_path, cells, other=commas)
    assert column.to_pylist()[:3] == [1234, 693, 88441] and any("between thousands" in note for note in notes)
    assert rows_of(tmp_path, cells, other=points)[0].to_pylist()[:3] == [1.234, 693.0, 88.441]
    column, notes = rows_of(tmp_path, cells, schema={"c": {"thousands": "."}})
    assert column.to_pylist()[:3] == [1234, 693, 88441] and not [note for note in notes if "'c'" in note]
    english = [f'"{cell}"' for cell in cycle("1,234", "693", "88,441")]
    assert rows_of(tmp_path, english, mark=",")[0].to_pylist()[:3] == [1234, 693, 88441]
    assert rows_of(tmp_path, english, mark=",", schema={"c": {"decimal": ","}})[0].to_pylist()[:3] == [
        1.234,
        693,
        88.441,
    ]


def test_words_among_marked_numbers(tmp_path):
    cells = [f"{i},{i % 10}" for i in range(39)] + ["n/a (see note)"]
    column, notes = rows_of(tmp_path, cells)
    assert column.to_pylist()[:2] == ["0.0", "1.1"] and column.to_pylist()[-1] == cells[-1]
    assert any("among words" in note for note in notes)


# ---- dates


DAYS = [date(2023, 1, 1) + timedelta(days=11 * i) for i in range(40)]


@pytest.mark.parametrize(
    "form",
    ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%d/%m/%y", "%d-%m-%Y"],
)
def test_dates(tmp_path, form):
    column, notes = rows_of(tmp_path, [day.strftime(form) for day in DAYS])
    assert column.to_pylist() == DAYS and any(f"dates written {form}" in note for note in notes)


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d.%m.%Y %H:%M:%S"])
def test_times(tmp_path, form):
    times = [datetime(2023, 1, 1, 5, 30) + timedelta(hours=31 * i) for i in range(40)]
    column, _ = rows_of(tmp_path, [time.strftime(form) for time in times])
    assert column.to_pylist() == times


def test_days_without_zeros_and_days_that_are_none(tmp_path):
    assert rows_of(tmp_path, [f"{d.day}/{d.month}/{d.year}" for d in DAYS])[0].to_pylist() == DAYS
    column, _ = rows_of(tmp_path, [*(d.strftime("%d/%m/%Y") for d in DAYS[1:]), "31/02/2023"])
    assert (
        column.type == pa.string() and column.to_pylist()[-1] == "31/02/2023" and column.to_pylist()[0] == "2023-01-12"
    )


def test_two_orders_of_a_date(tmp_path):
    """Of months that begin on their first day, the day is the field that does not change; and the schema decides."""
    cells = [f"01/{1 + i % 12:02d}/{2000 + i // 12}" for i in range(40)]
    column, notes = rows_of(tmp_path, cells)
    assert column.to_pylist()[:2] == [date(2000, 1, 1), date(2000, 2, 1)] and any("%m/%d/%Y" in note for note in notes)
    column, _ = rows_of(tmp_path, [f"{1 + i % 12:02d}/01/{2000 + i // 12}" for i in range(40)])
    assert column.to_pylist()[:2] == [date(2000, 1, 1), date(2000, 2, 1)]
    column, notes = rows_of(tmp_path, cells, schema={"c": {"kind": "datetime", "format": "%m/%d/%Y"}})
    assert column.to_pylist()[1] == date(2000, 1, 2) and not notes


def test_a_format_that_only_the_schema_knows(tmp_path):
    cells = [d.strftime("%Y%m%d") for d in DAYS]
    for said in ({"format": "%Y%m%d"}, {"kind": "datetime", "format": "%Y%m%d"}):
        column, notes = rows_of(tmp_path, cells, schema={"c": said})
        assert column.to_pylist() == DAYS and not notes
    assert rows_of(tmp_path, cells)[0].to_pylist()[0] == 20230101


def test_numbers_at_first_and_dates_later(tmp_path):
    """What takes the first cells only is not the type of the column."""
    for cells in (["7"] * 39 + ["31/12/2023"], ["7"] * 39 + ["true"], ["7"] * 39 + ["2023-01-01"]):
        assert rows_of(tmp_path, cells)[0].type == pa.string()
    assert rows_of(tmp_path, ["7"] * 39 + ["1,5"])[0].to_pylist()[-1] == 1.5


# ---- gaps, white space


def test_what_is_missing(tmp_path):
    """NA is a country where the schema says categorical, and what the schema says is missing is."""
    cells = cycle("ZA", "NA", "None", "")
    assert rows_of(tmp_path, cells)[0].to_pylist()[:4] == ["ZA", None, None, None]
    assert rows_of(tmp_path, cells, schema={"c": "categorical"})[0].to_pylist()[:4] == ["ZA", "NA", "None", None]
    said = {"c": {"kind": "categorical", "missing": ["", "None"]}}
    assert rows_of(tmp_path, cells, schema=said)[0].to_pylist()[:4] == ["ZA", "NA", None, None]
    assert rows_of(tmp_path, cycle("1", "-9"), schema={"c": {"missing": ["-9"]}})[0].to_pylist()[:2] == [1, None]


def test_white_space_is_part_of_text(tmp_path):
    assert rows_of(tmp_path, cycle(" a", "a", "b "))[0].to_pylist()[:3] == [" a", "a", "b "]
    assert rows_of(tmp_path, cycle(" 1", "2 ", " NA"))[0].to_pylist()[:3] == [1, 2, None]


# ---- the file


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-le", "utf-16-be", "latin-1", "cp1252"]
)
def test_encodings(tmp_path, encoding):
    text = "größe,v\n" + "".join(
        f"{'é€ü'[i % 3] if encoding != 'latin-1' else 'éñü'[i % 3]},{v}\n" for i, v in enumerate(V)
    )
    plain = encoding.removesuffix("-bom")
    path = write(tmp_path / "t.csv", ("\ufeff" if plain != encoding else "") + text, plain)
    raw = read_raw(path)
    assert raw.rows.column_names == ["größe", "v"] and raw.rows["größe"].to_pylist()[1] in ("€", "ñ")
    assert bool(raw.notes) == (encoding in ("utf-16-le", "utf-16-be", "latin-1", "cp1252"))
    with pytest.raises(InputError, match="line 5: expected 2"):
        load(write(tmp_path / "t.csv", "\n".join([*text.split("\n")[:4], "a,b,c", ""]), plain))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_the_mark_between_cells(tmp_path, mark, header):
    """Found also where cells hold other marks: decimal commas, or text."""
    decimal = "." if mark == "," else ","
    other = ";" if mark == "," else ","
    lines = [mark.join((f"{i}{decimal}5", f"{i % 7}{decimal}25", f"a{other} b")) for i in range(30)]
    raw = read_raw(write(tmp_path / "t.csv", "\n".join([*[mark.join("abc")] * header, *lines]) + "\n"))
    assert raw.rows.num_columns == 3 and raw.rows.column(1).to_pylist()[:2] == [0.25, 1.25]
    assert raw.rows.column(2).to_pylist()[0] == f"a{other} b"


@pytest.mark.parametrize("marks", ['"', '"x'])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_quotation_marks_that_do_not_close(tmp_path, marks, ending):
    mark = "\t" if ending == "tsv" else ","
    lines = [mark.join(("name", "v")), *(mark.join((f"part {i % 9}", v)) for i, v in enumerate(V))]
    for i in (7, 30)[: len(marks)]:
        lines[i] = mark.join((f"{marks} inch", V[i - 1]))
    raw = read_raw(write(tmp_path / f"t.{ending}", "\n".join(lines) + "\n"))
    assert len(raw.rows) == 40 and raw.rows["name"].to_pylist()[6] == f"{marks} inch"
    assert raw.rows["v"].to_pylist() == [float(v) for v in V] and "line 8: a quotation mark" in raw.notes[0]


def test_cells_of_several_lines(tmp_path):
    """A quoted cell may hold lines, marks and quotation marks, unless one of its lines is a row."""
    cells = [f'"first, ""{i % 3}""\nsecond"' for i in range(40)]
    column, notes = rows_of(tmp_path, cells, mark=",")
    assert column.to_pylist()[1] == 'first, "1"\nsecond' and not notes


@pytest.mark.parametrize(
    ("first", "header", "names"),
    [
        ("5.1,3.5,setosa", None, ["x0", "x1", "x2"]),
        ("7,3,5", None, ["x0", "x1", "x2"]),
        ("0,1,2", None, ["0", "1", "2"]),
        ("2019,2020,2021", None, ["2019", "2020", "2021"]),
        ("a,2,3", None, ["a", "2", "3"]),
        ("7,3,5", True, ["7", "3", "5"]),
        ("a,b,c", False, ["x0", "x1", "x2"]),
    ],
)
def test_first_lines(tmp_path, first, header, names):
    text = first + "\n" + "".join(f"{i % 7}.5,{i % 3}.25,{'ab'[i % 2]}\n" for i in range(40))
    raw = read_raw(write(tmp_path / "t.csv", text), header=header)
    assert raw.rows.column_names == names and len(raw.rows) == 40 + (names[0] == "x0")
    guessed = header is None and not first.startswith("a")
    assert bool([note for note in raw.notes if "first line" in note]) == guessed
    if names[0] == "x0" and header is None:  # lines are counted from the first
        with pytest.raises(InputError, match="line 3: expected 3 columns"):
            read_raw(write(tmp_path / "u.csv", f"{first}\n1.5,2,a\n1,2\n"))


# ---- what a run learned of a file


def test_a_run_reads_files_as_it_read_the_first(tmp_path):
    """Orders of dates, marks, missing words, and no header: of five rows none of this could be found out."""
    fractions = [f"{i / 4:.2f}".replace(".", ",") for i in range(40)]
    lines = [
        f"{d.strftime('%d/%m/%Y')};{1 + i % 9}.{100 + i};{'ZA' if i % 3 else 'NA'};{fractions[i]}"
        for i, d in enumerate(DAYS)
    ]
    schema = {"x2": {"kind": "categorical"}, "x1": {"thousands": "."}}
    path = write(tmp_path / "t.csv", "\n".join(lines) + "\n")
    model = pf.train(path, tmp_path / "run", config=CONFIG, steps=3, schema=schema, header=False)
    transform = pf.load(tmp_path / "run").transform
    assert transform == Transform.from_json(json.loads(json.dumps(transform.to_json())))
    few = write(tmp_path / "few.csv", "01/02/2023;1.104;NA;1,00\n03/04/2023;2.105;ZA;1,25\n")
    rows = read_like(few, transform).rows
    assert rows["x0"].to_pylist() == [date(2023, 2, 1), date(2023, 4, 3)] and rows["x1"].to_pylist() == [1104, 2105]
    assert rows["x2"].to_pylist() == ["NA", "ZA"] and rows["x3"].to_pylist() == [1.0, 1.25]
    assert model.log_prob(rows, steps=2).isfinite().all()
    # samples are written as a computer reads them, and read so
    save(made := model.sample(30, steps=2), tmp_path / "s.csv")
    again = read_like(tmp_path / "s.csv", transform).rows
    assert all(again[name].to_pylist() == made[name].to_pylist() for name in ("x0", "x1", "x2"))
    np.testing.assert_allclose(again["x3"].to_numpy(), made["x3"].to_numpy())


def test_a_file_without_names_is_read_so_again(tmp_path):
    """Also where its first line looks like names; and samples, which have x0, x1, ..., are read by them."""
    text = "".join(f"{'ab'[i % 2]};{'uvw'[i % 3]}\n" for i in range(40))
    model = pf.train(write(tmp_path / "t.csv", text), tmp_path / "run", config=CONFIG, steps=2, header=False)
    again = read_like(write(tmp_path / "u.csv", "a;u\nb;v\na;w\n"), model.transform).rows
    assert again["x0"].to_pylist() == ["a", "b", "a"]
    save(model.sample(5, steps=1), tmp_path / "s.csv")
    assert len(read_like(tmp_path / "s.csv", model.transform).rows) == 5


def test_flags(tmp_path, capsys):
    path = write(tmp_path / "t.csv", "a,b\n" + "".join(f"{'xy'[i % 2]},{v}\n" for i, v in enumerate(V)))
    cli.main(["inspect", str(path), "--no-header", "--drop", "x0"])
    assert "x1" in (out := capsys.readouterr().out) and "dropped" in out and "41 rows" in out
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(path), "--no-header", "--header"])
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"missing": "NA"}, "missing must be a list"),
        ({"decimal": ";"}, "decimal must be"),
        ({"decimal": ",", "thousands": ","}, "another mark"),
        ({"thousands": 3}, "must be texts"),
        ({"format": "yyyy"}, "such as %d/%m/%Y"),
    ],
)
def test_forms_that_are_none(tmp_path, said, words):
    with pytest.raises(InputError, match=words):
        rows_of(tmp_path, cycle("1"), schema={"c": said})


# ---- durations and zones


def test_durations_have_units(tmp_path):
    rng = np.random.default_rng(0)
    micro = rng.integers(-(10**10), 10**12, 40)
    table = pa.table({"wait": pa.array(micro, pa.duration("us")), "v": [float(v) for v in V]})
    save(table, tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text().splitlines()[1].split(",")[0].strip('"')
    import pandas as pd

    assert pd.Timedelta(text) == pd.Timedelta(int(micro[0]), "us")  # by another reader
    assert read_raw(tmp_path / "t.csv").rows["wait"].to_pylist() == table["wait"].to_pylist()
    model = pf.train(
        table, tmp_path / "run", config=Config(**CONFIG.model_dump() | {"condition": {"condition": "columns"}}), steps=3
    )
    for words in ("0 days 00:10:00", "PT10M", "00:10:00", "P0DT600S"):
        assert model.sample(1, where={"wait": words}, steps=2)["wait"].to_pylist() == [timedelta(minutes=10)]
    with pytest.raises(InputError, match="such as 0 days 00:10:00"):
        model.sample(1, where={"wait": "600"}, steps=2)
    save(rows := model.sample(20, steps=2), tmp_path / "s.csv")
    assert (
        read_like(tmp_path / "s.csv", model.transform).rows["wait"].cast(pa.duration("us")).to_pylist()
        == rows["wait"].to_pylist()
    )


def test_durations_beyond_64_bits(tmp_path):
    column, _ = rows_of(tmp_path, ["1 days 00:00:00"] * 39 + ["999999999999 days 00:00:00"])
    assert column.type == pa.string()
    assert rows_of(tmp_path, ["-1 days 23:00:00"] * 40)[0].to_pylist()[0] == timedelta(hours=-1)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_midnights_of_a_zone(tmp_path, zone):
    days = pa.array([datetime(2023, 1, 1) + timedelta(days=5 * i) for i in range(60)], pa.timestamp("us"))
    import pyarrow.compute as pc

    local = pc.assume_timezone(days, zone)
    table = pa.table({"day": local, "v": np.random.default_rng(0).normal(size=60)})
    model = pf.train(
        table, tmp_path / "run", config=Config(**CONFIG.model_dump() | {"condition": {"condition": "columns"}}), steps=3
    )
    transform = model.transform
    assert transform.inverse(transform.forward(table))["day"].to_pylist() == local.to_pylist()
    drawn = pc.local_timestamp(model.sample(200, steps=2)["day"])
    assert {time.time().isoformat() for time in drawn.to_pylist()} == {"00:00:00"}
    # a time without a zone is local
    given = model.sample(1, where={"day": "2023-07-01"}, steps=2)["day"]
    assert pc.local_timestamp(given).to_pylist() == [datetime(2023, 7, 1)]
    naive = pa.table({"day": days[:3], "v": pa.array([None] * 3, pa.float64())})
    assert model.fill(naive, steps=2)["day"].to_pylist() == local[:3].to_pylist()


def test_times_of_a_zone_that_are_no_midnights():
    import pyarrow.compute as pc

    hours = pa.array([datetime(2023, 10, 28) + timedelta(hours=i) for i in range(60)], pa.timestamp("us"))
    zoned = pc.assume_timezone(hours, "UTC").cast(pa.timestamp("us", "Europe/Berlin"))  # an hour comes twice
    from pushforward.data import fit

    table = pa.table({"t": zoned, "v": np.random.default_rng(0).normal(size=60)})
    transform = fit(table)
    assert transform.inverse(transform.forward(table))["t"].to_pylist() == zoned.to_pylist()


# ---- other files of tables


@pytest.mark.parametrize("ending", ["csv.gz", "csv.bz2", "csv.xz", "tsv.gz", "zip"])
def test_compressed_text(tmp_path, ending):
    """Read as it unpacks; damaged, it is refused in one line that names it."""
    import bz2
    import lzma
    import zipfile

    mark = "\t" if "tsv" in ending else ","
    text = mark.join("cv") + "\n" + "".join(f"{'ab'[i % 2]}{mark}{v}\n" for i, v in enumerate(V))
    path = tmp_path / f"t.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._t.csv", "x")
            archive.writestr("inner/t.csv", text)
    else:
        pack = {"gz": gzip, "bz2": bz2, "xz": lzma}[ending.rpartition(".")[2]].compress
        path.write_bytes(pack(text.encode()))
    raw = read_raw(path)
    assert raw.rows["v"].to_pylist() == [float(v) for v in V] and raw.rows["c"].to_pylist()[:2] == ["a", "b"]
    assert len(load(path)) == 40
    good = path.read_bytes()
    middle = len(good) // 2
    for bad in (
        good[:-20],
        good[:middle] + bytes(byte ^ 255 for byte in good[middle : middle + 4]) + good[middle + 4 :],
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"t\..*(damaged|not a readable|cannot read)"):
            load(path)


def test_archives_of_several_files(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n2\n")
        archive.writestr("b.csv", "x\n1\n2\n")
    with pytest.raises(InputError, match="holds 2 files"):
        load(tmp_path / "t.zip")
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(b"a,b\n1,2\n3,5\n"))
    assert len(load(tmp_path / "t.txt.gz")) == 2
    (tmp_path / "t.dat.gz").write_bytes(gzip.compress(b"a,b\n1,2\n3,5\n"))
    with pytest.raises(InputError, match=r"only \.csv and \.tsv"):
        load(tmp_path / "t.dat.gz")


@pytest.mark.parametrize("form", ["lines", "list"])
def test_json_records(tmp_path, form):
    rows = [
        {"n": i, "x": i / 4, "c": "ab"[i % 2], "in": {"a": i % 3, "b": {"c": i % 5}}, "gap": None if i % 4 else i}
        for i in range(40)
    ]
    path = tmp_path / ("t.jsonl" if form == "lines" else "t.json")
    path.write_text("\n".join(map(json.dumps, rows)) if form == "lines" else json.dumps(rows))
    raw = read_raw(path)
    assert raw.rows.column_names == ["n", "x", "c", "in.a", "in.b.c", "gap"] and raw.rows["in.b.c"].to_pylist()[7] == 2
    data = load(path)
    assert data.transform.inverse(data.x)["gap"].to_pylist() == [row["gap"] for row in rows]
    for text in ("[1, 2]", "[{", "{}x", '{"a": 1}\n[2]', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(InputError, match=r"t\.json"):
            load(path)


@pytest.mark.parametrize("ending", ["feather", "arrow", "stream.arrow"])
def test_arrow_files(tmp_path, ending):
    from pyarrow import feather, ipc

    table = pa.table({"v": [float(v) for v in V], "d": DAYS, "c": pa.array(cycle("u", "v")).dictionary_encode()})
    path = tmp_path / f"t.{ending}"
    if ending == "stream.arrow":
        with ipc.new_stream(path, table.schema) as sink:
            sink.write_table(table)
    else:
        feather.write_feather(table, str(path))
    data = load(path)
    assert data.transform.inverse(data.x)["d"].to_pylist() == DAYS and read_raw(path).rows.equals(table)
    good = path.read_bytes()
    for bad in (good[:100], good[:-200] + b"\xff" * 200):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="not a readable arrow file"):
            load(path)


def test_an_arrow_file_whose_offsets_point_outside(tmp_path):
    """Which arrow itself would follow: it is refused before a cell is looked at."""
    from pyarrow import feather

    path, table = tmp_path / "t.feather", pa.table({"s": list("ab" * 20), "v": [float(v) for v in V]})
    feather.write_feather(table, str(path), compression="uncompressed")
    good, offsets = path.read_bytes(), np.arange(41, dtype="<i4").tobytes()
    assert good.count(offsets) == 1
    path.write_bytes(good.replace(offsets, offsets[:80] + np.full(21, 2**20, "<i4").tobytes()))
    with pytest.raises(InputError, match="not a readable arrow file"):
        read_raw(path)


@pytest.mark.parametrize("line", [b'{"a\xff": 1}', b'{"a": "b\xff"}', b'{"a": {"b\xff": 1}}', b'{"a": ["\xff"]}'])
def test_records_that_are_no_text_are_one_sentence(line, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(line + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=r"t\.jsonl: "):
        load(path)
