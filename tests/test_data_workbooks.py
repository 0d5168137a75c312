"""Workbooks: which sheet, where its table lies, what type each column has; and files made to do harm."""

import io
import subprocess
import sys
import zipfile
from datetime import date, datetime, time, timedelta

import openpyxl
import pytest
from pyarrow import parquet

import pushforward as pf
from pushforward import cli
from pushforward.data import inspect, load, read_raw
from pushforward.errors import InputError
from pushforward.files import workbook
from pushforward.files.limits import allowing

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")


def book(path, merged=(), formats=None, **sheets):
    """Save rows, sheet by sheet, with another library; ``formats`` of cells by their letters."""
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cells in merged:
            sheet.merge_cells(cells)
        for column, form in (formats or {}).items():
            for cell in sheet[column]:
                cell.number_format = form
    made.save(path)
    return path


def columns(path, schema=None, **how):
    raw = read_raw(path, schema, **how)
    return {f.name: str(f.type) for f in raw.rows.schema}, raw.rows.to_pydict(), raw.notes


# ---- types


def test_each_column_has_the_type_of_its_cells(tmp_path):
    rows = [
        [3.0, 0.5, True, date(2024, 1, 31), datetime(2024, 1, 1, 12, 30), time(8, 30), timedelta(hours=30), "007", 1],
        [None, 2.0, False, date(2024, 2, 29), datetime(2024, 1, 2), time(9, 0, 5), timedelta(minutes=1), "1.5", "T"],
        [7.0, 1e300, None, None, None, None, None, "NA", 2.5],
    ]
    names = ["whole", "float", "flag", "day", "at", "clock", "span", "code", "mixed"]
    types, cells, notes = columns(book(tmp_path / "b.xlsx", formats={"G": "[h]:mm:ss"}, S=[names, *rows]))
    assert types == {
        "whole": "int64",
        "float": "double",
        "flag": "bool",
        "day": "date32[day]",
        "at": "timestamp[s]",
        "clock": "time64[us]",
        "span": "duration[us]",
        "code": "string",
        "mixed": "string",
    }
    for i, name in enumerate(names[:7]):
        assert cells[name] == [row[i] for row in rows]
    assert cells["code"] == ["007", "1.5", None] and cells["mixed"] == ["1", "T", "2.5"] and notes == ()


def test_numbers_beyond_those_told_apart_stay_floats(tmp_path):
    types, cells, _ = columns(book(tmp_path / "b.xlsx", S=[["a", "b"], [2**53 - 1, 2**53], [1, 1]]))
    assert types == {"a": "int64", "b": "double"} and cells == {"a": [2**53 - 1, 1], "b": [2.0**53, 1.0]}


def test_errors_and_words_for_nothing_are_missing(tmp_path):
    rows = [["a", "b"], ["#N/A", 1], ["#DIV/0!", "n/a"], [3, "NaN"], [4, 5]]
    path = book(tmp_path / "b.xlsx", S=rows)
    made = openpyxl.load_workbook(path)
    for cell in ("A2", "A3"):
        made["S"][cell].data_type = "e"
    made.save(path)
    types, cells, notes = columns(path)
    assert types == {"a": "int64", "b": "int64"} and notes == ()
    assert cells == {"a": [None, None, 3, 4], "b": [1, None, None, 5]}


def test_text_among_numbers_and_what_a_schema_says(tmp_path):
    rows = [["n", "d", "c"], *([str(i) if i % 2 else i, f"{i + 1:02d}/02/2024", i] for i in range(20))]
    path = book(tmp_path / "b.xlsx", S=rows)
    types, cells, notes = columns(path)
    assert types == {"n": "int64", "d": "string", "c": "int64"} and cells["n"] == list(range(20))
    assert notes == ("column 'n': 10 cells of text read as int64",)
    types, cells, _ = columns(path, {"d": {"format": "%d/%m/%Y"}, "c": {"missing": ["7"]}})
    assert types["d"] == "date32[day]" and cells["d"][2] == date(2024, 2, 3)
    assert cells["c"] == [None if i == 7 else i for i in range(20)]


