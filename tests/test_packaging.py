"""The package as others get it: bounds that ``make test-oldest`` installs, and a wheel that works where it is put."""

import ast
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from itertools import chain
from pathlib import Path
from shutil import copy, copytree

import oldest
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_layout import PACKAGE, ROOT

EXTRAS = oldest.PROJECT["optional-dependencies"]
BUILD = oldest.PYPROJECT["build-system"]["requires"]
DECLARED = [Requirement(text) for text in chain(oldest.PROJECT["dependencies"], *EXTRAS.values(), BUILD)]
NOT_NEEDED = {"wandb", "mlflow", "sqlalchemy"}  # trackers whose tests are skipped without them


def test_every_dependency_has_one_lower_bound_wherever_it_is_declared():
    bounds = {(needed.name, oldest.bound(needed)) for needed in DECLARED}
    assert len(bounds) == len({name for name, _ in bounds}), sorted(bounds)


@pytest.mark.parametrize("text", ["torch", "torch==2.9", "torch>=2.9,<3", "torch>2.9"])
def test_a_requirement_that_is_no_lower_bound_is_found(text):
    with pytest.raises(ValueError, match="declare one lower bound, as torch>="):
        oldest.bound(Requirement(text))


def test_oldest_pins_what_the_package_and_its_tests_need(capsys):
    oldest.main()
    lines = capsys.readouterr().out.splitlines()
    declared = [Requirement(text) for text in [*oldest.PROJECT["dependencies"], *EXTRAS["dev"]]]
    declared = [needed for needed in declared if needed.marker is None or needed.marker.evaluate()]
    assert {needed.name for needed in declared} >= oldest.NOT_FOR_TESTS
    needed = [f"{n.name}=={oldest.bound(n)}" for n in declared if n.name not in oldest.NOT_FOR_TESTS]
    assert sorted(lines) == sorted(needed) and "torch==" in "".join(lines)


def imported(folder):
    """First names of all modules that the files below a folder import."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "tests"], ids=lambda folder: folder.name)
def test_what_is_imported_is_declared(folder):
    """By its own name, not as something that another package brings along."""
    declared = {canonicalize_name(needed.name) for needed in DECLARED}
    homes: dict[str, set[str]] = {}  # `packages_distributions` of Python 3.10 knows those of a top_level.txt only
    for found in distributions():
        for top in {Path(file.parts[0]).stem for file in found.files or ()}:
            homes.setdefault(top, set()).add(canonicalize_name(found.metadata["Name"]))
    ours = {file.stem for file in [*ROOT.glob("*"), *(ROOT / "tests").glob("*")]}
    foreign = imported(folder) - sys.stdlib_module_names - {"tomllib"} - ours - NOT_NEEDED
    assert {"torch", "numpy"} <= foreign
    assert [name for name in sorted(foreign) if not homes.get(name, {name}) & declared] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built in a copy of the tree, as building leaves files beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    copytree(PACKAGE, tree / "pushforward")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, tree)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (file,) = (tree / "dist").glob("pushforward-*-none-any.whl")
    return file


@pytest.fixture(scope="module")
def folder(wheel, tmp_path_factory):
    """The wheel installed into an empty folder."""
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def python(path, *command, cwd):
    """What a Python prints that finds the package in ``path``."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {file.relative_to(ROOT).as_posix() for file in PACKAGE.rglob("*.py")}
    assert inside == files | {"pushforward/py.typed"}


SCRIPT = """
import pushforward as pf
from pushforward.cli import main
print(pf.__file__, all(getattr(pf, name) is not None for name in pf.__all__))
main({command})
"""
TRAIN = ("train", "moons", "--out", "run", "--steps", "2", "--width", "8", "--depth", "1", "--batch", "16")


@pytest.mark.slow
@pytest.mark.parametrize(("form", "command"), {"folder": ("inspect", "moons"), "wheel": TRAIN}.items())
def test_a_wheel_works_installed_anywhere_and_as_it_is(form, command, request, tmp_path):
    """In a folder of its own, and as a zip archive on the path: the help, every name, and a command."""
    path = request.getfixturevalue(form)
    start = [path / "bin" / "pushforward"] if form == "folder" and os.name == "posix" else ["-m", "pushforward"]
    assert "train" in python(path, *start, "--help", cwd=tmp_path)
    where, complete = python(path, "-c", SCRIPT.format(command=list(command)), cwd=tmp_path).split()[:2]
    assert Path(where).is_relative_to(path) and complete == "True"
    assert form == "folder" or (tmp_path / "run" / "model.safetensors").is_file()
