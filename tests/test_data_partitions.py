"""Columns whose values are in the names of folders, as Hive and Spark write them."""

import gzip
import json
from datetime import date

import fsspec
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import pushforward as pf
from pushforward import cli
from pushforward.data import load, read_raw
from pushforward.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")


def put(path, values, ending):
    """One column ``v`` in a file of any format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "v\n" + "".join(f"{value}\n" for value in values)
    if ending == ".parquet":
        parquet.write_table(pa.table({"v": values}), path)
    elif ending == ".feather":
        feather.write_feather(pa.table({"v": values}), path)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps({"v": value}) + "\n" for value in values))
    elif ending == ".csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif ending == ".xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        made = openpyxl.Workbook()
        for value in ("v", *values):
            made.active.append([value])
        made.save(path)
    else:
        path.write_text(text)


def sales(folder, ending=".csv"):
    """Two years with two months each; the files have different numbers of rows."""
    n = 0
    for year in (2023, 2024):
        for month in ("1", "02"):
            n += 1
            put(folder / f"year={year}" / f"month={month}" / f"part-0{ending}", [n + 0.5] * n, ending)
    return folder


KEYS = {"v": [4.5] * 4, "year": [2024] * 4, "month": [2] * 4}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".feather", ".jsonl", ".xlsx"])
def test_keys_become_columns(tmp_path, ending):
    raw = read_raw(sales(tmp_path / "sales", ending))
    assert {f.name: str(f.type) for f in raw.rows.schema} == {"v": "double", "year": "int64", "month": "int64"}
    found = sorted(zip(*raw.rows.to_pydict().values(), strict=True))
    assert found == [
        (1.5, 2023, 1), *[(2.5, 2023, 2)] * 2, *[(3.5, 2024, 1)] * 3, *[(4.5, 2024, 2)] * 4,
    ]  # fmt: skip
    note = f"{tmp_path / 'sales'}: the names of folders are read as columns 'year' (int64), 'month' (int64)"
    assert raw.notes == (note,)


def test_keys_of_patterns_and_folders_below(tmp_path):
    folder = sales(tmp_path / "lr=0.1")  # a key above what is named is none
    assert read_raw(f"{folder}/*/month=02/*.csv").rows.slice(2).to_pydict() == KEYS
    assert read_raw(folder / "year=2024").rows.column_names == ["v", "month"]
    assert read_raw(folder / "year=2024" / "month=1" / "part-0.csv").rows.column_names == ["v"]


def test_values_of_keys(tmp_path):
    for i, (day, place) in enumerate([("2024-01-31", "a%2Fb%20c"), ("2024-02-01", "__HIVE_DEFAULT_PARTITION__")]):
        put(tmp_path / f"d%61y={day}" / f"place={place}" / "x.csv", [i], ".csv")
    raw = read_raw(tmp_path)
    assert {f.name: str(f.type) for f in raw.rows.schema} == {"v": "int64", "day": "date32[day]", "place": "string"}
    assert raw.rows.to_pydict() == {
        "v": [0, 1],
        "day": [date(2024, 1, 31), date(2024, 2, 1)],
        "place": ["a/b c", None],
    }


def test_files_beside_the_partitions_are_refused(tmp_path):
    folder = sales(tmp_path / "sales")
    put(folder / "all.csv", [1.5], ".csv")
    (folder / "_SUCCESS").touch()
    words = r"sales: 1 of 5 files do not lie in folders year=.../month=..., the first: .*all.csv; move them, or name"
    with pytest.raises(InputError, match=words):
        read_raw(folder)
    (folder / "all.csv").unlink()
    assert f"{folder}: not looked at: 1 of other endings (_SUCCESS)" in read_raw(folder).notes
    put(folder / "year=2024" / "week=3" / "x.csv", [1.5], ".csv")
    with pytest.raises(InputError, match=r"1 of 5 files .*week=3"):
        read_raw(folder)


def test_a_key_that_is_a_column_too(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
        (tmp_path / f"year={year}" / "x.csv").write_text(f"year,v\n{year},1\n{year},2\n")
    assert read_raw(tmp_path).rows.to_pydict() == {"year": [2023, 2023, 2024, 2024], "v": [1, 2, 1, 2]}
    (tmp_path / "year=2024" / "x.csv").write_text("year,v\n2024,1\n2025,2\n")
    words = r"year=2024/x.csv: column 'year' holds '2025', where the folder says '2024'; rename the folder, or the"
    with pytest.raises(InputError, match=words):
        read_raw(tmp_path)


def test_a_run_of_partitions(tmp_path):
    folder, run = sales(tmp_path / "sales", ".parquet"), str(tmp_path / "run")
    assert len(load(folder)) == 10
    for i in range(30):
        put(folder / "year=2024" / "month=1" / f"part-{i}.parquet", [float(i)], ".parquet")
    cli.main(["train", str(folder), "--out", run, "--steps", "10", "--width", "8", "--depth", "1"])
    assert list(pf.load(run).transform.types) == ["v", "year", "month"]
    for out in ("s.csv", "s.parquet"):
        cli.main(["sample", run, "-n", "20", "-o", str(tmp_path / out)])
        cli.main(["score", run, str(tmp_path / out), "-o", str(tmp_path / "o.csv")])
    cli.main(["score", run, str(folder), "-o", str(tmp_path / "o.csv")])
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 1 + 37


def test_keys_behind_urls():
    memory = fsspec.filesystem("memory")
    for year in (1, 2):
        with memory.open(f"/partitions/year={year}/x.csv", "wb") as file:
            file.write(b"v\n%d\n" % (year + 5))
    assert read_raw("memory://partitions/*/*.csv").rows.to_pydict() == {"v": [6, 7], "year": [1, 2]}