# ---- where the table lies


def test_titles_notes_gaps_and_merged_cells(tmp_path):
    rows = [
        ["Report of the year"],
        ["Made on", "Monday"],
        [],
        [None, "region", "city", "n"],
        [None, "North", "a", 1],
        [None, None, "b", 2],
        [],
        [None, "South", "c", 3],
        [],
        [None, "Source: us"],
    ]
    path = book(tmp_path / "b.xlsx", ["A1:D1", "B5:B6"], S=rows)
    _, cells, notes = columns(path)
    assert cells == {"region": ["North", "North", "South"], "city": ["a", "b", "c"], "n": [1, 2, 3]}
    assert notes == (
        f"{path}: rows 1 to 2 above the table not read ('Report of the year')",
        f"{path}: row 10 below the table not read ('Source: us')",
        f"{path}: 1 empty row left out",
        f"{path}: 1 merged cell below the first, read as its value",
    )
    with pytest.raises(InputError, match=r"column 'n', row 6"):  # its number in the sheet
        load(book(tmp_path / "c.xlsx", S=[["n"], *[[i] for i in range(4)], ["x"]]), {"n": "number"})


def test_two_rows_of_names(tmp_path):
    rows = [["id", "Sales", None, "Costs", None], [None, "Q1", "Q2", "Q1", "Q2"], [1, 2, 3, 4, 5]]
    path = book(tmp_path / "b.xlsx", ["A1:A2", "B1:C1", "D1:E1"], S=rows)
    _, cells, notes = columns(path)
    assert cells == {"id": [1], "Sales Q1": [2], "Sales Q2": [3], "Costs Q1": [4], "Costs Q2": [5]}
    assert notes == (f"{path}: rows 1 and 2 together name the columns",)


def test_names_of_columns(tmp_path):
    path = book(tmp_path / "b.xlsx", S=[[0.5, 1], [1.5, 2]])
    _, cells, (note,) = columns(path)
    assert cells == {"x0": [0.5, 1.5], "x1": [1, 2]} and "(--header: names)" in note
    assert columns(path, header=True)[1] == {"0.5": [1.5], "1": [2]}
    years = book(tmp_path / "y.xlsx", S=[[2019, 2020], [1, 2]])
    _, cells, (note,) = columns(years)
    assert cells == {"2019": [1], "2020": [2]} and "(--no-header: a row)" in note
    assert columns(years, header=False)[1] == {"x0": [2019, 1], "x1": [2020, 2]}
    unnamed = book(tmp_path / "u.xlsx", S=[[None, "a"], [1, 2]])
    assert columns(unnamed)[1] == {"": [1], "a": [2]}
    for names, words in ((["a", "a"], "column 'a' appears twice"), ([None, None, *"abc"], "column '' appears twice")):
        with pytest.raises(InputError, match=words):
            read_raw(book(tmp_path / "d.xlsx", S=[names, range(1, len(names) + 1)]))


def test_the_first_sheet_with_a_table_or_the_one_that_is_named(tmp_path):
    table, other = [["a", "b"], [1, 2]], [["c", "d"], [3, 4]]
    path = book(tmp_path / "b.xlsx", Nothing=[], Cover=[["About"], ["us"]], Data=table, **{"Sheet #2": other})
    raw = read_raw(path)
    assert raw.rows.to_pydict() == {"a": [1], "b": [2]} and raw.name == "b"
    note = f"{path}: sheet 'Data' is read, not 'Nothing', 'Cover', 'Sheet #2' (name one: '{path}#Nothing')"
    assert raw.notes == (note,)
    raw = read_raw(f"{path}#Sheet #2")
    assert raw.rows.to_pydict() == {"c": [3], "d": [4]} and raw.notes == () and raw.name == "b"
    with pytest.raises(InputError, match=r"b.xlsx: no sheet 'x'; its sheets: 'Nothing', 'Cover', 'Data', 'Sheet #2'"):
        read_raw(f"{path}#x")
    for odd in ("\0", "y" * 200_000):  # names that no process can be told
        with pytest.raises(InputError, match=r"b.xlsx"):
            read_raw(f"{path}#{odd}")
    with pytest.raises(InputError, match="sheet 'Nothing' is empty"):
        read_raw(f"{path}#Nothing")
    with pytest.raises(InputError, match="no sheet holds a cell"):
        read_raw(book(tmp_path / "n.xlsx", Nothing=[]))
    made = openpyxl.load_workbook(path)
    made["Data"].sheet_state = "hidden"
    made.save(path)
    assert read_raw(path).rows.to_pydict() == {"c": [3], "d": [4]}


