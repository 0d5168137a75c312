"""Mutants of data files of every format and random tables, of other seeds each time: read, or refused in one line."""

import secrets

import fuzz
import fuzz_tables
import pytest

pytestmark = pytest.mark.usefixtures("unchecked", "one_thread", "no_previews")
COUNT = 150


@pytest.mark.slow
def test_mutants_of_data_files(tmp_path):
    seed = secrets.randbelow(10**6)
    (tmp_path / "root").mkdir()
    assert fuzz.file_faults(COUNT, seed, tmp_path / "root") == [], f"python tests/fuzz.py files {COUNT} {seed}"


@pytest.mark.slow
def test_random_tables(tmp_path):
    seed = secrets.randbelow(10**6)
    assert fuzz_tables.faults(40, seed, tmp_path) == [], f"python tests/fuzz_tables.py 40 {seed}"
