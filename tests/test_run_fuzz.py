"""Mutants of a run, of other seeds each time, through every command that takes one: they end well or in one line."""

import importlib
import secrets
import tempfile

import fuzz
import pytest

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread")
COUNT = 50


@pytest.mark.slow
def test_mutants_of_a_run(tmp_path):
    seed = secrets.randbelow(10**6)
    assert fuzz.run_faults(COUNT, seed, tmp_path) == [], f"python tests/fuzz.py runs {COUNT} {seed}"


@pytest.mark.parametrize("args", [("inspect", "missing.csv"), ("info", "missing"), ("train", "moons")], ids=str)
def test_refusals_are_no_faults(args, tmp_path):
    """A file, a run and a flag that are not there: one line each."""
    assert fuzz.fault(args, tmp_path) is None and fuzz.ended(args)[0] == 2


def test_faults_are_found(tmp_path, monkeypatch):
    """The fuzzer is not blind: a traceback, a hang, a write elsewhere, too much memory and raw escapes are told."""

    def broken(action):
        monkeypatch.setattr(fuzz, "main", lambda args: action())
        return fuzz.fault((), tmp_path / "inside")

    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    assert "ZeroDivisionError" in broken(lambda: 1 // 0)
    assert "too long" in broken(lambda: [None for _ in iter(int, 1)])
    assert "elsewhere" in broken(lambda: (tmp_path / "outside").write_text("x"))
    assert "MemoryError" in broken(lambda: bytearray(10**10))
    assert "obey" in broken(lambda: print("\x1b[2J"))
    assert "exit code 3" in broken(lambda: exit(3))
    assert broken(lambda: (tmp_path / "inside" / "x").write_text("x")) is None


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 30])
def test_a_disk_that_is_full_takes_nothing(room, tmp_path, monkeypatch):
    """Of every command that writes: one line that names the file, and all that was there is there as it was."""
    importlib.import_module("sklearn.utils.parallel")  # which tries at its import whether it can write
    data, out, done = fuzz.good_run(tmp_path), tmp_path / "out", []
    out.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    commands = fuzz.commands(tmp_path / "run", data, out) | {
        "export": ("export", tmp_path / "run", "-o", out / "run.pt2"),
        "pictures": ("sample", tmp_path / "run", "-n", 3, "--steps", 2, "-o", out / "rows.tsv"),
        "begin": ("train", data, "--out", out / "run", "--steps", 2, *fuzz.FLAGS),
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, args in commands.items():
        with fuzz.full_disk(room):
            code, _, said = fuzz.ended(args)
        lines = [line for line in said.splitlines() if line.startswith("pushforward: ")]
        if name in ("info", "verify"):
            assert code in (0, 1), (name, said)
        else:
            assert code == 2 and len(lines) == 1 and str(tmp_path) in lines[0] and "too large" in lines[0], (name, said)
            done.append(name)
        found = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert found == before, name
    assert len(done) == len(commands) - 2
