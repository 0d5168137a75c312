"""Adding a part touches one file: CONTRIBUTING's recipe carried out for each kind, in a copy of the tree.

The laws are then asked of what was added: those in `tests/laws/`, and for networks, metrics and formats what
`test_nn.py`, `test_metrics.py` and `test_data.py` ask of every one.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_data import FORMAT

import pushforward as pf

ROOT = Path(__file__).parent.parent
SCHEDULE = """
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from pushforward.schedule.base import Schedule
from pushforward.tensor import ClockTimes


@final
@dataclass(frozen=True)
class Novel(Schedule):
    def __call__(self, t: ClockTimes) -> tuple[ClockTimes, ClockTimes]:
        alpha = t * (1 + t) / 2
        return alpha, 1 - alpha


SCHEDULES: dict[str, Callable[..., Schedule]] = {"novel_schedule": Novel}
"""
PATH = """
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from jaxtyping import Float
from torch import Tensor

from pushforward.path.affine import unscale
from pushforward.path.base import InvertiblePath, Path
from pushforward.source import Normal, Source
from pushforward.tensor import Points, Time, Times, bcast, clock, dimension


@final
@dataclass(frozen=True)
class Novel(InvertiblePath):
    source: Source = field(default_factory=Normal)

    def trajectory(self, x0: Points, x1: Points, t: Times) -> Points:
        return bcast(t * t, x1) * x1 + bcast(1 - t, x0) * x0

    def source_point(self, xt: Points, x1: Points, t: Time) -> Points:
        t = clock(t, xt)
        return unscale(xt - bcast(t * t, xt) * x1, 1 - t)

    def log_det(self, xt: Points, x1: Points, t: Time) -> Float[Tensor, "n"]:
        return (-dimension(xt) * (1 - clock(t, xt)).log()).to(xt).expand(len(xt))


PATHS: dict[str, Callable[..., Path]] = {"novel_path": Novel}
"""
COUPLING = """
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pushforward.coupling.base import Coupling
from pushforward.tensor import Points


@final
@dataclass(frozen=True)
class Novel:
    def __call__(
        self, x0: Points, x1: Points, y: Tensor | None, generator: torch.Generator
    ) -> tuple[Points, Points, Tensor | None]:
        return x0[torch.randperm(len(x0), generator=generator)], x1, y


COUPLINGS: dict[str, Callable[..., Coupling]] = {"novel_coupling": Novel}
"""
OBJECTIVE = """
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from pushforward.field import Field
from pushforward.objective.matching import regress
from pushforward.objective.weights import Weighting, default_weight
from pushforward.path import Draw


@final
@dataclass(frozen=True)
class Novel:
    quantities: tuple[str, ...] = ("velocity", "data")
    weighting: Weighting = default_weight

    def __call__(self, field: Field, draw: Draw, y: Tensor | None, generator: torch.Generator) -> Float[Tensor, "n"]:
        goals = {name: field.path.target(draw, name) for name in self.quantities}
        return regress(field, draw, y, goals, self.weighting)


OBJECTIVES: dict[str, Callable[..., object]] = {"novel_objective": Novel}
"""
STEPPER = """
from collections.abc import Callable

from pushforward.sample.ode import RungeKutta
from pushforward.sample.stepper import Stepper


def Novel() -> RungeKutta:
    return RungeKutta("ssprk3", a=((), (1.0,), (0.25, 0.25)), b=(1 / 6, 1 / 6, 2 / 3), order=3)


STEPPERS: dict[str, Callable[..., Stepper]] = {"novel_stepper": Novel}
"""
SOURCE = '''
@final
@dataclass(frozen=True)
class Novel(Source):
    """Independent logistic coordinates of scale 0.3."""

    def sample(self, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype | None = None) -> Points:
        u = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        return 0.3 * torch.logit(u.clamp(1e-7, 1 - 1e-7))

    def log_prob(self, x: Points) -> Float[Tensor, "n"]:
        z = x.flatten(1) / 0.3
        return (-z - 2 * torch.nn.functional.softplus(-z) - math.log(0.3)).sum(1)

    def score(self, x: Points) -> Points:
        return -torch.tanh(x / 0.6) / 0.3


'''
TIMES = '''
def novel_times(n: int, generator: torch.Generator, schedule: Schedule | None = None) -> Float[Tensor, "n"]:
    """The square of a uniform number."""
    return uniform(n, generator).square()


'''
GRID = '''
def novel_grid(steps: int, schedule: Schedule | None = None) -> Float[Tensor, "times"]:
    """``t = k^(3/2)``."""
    return _steps(steps) ** 1.5


'''
NET = """
import math

import torch
from torch import nn

from pushforward.nn.embed import Condition, ConditionInput, Conditions, FourierTime
from pushforward.nn.grid import require
from pushforward.nn.sizes import NetSize, NetSpec
from pushforward.tensor import NetTimes


