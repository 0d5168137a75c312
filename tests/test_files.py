"""Files: sized before they are read, written whole or not at all, and known to be what was written."""

import errno
import io
import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from pushforward import cli, run
from pushforward.data import load
from pushforward.errors import InputError
from pushforward.files import jsonfile
from pushforward.files.jsonfile import checked_line, checked_lines, read_json
from pushforward.files.limits import allow, allowed, allowing
from pushforward.files.tensorfile import load_tensors, read_folder, save_tensors, write_folder
from pushforward.files.writing import append_line

pytestmark = pytest.mark.usefixtures("unchecked")


# ---- limits


def test_what_is_allowed():
    """2 GiB, or what the user says, and always 100 times the size of the file."""
    allow(2**31, 0, "x")
    allow(100 * 10**9, 10**9, "x")
    with pytest.raises(InputError, match=r"^x: unpacks to 2\.1 GB, .*--largest 3GB$"):
        allow(2**31 + 1, 0, "x")
    with allowing("3GB"):
        allow(2**31 + 1, 0, "x")
        assert allowed() == 3 * 10**9
        with allowing(500), pytest.raises(InputError):
            allow(501, 0, "x")
    assert allowed() == 2**31 and allowed(7) == 7


@pytest.mark.parametrize(("text", "size"), [("16GB", 16 * 10**9), ("500 mb", 5 * 10**8), ("1tb", 10**12), ("12", 12)])
def test_sizes_as_people_write_them(text, size):
    with allowing(text):
        assert allowed() == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1.5GB", "1GiB", "nan", "9" * 40, "1 PB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="such as 16GB"), allowing(text):
        pass


def test_the_flag_of_every_command(capsys, tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((10**6, 4)) + np.arange(4) + np.arange(10**6)[:, None] % 2)
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(tmp_path / "x.npz"), "--largest", "1MB"])
    assert "--largest 1GB" in capsys.readouterr().err
    cli.main(["inspect", str(tmp_path / "x.npz"), "--largest", "40MB"])
    assert "1,000,000 rows" in capsys.readouterr().out
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0 and "--largest SIZE" in capsys.readouterr().out


def npz(folder):
    """2.4 GB of zeros in 10 MB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 600)})
    file = zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with file, file.open("x.npy", "w", force_zip64=True) as member:
        member.write(header.getvalue())
        for _ in range(24):
            member.write(bytes(10**8))
    return folder / "x.npz"


def idx(folder):
    """2.4 GB of zeros in a gzip file of 2.4 MB."""
    pack = zlib.compressobj(1, wbits=31)
    with (folder / "x-idx3-ubyte.gz").open("wb") as file:
        file.write(pack.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (24, 10_000, 10_000))))
        for _ in range(24):
            file.write(pack.compress(bytes(10**8)))
        file.write(pack.flush())
    return folder / "x-idx3-ubyte.gz"


def rows(folder):
    """300 million rows of one value, which parquet writes as their number."""
    zeros = pa.array(np.zeros(10**6, np.int32))
    parquet.write_table(pa.table({"a": pa.chunked_array([zeros] * 300)}), folder / "rows.parquet", compression="zstd")
    return folder / "rows.parquet"


def texts(folder):
    """20 GB of text: one text of 100 kB, and how often."""
    cells = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), pa.array(["x" * 100_000]))
    parquet.write_table(pa.table({"a": cells}), folder / "texts.parquet", compression="zstd")
    return folder / "texts.parquet"


def pictures(folder):
    """2.6 GB of black in 40 pictures of 62 kB."""
    (folder / "pictures").mkdir()
    file = io.BytesIO()
    Image.fromarray(np.zeros((8000, 8000), np.uint8)).save(file, "PNG")
    for i in range(40):
        (folder / "pictures" / f"{i}.png").write_bytes(file.getvalue())
    return folder / "pictures"


def configuration(folder):
    """99 MB of JSON that takes gigabytes when it is parsed."""
    (folder / "config.json").write_text(f'{{"a": [{"[]," * 33_000_000}1]}}')
    return folder


def sparse(folder):
    """A history of 6 GB that takes no room on the disk."""
    (folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n')
    os.truncate(folder / "metrics.jsonl", 6 * 10**9)
    return folder


def line(folder):
    """A history of one line of 200 MB."""
    (folder / "metrics.jsonl").write_text(f'{{"step": 1, "a": [{"[]," * 66_000_000}1]}}\n{{"step": 2}}\n')
    return folder


CHECK = """
import resource, sys
from pushforward.errors import InputError
kind, path = sys.argv[1:]
if kind == "data":
    from pushforward.data import load as read
elif kind == "run":
    from pushforward.run.folder import read
else:
    from pushforward.run import history as read
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_DATA, (3 * 10**9, resource.RLIM_INFINITY))
try:
    said = repr(read(Path(path)))
