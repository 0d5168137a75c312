"""Mutants of a run, of other seeds each time, through every command that takes one: they end well or in one line."""

import secrets

import fuzz
import pytest

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread")
COUNT = 50


@pytest.mark.slow
def test_mutants_of_a_run(tmp_path):
    seed = secrets.randbelow(10**6)
    assert fuzz.run_faults(COUNT, seed, tmp_path) == [], f"python tests/fuzz.py runs {COUNT} {seed}"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("inspect", "missing.csv"), None),
        (("info", "missing"), None),
        (("train", "moons"), None),  # a flag that is missing
    ],
)
def test_refusals_are_no_faults(args, words, tmp_path):
    assert fuzz.fault(args, tmp_path) is words


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