def test_workbooks_read_together(tmp_path):
    book(tmp_path / "1.xlsx", S=[["a", "b"], [1, "x"]])
    book(tmp_path / "2.xlsx", S=[["b", "a"], ["y", 2.5]])
    types, cells, _ = columns(tmp_path)
    assert types == {"a": "double", "b": "string"} and cells == {"a": [1.0, 2.5], "b": ["x", "y"]}
    book(tmp_path / "3.xlsx", S=[["b"], ["y"]])
    with pytest.raises(InputError, match=r"1.xlsx: column 'a' is not in .*3.xlsx"):
        read_raw(tmp_path)


# ---- other formats and what is none

ODS = """<?xml version="1.0"?><office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"><office:body><office:spreadsheet>
 <table:table table:name="S">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"""


def ods(path, *rows, manifest=""):
    """An OpenDocument file by hand; a cell is a type and a value."""
    marks = {"float": "value", "date": "date-value", "boolean": "boolean-value", "string": "string-value"}
    lines = [
        "".join(
            f'<table:table-cell office:value-type="{kind}" office:{marks[kind]}="{value}"><text:p>{value}</text:p>'
            "</table:table-cell>"
            for kind, value in row
        )
        for row in rows
    ]
    text = ODS.format(rows="".join(f"<table:table-row>{line}</table:table-row>" for line in lines))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", f"<manifest>{manifest}</manifest>")
        archive.writestr("content.xml", "\0sealed" if manifest else text)
    return path


def test_open_document(tmp_path):
    head = [("string", name) for name in "abc"]
    path = ods(tmp_path / "b.ods", head, [("float", 3), ("date", "2024-01-31"), ("boolean", "true")])
    types, cells, _ = columns(path)
    assert types == {"a": "int64", "b": "date32[day]", "c": "bool"}
    assert cells == {"a": [3], "b": [date(2024, 1, 31)], "c": [True]}


def biff(*records):
    return b"".join(kind.to_bytes(2, "little") + len(data).to_bytes(2, "little") + data for kind, data in records)


def test_what_is_no_workbook(tmp_path):
    whole = book(tmp_path / "b.xlsx", S=[["a"], *[[i] for i in range(300)]]).read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"<html><table></table></html>", b"PK\3\4", bytes(100)):
        (tmp_path / "x.xlsx").write_bytes(data)
        with pytest.raises(InputError, match=r"x.xlsx: not a readable workbook .*; save it again, as .xlsx or .csv"):
            read_raw(tmp_path / "x.xlsx")
    (tmp_path / "t.xls").write_text("a\tb\n1\t2.5\n")  # what many programs call .xls
    _, cells, notes = columns(tmp_path / "t.xls")
    assert cells == {"a": [1], "b": [2.5]} and notes == (
        f"{tmp_path / 't.xls'}: text and no workbook, read as .csv is",
    )
    (tmp_path / "renamed.xls").write_bytes(whole)
    assert columns(tmp_path / "renamed.xls")[1] == {"a": list(range(300))}