class Novel(nn.Module):
    def __init__(self, shape: tuple[int, ...], width: int, conditions: Conditions | None) -> None:
        super().__init__()
        self.shape, d = tuple(shape), math.prod(shape)
        self.time, self.condition = FourierTime(width), Condition(conditions, width)
        self.first = nn.Linear(d + self.condition.channels * math.prod(shape[1:]), width)
        self.last = nn.Linear(width, d)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: torch.Tensor, t: NetTimes, y: ConditionInput = None) -> torch.Tensor:
        require(x, t, self.shape)
        c, z = self.condition(self.time(t), x, y)
        return self.last(torch.tanh(self.first(z.flatten(1)) + c)).reshape(x.shape)


NETS = {
    "novel_net": NetSpec(
        make=lambda shape, size, conditions, marginals: Novel(shape, size.width, conditions),
        sizes={name: NetSize(32 * 2**k, 1) for k, name in enumerate(("tiny", "small", "base", "large"))},
    )
}
"""
METRIC = """
import torch

from pushforward.metrics.base import Metric, check_comparable


def distance_of_means(x: torch.Tensor, y: torch.Tensor) -> float:
    check_comparable(x, y)
    return float((x.flatten(1).mean(0) - y.flatten(1).mean(0)).detach().norm())


METRICS = {"novel_metric": Metric(distance_of_means, "Distance of means", "whether means agree; less is better")}
"""
NEW_FILES = {
    "schedule": SCHEDULE,
    "path": PATH,
    "coupling": COUPLING,
    "objective": OBJECTIVE,
    "sample": STEPPER,
    "nn": NET,
    "metrics": METRIC,
    "data/files": FORMAT.replace(".rec", ".novel_format"),
}
# file, the definition, the registry before which it goes, and the word in it
EDITS = (
    ("source.py", SOURCE, "SOURCES", '"novel_source": Novel'),
    ("times.py", TIMES, "TIMES", '"novel_times": configurable(novel_times, 3)'),
    ("times.py", GRID, "GRIDS", '"novel_grid": novel_grid'),
)
KINDS = ("schedule", "source", "path", "coupling", "times", "grid", "objective", "stepper", "net", "metric", "format")
ASKED = ("laws", "test_nn.py", "test_metrics.py", "test_data.py::test_save_and_read_back")
OFFERED = {
    "schedule": ("schedule", "SCHEDULES"),
    "source": ("source", "SOURCES"),
    "path": ("path", "PATHS"),
    "coupling": ("coupling", "COUPLINGS"),
    "times": ("times", "TIMES"),
    "grid": ("times", "GRIDS"),
    "objective": ("objective", "OBJECTIVES"),
    "stepper": ("sample", "STEPPERS"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the package and its tests, with a part of each kind added."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(Path(pf.__file__).parent, tree / "pushforward", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for room, text in NEW_FILES.items():
        (tree / "pushforward" / room / "novel.py").write_text('"""A part of one\'s own."""\n' + text)
    for name, text, registry, word in EDITS:
        file = tree / "pushforward" / name
        whole, count = re.subn(
            rf"^((?:#[^\n]*\n)?{registry}: [^\n]*\{{\n)",
            lambda m, t=text, w=word: f"{t}{m[1]}    {w},\n",
            file.read_text(),
            flags=re.M,
        )
        assert count == 1, registry
        file.write_text(whole)
    return tree


def run(tree, *command):
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run([sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_laws_are_asked_of_a_new_part_of_each_kind_and_hold(tree):
    asked = [f"tests/{name}" for name in ASKED]
    done = run(tree, "-m", "pytest", *asked, "-k", "novel", "-vv", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for kind in KINDS:
        assert f"novel_{kind}" in done.stdout, kind


def test_a_new_part_is_offered_by_its_name_and_builds(tree):
    lines = [
        f"assert 'novel_{kind}' in names({room!r}, {registry!r}), {kind!r}"
        for kind, (room, registry) in OFFERED.items()
    ]
    built = "pf.{}['novel_{}']"
    lines += [
        f"{built.format(registry, kind)}({'3' if kind == 'grid' else ''})" for kind, (_, registry) in OFFERED.items()
    ]
    done = run(tree, "-c", "\n".join(["import pushforward as pf", "from pushforward.registry import names", *lines]))
    assert done.returncode == 0, done.stderr


def test_a_name_that_two_files_register_is_refused(tree):
    room = tree / "pushforward" / "schedule"
    (room / "other.py").write_text('"""The same word."""\n\nSCHEDULES = {"cosine": None}\n')
    done = run(tree, "-c", "import pushforward.schedule")
    (room / "other.py").unlink()
    assert "SCHEDULES has 'cosine' already, from another file" in done.stderr