except InputError as error:
    said = str(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, said)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "make", "words"),
    [
        *(("data", make, "--largest 3GB") for make in (npz, idx, texts, pictures)),
        ("data", rows, "unpacks to 2.4 GB"),
        ("run", configuration, "--largest"),
        ("history", sparse, "bytes where"),
        ("history", line, "[{'step': 2}]"),
    ],
)
def test_small_files_that_ask_for_all_memory(kind, make, words, tmp_path):
    """Refused for what they would unpack to, before 1 GB is taken."""
    command = [sys.executable, "-c", CHECK, kind, str(make(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    taken, _, said = done.stdout.partition(" ")
    assert words in said and "\n" not in said.strip() and len(said) < 500
    assert int(taken) < 10**6  # kB


def test_a_line_is_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that is full in the middle of a line leaves the lines before it, and the next one is a line."""
    log = tmp_path / "log"
    append_line(log, "first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            append_line(log, "second, longer than the room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    assert caught.value.errno == errno.EFBIG and log.read_text() == "first\n"
    append_line(log, "third")
    assert log.read_text() == "first\nthird\n"


# ---- checksums


def test_lines_of_a_log_know_what_they_were(tmp_path):
    """Every flip of a bit is told; a line that was cut short is left out; lines of before have no check."""
    values = [{"step": i, "loss": 0.1 * i, "note": "a, b}", "none": None} for i in range(3)]
    text = "".join(f"{checked_line(value)}\n" for value in values)
    log = tmp_path / "log"
    log.write_text(text)
    assert list(checked_lines(log)) == values
    data, start = text.encode(), text.index("\n") + 1
    for at in range(start, text.index("\n", start)):
        for bit in range(8):
            log.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            found = list(checked_lines(log))
            assert values[1] not in found and found[0] == values[0] and found[-1] == values[2], (at, bit)
    for end in range(len(text)):
        log.write_text(text[:end])
        assert list(checked_lines(log)) in (values[: text[:end].count("\n")], values[: text[: end + 1].count("\n")])
    log.write_text('{"step": 1}\nno\n{"step": 2}')
    assert list(checked_lines(log)) == [{"step": 1}, None, {"step": 2}]
    log.write_bytes(b"[" * 10**6 + b'\n{"step": 3}\n')
    assert [value for value in checked_lines(log) if value is not None] == [{"step": 3}]


def test_tensors_know_their_run(tmp_path):
    values, like = {"a": torch.arange(4.0)}, {"a": torch.zeros(4)}
    save_tensors(values, tmp_path / "a.safetensors", "one")
    write_folder(tmp_path / "run" / "step-1", values, {"step": 1}, "one")
    for asked in ("one", ""):
        assert torch.equal(load_tensors(tmp_path / "a.safetensors", like, asked)["a"], values["a"])
        assert read_folder(tmp_path / "run" / "step-1", like, asked)[1] == {"step": 1}
    for read in (load_tensors, read_folder):
        with pytest.raises(ValueError, match="another run"):
            read(tmp_path / ("a.safetensors" if read is load_tensors else "run/step-1"), like, "two")
    save_tensors(values, tmp_path / "a.safetensors")  # of before: it does not say
    assert load_tensors(tmp_path / "a.safetensors", like, "two")


def test_json_is_read_from_plain_files(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="plain file"):
        read_json(tmp_path / "pipe")
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    assert read_json(tmp_path / "link.json") == b"[1, 2]"
    monkeypatch.setattr(jsonfile, "VALUE", 2**31)
    with pytest.raises(InputError, match="--largest"):
        read_json(tmp_path / "a.json")


def test_pages_of_parquet_are_checked(tmp_path):
    """A flip of a bit in a page that we wrote is told, and rows never change silently."""
    from pushforward.data import save

    table = pa.table({"a": np.random.default_rng(0).normal(size=2000), "b": ["x", "y"] * 1000})
    save(table, tmp_path / "a.parquet")
    data, right = (tmp_path / "a.parquet").read_bytes(), load(tmp_path / "a.parquet").x
    told = 0
    for at in range(4, len(data) - 8, len(data) // 60):
        (tmp_path / "a.parquet").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            assert torch.equal(load(tmp_path / "a.parquet").x, right), at
        except InputError:
            told += 1
    assert told > 40


def test_a_log_that_was_changed_is_named(tmp_path, capsys):
    Path(tmp_path / "metrics.jsonl").write_text(
        f"{checked_line({'step': 1})}\n{checked_line({'step': 2}).replace('2', '3', 1)}\n{json.dumps({'step': 4})}\n"
    )
    notes: list[str] = []
    assert [row["step"] for row in run.history(tmp_path, warn=notes.append)] == [1, 4]
    assert len(notes) == 1 and "1 of 3 lines" in notes[0] and "the first line 2" in notes[0]