def test_a_password_is_said(tmp_path):
    envelope = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
    (tmp_path / "b.xlsx").write_bytes(envelope + "EncryptedPackage".encode("utf-16-le"))
    (tmp_path / "b.xls").write_bytes(envelope + biff((0x0809, bytes(16)), (0x002F, bytes(6))))
    ods(tmp_path / "b.ods", manifest="<manifest:encryption-data/>")
    for ending in (".xlsx", ".xls", ".ods"):
        with pytest.raises(InputError, match=f"b{ending}: the workbook has a password; save it without one"):
            read_raw(tmp_path / f"b{ending}")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded where the system can say how much is taken")
def test_a_sheet_cannot_take_all_memory(tmp_path):
    """One stray cell in the last corner: 17 billion cells, and a process that reads them would be ended."""
    made = openpyxl.Workbook()
    made.active["A1"], made.active["XFD1048576"] = "a", 1
    made.save(tmp_path / "stray.xlsx")
    with pytest.raises(InputError, match=r"stray.xlsx: the sheet takes more than 2.1 GB .*--largest 5GB"):
        read_raw(tmp_path / "stray.xlsx")

    # 2 MB of zeros in a file of some kB
    path, packed = book(tmp_path / "b.xlsx", S=[["a"], [1]]), io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if "sheet1" in name:
                data = data.replace(b"</sheetData>", b"<row>" + b"<c><v>0</v></c>" * 1_000_000 + b"</row></sheetData>")
            new.writestr(name, data)
    path.write_bytes(packed.getvalue())
    with allowing("20MB"), pytest.raises(InputError, match=r"b.xlsx: the sheet takes more than"):
        read_raw(path)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "PACKAGE", "no_such_package")
    path = book(tmp_path / "b.xlsx", S=[["a"], [1]])
    with pytest.raises(InputError, match=r'b.xlsx: workbooks are read by python-calamine: pip install "pushforward\['):
        read_raw(path)


# ---- the whole way


def test_from_a_workbook_to_samples_and_back(tmp_path, capsys):
    names = ["n", "x", "kind", "day", "opens", "span", "mixed"]
    rows = [
        [
            i % 7,
            i / 8,
            "ab"[i % 2],
            date(2024, 1, 1 + i % 9),
            time(8 + i % 5, 30),
            timedelta(hours=i % 40),
            ("T", i)[i % 2],
        ]
        for i in range(60)
    ]
    path, run = book(tmp_path / "b.xlsx", formats={"F": "[h]:mm:ss"}, S=[names, *rows], Other=[]), str(tmp_path / "r")
    source = f"{path}#S"
    cli.main(["train", source, "--out", run, "--steps", "20", "--width", "8", "--depth", "1"])
    model = pf.load(run)
    types = model.transform.types
    assert [str(types[name]) for name in names] == [
        "int64", "double", "string", "date32[day]", "time64[us]", "duration[us]", "string",
    ]  # fmt: skip
    assert len(inspect(source).columns) == 7
    for ending in (".csv", ".parquet"):
        out = str(tmp_path / f"s{ending}")
        cli.main(["sample", run, "-n", "30", "-o", out])
        cli.main(["score", run, out, "-o", str(tmp_path / "o.csv")])
        cli.main(["sample", run, "--fill", out, "-o", str(tmp_path / "f.csv")])
    cli.main(["score", run, source, "-o", str(tmp_path / "o.parquet")])
    assert len(parquet.read_table(tmp_path / "o.parquet")) == 60
    cli.main(["sample", run, "-n", "5", "--where", "opens=08:30", "-o", str(tmp_path / "w.parquet")])
    assert parquet.read_table(tmp_path / "w.parquet")["opens"].to_pylist() == [time(8, 30)] * 5
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", f"{path}#none"])
    assert ended.value.code == 2
    assert "no sheet 'none'; its sheets: 'S', 'Other'" in capsys.readouterr().err


def test_reading_a_workbook_imports_nothing_heavy():
    """The process of a workbook begins anew for each: torch would take seconds."""
    words = (
        "import sys, pushforward.files.workbook; print([m for m in ('torch', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    home = str(pf.__path__[0].rsplit("/", 1)[0])
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=home, check=True)
    assert done.stdout.strip() == "[]"
