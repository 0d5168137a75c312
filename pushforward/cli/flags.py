"""The flags of commands that sample, in groups that check themselves: which rows, by what method, guided how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from pushforward.config import Spec, make
from pushforward.errors import InputError, nearest
from pushforward.registry import known, names

if TYPE_CHECKING:
    from torch import Tensor

    from pushforward.data.schema import Schema
    from pushforward.field import Field
    from pushforward.path import Path as TrajectoryPath
    from pushforward.run import Model
    from pushforward.run.conditions import Guidance
    from pushforward.sample import Stepper

__all__ = ["ColumnFlags", "GuidanceFlags", "LayoutFlag", "MethodFlags", "RowFlags"]

STEPPER_NAMES = [name for name in names("sample", "STEPPERS") if name != "langevin"]  # which samples one law, no path
GRID_NAMES = names("times", "GRIDS")
LayoutFlag = Annotated[
    Literal["sequence", "image", "volume", "vector"] | None,
    arg(help="what the axes of an array (.npy, .npz) are: [n, steps, channels] a sequence; guessed otherwise"),
]


@dataclass(frozen=True)
class ColumnFlags:
    """What of the columns of a table is not to be guessed."""

    schema: Annotated[Path | None, arg(metavar="FILE", help='columns as you want them: {"id": "drop", ...}')] = None
    drop: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="COLUMN", help="a column to leave out (several times: several)")
    ] = ()
    keep: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="COLUMN", help="a column to learn, however much it looks like an identifier"),
    ] = ()
    text: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="COLUMN", help="a column not to learn: samples get fresh values of its pattern"),
    ] = ()
    rule: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="RULE", help="what holds in every row: 'end >= start'; 'not NAME': one not to look for, 'not any'"),
    ] = ()
    header: Annotated[
        FlagCreatePairsOff[bool], arg(help="the first line of a text file names the columns, whatever it looks like")
    ] = False
    no_header: Annotated[FlagCreatePairsOff[bool], arg(help="the first line of a text file is a row")] = False

    @property
    def first_line(self) -> bool | None:
        """Whether the first line names the columns; None: to be found out."""
        if self.header and self.no_header:
            raise InputError("--header and --no-header: give one of them")
        return True if self.header else False if self.no_header else None

    def columns(self) -> Schema:
        """The schema file with the columns that flags name; InputError for a column that two of them name."""
        from pushforward.data.schema import ColumnSchema, Schema, read_schema

        named: dict[str, str] = {}
        for flag in ("drop", "keep", "text"):
            for name in getattr(self, flag):
                if named.setdefault(name, flag) != flag:
                    raise InputError(f"--{flag} {name}: --{named[name]} names it, too; give one of them")
        schema = read_schema(self.schema)
        kinds: dict[str, Any] = {"drop": "drop", "keep": "keep", "text": "text"}
        flags = {name: ColumnSchema(kinds[flag]) for name, flag in named.items()}
        return Schema(schema | flags).with_rules((*schema.rules, *self.rule)) if named or self.rule else schema


@dataclass(frozen=True)
class RowFlags:
    """How many rows are made, and what is known of them."""

    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT", help="how many rows or images")] = None
    y: Annotated[str | None, arg(metavar="CLASS", help="class of all samples, by its label")] = None
    per_class: Annotated[int | None, arg(metavar="INT", help="so many of each class, instead of -n")] = None
    where: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="COLUMN=VALUE", help="a column of a table that is known (several times: several; empty: missing)"),
    ] = ()
    fill: Annotated[str | None, arg(metavar="DATA", help="fill the gaps of this table, instead of -n")] = None

    def check(self) -> None:
        """InputError for counts below 1, and for flags that do not go together."""
        ways = (("-n", self.n), ("--per-class", self.per_class), ("--fill", self.fill))
        counts = [flag for flag, value in ways if value is not None]
        if len(counts) != 1:
            raise InputError(f"give one of -n, --per-class and --fill, not {' and '.join(counts) or 'none'}")
        if self.n is not None and self.n < 1:
            raise InputError(f"-n {self.n}: at least 1")
        if self.per_class is not None and (self.per_class < 1 or self.y is not None or self.where):
            raise InputError(f"--per-class {self.per_class}: at least 1, without --y and --where")
        if self.fill is not None and (self.y is not None or self.where):
            raise InputError("--fill: without --y and --where, the file says what is known")
        if odd := [pair for pair in self.where if "=" not in pair]:
            raise InputError(f"--where {odd[0]}: write COLUMN=VALUE")

    @property
    def columns(self) -> dict[str, str | None] | None:
        """The columns that are known, by name, None for a missing value; None without any."""
        return {name: value or None for name, _, value in (pair.partition("=") for pair in self.where)} or None

    def classes(self, model: Model) -> tuple[int, str | list[str] | None]:
        """How many rows ``--n`` or ``--per-class`` make, and their class or classes; InputError without classes."""
        if self.per_class is None:
            assert self.n is not None  # checked
            return self.n, self.y
        if model.run.config.condition.condition != "labels":
            raise InputError("--per-class: this model was trained without classes; give -n")
        classes = [name for name in model.run.data.classes for _ in range(self.per_class)]
        return len(classes), classes


@dataclass(frozen=True)
class MethodFlags:
    """By what method samples are made, and where its steps lie."""

    stepper: Annotated[
        str | None, arg(metavar="NAME", help=f"method: {', '.join(STEPPER_NAMES)} (tuned or default)")
    ] = None
    steps: Annotated[int | None, arg(metavar="INT", help="steps of the method")] = None
    grid: Annotated[
        str | None,
        arg(metavar="NAME", help=f"where they lie: {', '.join(GRID_NAMES)} (shifted; tables: shifted:1,2)"),
    ] = None
    sigma: Annotated[str | None, arg(metavar="FLOAT", help="diffusion: a number, or reverse for the reverse SDE")] = (
        None
    )
    tol: Annotated[float | None, arg(metavar="FLOAT", help="tolerance of an adaptive solver instead of steps")] = None

    def check(self, fill: bool = False) -> None:
        """InputError for unknown names, numbers out of range, and flags that do not go together, or with ``--fill``."""
        if self.steps is not None and self.steps < 1:
            raise InputError(f"--steps {self.steps}: at least 1")
        others = (self.stepper, self.grid, self.sigma)
        if self.tol is not None and (not self.tol > 0 or self.steps is not None or any(o is not None for o in others)):
            raise InputError(f"--tol {self.tol}: a positive number, without --stepper, --steps, --grid or --sigma")
        if fill and any(other is not None for other in (*others, self.tol)):
            raise InputError("--fill: takes --steps, not --stepper, --grid, --sigma or --tol")
        steppers = [name for name in known("sample", "STEPPERS") if name != "langevin"]
        for text, choices, part in ((self.stepper, steppers, "stepper"), (self.grid, known("times", "GRIDS"), "grid")):
            if text is not None and (name := Spec.parse(text, part).name) not in choices:
                raise InputError(nearest(name, choices, part))

    def build(self, model: Model) -> tuple[Stepper | None, Tensor | None]:
        """The method and the times; both None where they are left to the model."""
        from pushforward.run.sampling import TABLE_GRID
        from pushforward.sample import DEFAULT_STEPS
        from pushforward.times import GRIDS

        if self.stepper is None and self.grid is None and self.sigma is None:
            return None, None
        path, table = model.field.path, model.transform.kind == "table"
        method = self._stepper(path)
        usual = 1 if method is not None and method.adaptive else DEFAULT_STEPS
        usual_grid = (TABLE_GRID if table else "shifted") if path.predictions else "linear"
        schedule = path.affine_schedule() if path.predictions else None
        given = {"steps": usual if self.steps is None else self.steps, "schedule": schedule}
        return method, Spec.parse(self.grid or usual_grid, "grid").build(GRIDS, "grid", given)

    def _stepper(self, path: TrajectoryPath) -> Stepper | None:
        """The method with the diffusion that ``--sigma`` says; InputError for one that has none."""
        from pushforward.sample import STEPPERS, EulerMaruyama, StochasticHeun, reverse_sigma

        text = "stochastic_heun" if self.stepper is None and self.sigma is not None else self.stepper
        method: Stepper | None = None if text is None else make(STEPPERS, text, "stepper")
        if self.sigma is None:
            return method
        if not isinstance(method, EulerMaruyama | StochasticHeun):
            raise InputError(f"--sigma {self.sigma}: for euler_maruyama and stochastic_heun only, not for {text}")
        try:
            return type(method)(reverse_sigma(path) if self.sigma == "reverse" else float(self.sigma))
        except ValueError as error:
            raise InputError(
                f"--sigma {self.sigma}: a number from 0, or reverse on a Gaussian path ({error})"
            ) from error


@dataclass(frozen=True)
class GuidanceFlags:
    """How strongly samples are drawn towards their condition."""

    guidance: Annotated[
        float | None, arg(metavar="FLOAT", help="lean towards the condition: 0 ignores it, 1 samples it as it is")
    ] = None
    interval: Annotated[
        tuple[float, float] | None, arg(metavar="FROM TO", help="times within 0 and 1 in which guidance acts")
    ] = None
    rescale: Annotated[float, arg(help="share in which guidance is kept from raising contrast, 0 to 1")] = 0.0
    weak: Annotated[
        Path | None, arg(metavar="RUN", help="guide away from this worse run of the same data (autoguidance)")
    ] = None

    def build(self, model: Model) -> Guidance:
        """The guidance of a model's field, a function from field to field; None where none is asked for.

        InputError for a model that was not trained for it, and for a worse run of other data.
        """
        from pushforward import run as runs
        from pushforward.guidance import AutoGuidance, ClassifierFreeGuidance

        if self.guidance is None:
            if self.interval is not None or self.rescale or self.weak is not None:
                raise InputError("--interval, --rescale and --weak: give --guidance, the scale, too")
            return None
        scale, interval, rescale = self.guidance, self.interval or (0.0, 1.0), self.rescale
        worse = None if self.weak is None else runs.load(self.weak, model.device)
        if worse is not None and worse.run.data.fingerprint != model.run.data.fingerprint:
            raise InputError(f"--weak {self.weak}: was trained on other data than {model.folder}")
        if worse is None:
            runs.guided(model.field, model.run, scale)  # refused before anything is computed

        def guide(field: Field) -> Field:
            try:
                if worse is None:
                    return ClassifierFreeGuidance(field, scale, interval, rescale)
                return AutoGuidance(field, worse.field, scale, interval, rescale)
            except ValueError as error:
                raise InputError(f"--guidance: {error}") from error

        guide(model.field)
        return guide
