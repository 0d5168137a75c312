"""The oldest of everything: ``python tests/oldest.py`` prints what ``make test-oldest`` installs.

One line ``name==bound`` for each dependency that pyproject.toml declares for the package and, in the extra ``dev``, for
its tests. What only checks types and style or builds the documentation is left out.
"""

import sys
from pathlib import Path

from packaging.requirements import Requirement

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PYPROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
NOT_FOR_TESTS = {"mypy", "ruff", "pre-commit", "mkdocs-material", "mkdocstrings"}


def bound(requirement):
    """The lower bound of a requirement, its only condition."""
    conditions = list(requirement.specifier)
    if [condition.operator for condition in conditions] != [">="]:
        raise ValueError(f"{requirement}: declare one lower bound, as {requirement.name}>=1.2")
    return conditions[0].version


def pins(project=PROJECT):
    """``{name: bound}`` of what the package and its tests need in this Python."""
    declared = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["dev"]])
    here = [needed for needed in declared if needed.marker is None or needed.marker.evaluate()]
    return {needed.name: bound(needed) for needed in here if needed.name not in NOT_FOR_TESTS}


def main():
    print(*(f"{name}=={version}" for name, version in pins().items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
