"""Data behind URLs are what they are in files; everything here is in fsspec's memory."""

import io
import re

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from helpers import train_into

from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.data import inspect, load, read_raw
from pushforward.data.files import copies, remote, stream
from pushforward.errors import InputError
from pushforward.training import Budget

ROWS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
TABLE = pa.table({"a": ROWS[:, 0], "b": np.arange(60), "c": ["x", "y", "z"] * 20})
WRITE = {
    "rows.npy": lambda file: np.save(file, ROWS),
    "rows.npz": lambda file: np.savez(file, x=ROWS, y=np.arange(60) % 3),
    "rows.csv": lambda file: pyarrow.csv.write_csv(TABLE, file),
    "rows.tsv": lambda file: pyarrow.csv.write_csv(TABLE, file, pyarrow.csv.WriteOptions(delimiter="\t")),
    "rows.parquet": lambda file: pyarrow.parquet.write_table(TABLE, file),
}


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The same files twice: in memory, of which this process has no copies yet, and in a folder."""
    monkeypatch.setattr(copies, "_COPIES", {})
    memory = fsspec.filesystem("memory")
    for name, write in WRITE.items():
        for system, place in ((memory, f"/bucket/{name}"), (fsspec.filesystem("file"), str(tmp_path / name))):
            with system.open(place, "wb") as file:
                write(file)
    yield tmp_path
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("name", WRITE)
def test_data_behind_a_url_are_those_of_the_file(name, bucket):
    here = load(bucket / name)
    for url in (f"memory://bucket/{name}", f"file://{bucket / name}"):
        there = load(url)
        assert torch.equal(there.x, here.x) and there.transform.to_json() == here.transform.to_json()
        assert there.name == "rows" and there.classes == here.classes
        assert (there.y is None) == (here.y is None)


def test_several_files_are_one_and_large_ones_are_fetched_once(bucket, monkeypatch):
    memory = fsspec.filesystem("memory")
    monkeypatch.setattr(stream, "HOLD", 0)  # nothing is kept: each pass reads the copies again
    for name in ("rows.parquet", "rows.csv"):
        memory.copy(f"/bucket/{name}", f"/bucket/again-{name}")
        pattern, opened = f"memory://bucket/*{name[4:]}", []
        with monkeypatch.context() as patch:
            patch.setattr(memory, "open", lambda *a, f=memory.open, o=opened, **k: o.append(a[0]) or f(*a, **k))
            whole = load(pattern)
            assert len(whole) == 120 and torch.equal(whole.x[60:], whole.x[:60])
            assert torch.equal(load(pattern).x, whole.x)
        assert sorted(opened) == [f"/bucket/again-{name}", f"/bucket/{name}"]
        assert sum("fetched" in note for note in whole.notes) == 1 and "(2 files, " in whole.notes[0]


def test_what_ends_too_soon_or_breaks_is_one_line_and_leaves_nothing(bucket, monkeypatch):
    class Broken(io.BytesIO):
        size = 100

        def read(self, *_):
            raise RuntimeError("lost\nthe bucket")

    class Short(io.BytesIO):
        size = 100

    memory = fsspec.filesystem("memory")
    for made, words in ((Broken, "cannot be read to its end (lost the bucket)"), (Short, "cut short: 3 of 100 bytes")):
        monkeypatch.setattr(memory, "open", lambda *_, made=made: made(b"a,b"))
        with pytest.raises(InputError, match=re.escape(words)):
            load("memory://bucket/rows.csv")
        assert copies._COPIES == {}


def test_a_run_is_trained_on_a_url_and_knows_its_data_again(bucket, monkeypatch):
    monkeypatch.setattr(run.callbacks, "preview", lambda *_: None)
    config = Config(net=NetConfig(width=8, depth=1), train=TrainConfig(batch=8, warmup=2))
    url, out = "memory://bucket/rows.parquet", bucket / "run"
    assert train_into(url, out, config, Budget(3, None)) and train_into(url, out, config, Budget(5, None))
    assert run.read(out).data.source == url and len(read_raw(url).rows) == 60
    assert inspect(url).shape[0] == 60


WRONG = {
    "memory://bucket/none.csv": "memory://bucket/none.csv: no such file",
    "memory://bucket/*.tsv.gz": "no file has a name like this",
    "memory://bucket/rows.txt": "give one file (.npy",
    "memory://bucket/*": "tables of one ending",
    "nosuch://bucket/rows.csv": "data are read from https://",
}


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_is_said_in_one_line(url, bucket):
    with pytest.raises(InputError) as caught:
        load(url)
    assert WRONG[url] in str(caught.value) and "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "nosuch", {"class": "nosuch.FS", "err": "Install nosuchfs to access it"})
    monkeypatch.setattr(remote, "PROTOCOLS", ("nosuch",))
    with pytest.raises(InputError, match=r"nosuch://b/x.npy: this protocol needs a package .* Install nosuchfs"):
        load("nosuch://b/x.npy")
