"""The trained model in a run folder: new rows in the user's own units, their densities, and what fills their gaps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.config import OwnParts, make
from pushforward.errors import InputError
from pushforward.progress import SILENT, Progress, Watch
from pushforward.run.conditions import (
    ClassSpec,
    Guidance,
    class_numbers,
    drawn_classes,
    encode_partial_rows,
    guided,
)
from pushforward.run.density import DensityOptions, row_likelihood
from pushforward.run.distinct import distinct_rows
from pushforward.run.folder import RunFile, TunedSampler, history
from pushforward.run.imputation import Draw, draw_where, fill_gaps
from pushforward.run.request import single_process
from pushforward.run.sampling import Sampling, default_sampler

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from pushforward.data import DataSource, Transform
    from pushforward.data import UserRows as Rows
    from pushforward.data.files.rows import Array
    from pushforward.distributed import Processes
    from pushforward.field import Field
    from pushforward.likelihood import Divergence, Likelihood
    from pushforward.report import Report
    from pushforward.sample import Sampler, Stepper, Tuned

__all__ = ["Model"]


@dataclass(eq=False)
class Model:
    """A trained run: its field in model units, and samples in the user's own units.

    It is on a ``device``, and ``processes`` share out what it computes; all get all rows. ``tuned`` are the answers of
    `tune`, the latest last; ``own`` the parts that the run was given as objects.
    """

    field: Field
    transform: Transform
    run: RunFile
    folder: Path
    device: str = "cpu"
    tuned: tuple[TunedSampler, ...] = ()
    processes: Processes = dataclasses.field(default_factory=single_process)
    own: OwnParts = dataclasses.field(default_factory=OwnParts)

    @property
    def net(self) -> nn.Module:
        """The network behind the field, with averaged weights."""
        net: nn.Module = getattr(self.field, "net")  # noqa: B009  (every field of a run has one)
        return net

    def independent(self) -> Model:
        """The same model, whose rows are independent draws of its law: none is compared with the others."""
        rules = dataclasses.replace(self.transform.rules, unique=())
        return dataclasses.replace(self, transform=dataclasses.replace(self.transform, rules=rules))

    # ---- new rows

    def sample(
        self,
        n: int,
        *,
        y: ClassSpec = None,
        where: Mapping[str, Any] | None = None,
        guidance: Guidance = None,
        steps: int | None = None,
        stepper: Stepper | None = None,
        grid: Tensor | None = None,
        tol: float | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        first: int = 0,
        progress: Watch = None,
    ) -> Rows:
        """Sample ``n`` new rows in the units, columns and types of the training data: an array, or a pyarrow.Table.

        ``y`` is a class by its label, one for all rows or one for each, and -1 for none; without it classes are as
        frequent as in the data (`labels`). ``where`` gives columns of a table their values, None a missing one.
        ``guidance`` is the scale of `ClassifierFreeGuidance`, 1 for none, or a function from field to field such as
        ``lambda field: pf.AutoGuidance(field, weaker, 2.0)``.

        Row i depends on (seed, first + i) alone, but where rows are to be unique (see `distinct_rows`). The method is
        given as in `integrate`; where nothing but ``steps`` is said, what was tuned for as many evaluations is used, or
        the latest that was tuned; else the defaults.
        """
        from pushforward.data.partial import table_of_one_row
        from pushforward.sample import Sampler

        sampler = Sampler.of(sampler, stepper, grid, steps, tol)
        sampling = Sampling(sampler, guidance, seed, first, self._watched(progress))
        if where is None:
            labels = self.labels(n, y, seed, first)

            def make(numbers: Array, seed: int, first: int) -> Rows:
                x = self._generate(
                    len(numbers), None if labels is None else labels[numbers], sampling.beginning(seed, first)
                )
                return self.transform.inverse(x, seed, first)

            return distinct_rows(self.transform, make, n, seed, first, progress=sampling.progress)
        if y is not None:
            raise InputError("give y or where: a class, or columns of a table")
        row = table_of_one_row(where, self.transform)
        given, condition = encode_partial_rows(self.transform, self.run, row, "where", False)

        def make_known(numbers: Array, seed: int, first: int) -> Rows:
            draw = self._draw(sampling.beginning(seed, first))
            return draw_where(self.transform, given, condition, draw, len(numbers), seed, first)

        return distinct_rows(self.transform, make_known, n, seed, first, given, sampling.progress)

    def _draw(self, sampling: Sampling) -> Draw:
        """Samples for conditions, with the sampling's own seed or, in silence, with another one."""

        def draw(condition: Tensor, seed: int | None, first: int) -> Tensor:
            again = sampling if seed is None else dataclasses.replace(sampling, seed=seed, progress=SILENT)
            return self._generate(len(condition), condition, dataclasses.replace(again, first=first))

        return draw

    def labels(self, n: int, y: ClassSpec = None, seed: int = 0, first: int = 0) -> Tensor | None:
        """The classes ``[n]`` of the rows that ``sample`` makes with the same words, as numbers; None without any."""
        return drawn_classes(self.run, n, seed, first) if y is None else class_numbers(self.run, y, n)

    def fill(
        self,
        rows: Rows,
        *,
        guidance: Guidance = None,
        steps: int | None = None,
        seed: int = 0,
        origin: str = "the rows",
        progress: Watch = None,
    ) -> Rows:
        """Fill the gaps of rows of a table, each by one draw from its law given what the row holds.

        Columns that ``rows`` does not have are gaps as a whole. What is known stays as it is. A gap is never filled by
        a missing value. ``origin`` names the rows in errors. InputError for a model that has not learned to
        be told columns (`resolve`).
        """
        from pushforward.sample import Sampler

        given, condition = encode_partial_rows(self.transform, self.run, rows, origin, True)
        sampling = Sampling(Sampler(steps=steps), guidance, seed, 0, self._watched(progress))

        def make(numbers: Array, seed: int, first: int) -> Rows:
            some = dataclasses.replace(given, rows=given.rows.take(numbers))
            draw = self._draw(sampling.beginning(seed, first))
            return fill_gaps(self.transform, some, condition[numbers], draw, seed, origin)

        return distinct_rows(self.transform, make, len(condition), seed, 0, given, sampling.progress)

    def tuned_for(self, steps: int | None) -> TunedSampler | None:
        """The sampler tuned for so many evaluations, or the latest one with None; None where there is none."""
        return next((t for t in reversed(self.tuned) if steps in (None, t.nfe)), None)

    def history(self, name: str = "metrics.jsonl") -> list[dict[str, float]]:
        """The lines of the run's ``metrics.jsonl``, or of its ``floor.jsonl``."""
        return history(self.folder, name)

    def resolve_sampler(self, sampler: Sampler) -> Sampler:
        """The tuned sampler, or the default one, where ``sampler`` says nothing but a number of steps."""
        from pushforward.sample import STEPPERS, Sampler

        if any(part is not None for part in (sampler.stepper, sampler.grid, sampler.tol)):
            return sampler
        if tuned := self.tuned_for(sampler.steps):
            return Sampler(make(STEPPERS, tuned.stepper, "stepper"), tuned.times())
        return self.default_sampler(sampler.steps)

    def default_sampler(self, steps: int | None = None) -> Sampler:
        """What `sample` does with so many steps where nothing was tuned, see `sampling.default_sampler`."""
        return default_sampler(self.field, self.transform.kind, steps, self.run.config.sample)

    def _generate(self, n: int, condition: Tensor | None, sampling: Sampling) -> Tensor:
        """Samples in model units ``[n, *d]``, of which each process makes some."""
        from pushforward.sample import generate

        guidance, sampler = sampling.guidance, self.resolve_sampler(sampling.sampler)
        if guidance is not None and condition is None and self.run.config.condition.condition != "none":
            raise InputError("guidance: towards what? say what is known of the rows (--where COLUMN=VALUE)")
        field = guided(self.field, self.run, guidance)

        def part(start: int, count: int) -> Tensor:
            return generate(
                field,
                count,
                self.transform.shape,
                sampler=sampler,
                seed=sampling.seed,
                y=None if condition is None else condition[start : start + count],
                first=sampling.first + start,
                device=self.device,
                progress=sampling.progress,
            )

        return self.processes.map_rows(n, part)

    def _watched(self, progress: Watch) -> Progress:
        """The progress of what this process computes, as far as it is the one that speaks."""
        return Progress.of(progress) if self.processes.main else SILENT

    # ---- densities

    def log_likelihood(
        self,
        rows: Rows,
        *,
        method: str | Divergence = "auto",
        y: ClassSpec = None,
        steps: int | None = None,
        tol: float | None = None,
        draws: int = 1,
        seed: int = 0,
        origin: str = "the rows",
        progress: Watch = None,
    ) -> Likelihood:
        """Compute log-densities of rows in the units, columns and types of the training data, nats per row, ``[n]``.

        ``log p(row) = log p_model(forward(row)) + log |det d forward / d row|``. Integers stand for the unit interval
        around them (uniform dequantization): the density is a mean over ``draws`` points in it, and its logarithm a
        lower bound, in expectation, on that of their probability. ``method`` "auto" is exact up to 128 dimensions and
        Hutchinson's above. ``y`` is the class of the rows, by label, and the density then ``p(row | y)``. What a row
        holds in a column that was constant in training is not looked at; a row that breaks a rule has density 0.
        Without ``steps`` they are adaptive, to ``tol`` nats (0.01). ``origin`` names the rows in errors. See
        `log_likelihood`.
        """
        options = DensityOptions(method, steps, tol, draws, seed)
        x = self.transform.forward(rows, origin)
        found = row_likelihood(self, x, self._class_condition(y, len(x)), options, self._watched(progress))
        impossible = ~self.transform.possible(rows, origin).to(found.log_prob.device)
        return dataclasses.replace(found, log_prob=found.log_prob.masked_fill(impossible, -math.inf))

    def log_prob(
        self, rows: Rows, *, y: ClassSpec = None, steps: int | None = None, tol: float | None = None
    ) -> Float[Tensor, "n"]:
        """``log p(row)`` in nats, ``[n]``, in the user's own units: `log_likelihood` without its errors."""
        return self.log_likelihood(rows, y=y, steps=steps, tol=tol).log_prob

    def encode(self, rows: Rows, *, y: ClassSpec = None, origin: str = "the rows") -> Float[Tensor, "n *d"]:
        """Find the source draws whose flow ends at these rows: `likelihood.encode` from the user's units."""
        import torch

        from pushforward.likelihood import encode

        x = self.transform.forward(rows, origin)
        with torch.no_grad():
            return encode(self.field, x.to(self.device), y=self._class_condition(y, len(x))).cpu()

    def decode(self, x0: Float[Tensor, "n *d"], *, y: ClassSpec = None) -> Rows:
        """Carry source draws to rows in the user's units: the inverse of `encode`."""
        import torch

        from pushforward.likelihood import decode

        with torch.no_grad():
            x = decode(self.field, x0.to(self.device), y=self._class_condition(y, len(x0)))
        return self.transform.inverse(x.cpu())

    def _class_condition(self, y: ClassSpec, n: int) -> Tensor | None:
        """Classes for a density; InputError where the law without a class was not learned and none is given."""
        if y is None and self.run.config.condition.condition == "labels" and not self.run.config.condition.cond_drop:
            raise InputError("this model was trained with --cond-drop 0 and knows the law of each class only: give y")
        numbers = class_numbers(self.run, y, n)
        return None if numbers is None else numbers.to(self.device)

    # ---- what is made of a model

    def tune(self, nfe: int, *, against: DataSource | None = None, seed: int = 0, progress: Watch = None) -> Tuned:
        """Find the best sampler for ``nfe`` evaluations a sample; `sample` uses it from now on, see `tune_model`."""
        from pushforward.run.tuning import tune_model

        return tune_model(self, nfe, seed, against, Progress.of(progress))

    def evaluate(
        self,
        against: DataSource | None = None,
        *,
        n: int = 2000,
        seed: int = 0,
        steps: int | None = None,
        quick: bool = False,
        progress: Watch = None,
    ) -> Report:
        """Measure how good the samples are, each figure beside its floor; see `pf.evaluate`."""
        from pushforward import report

        watched = self._watched(progress)
        return report.evaluate(
            [self], against, n=n, seed=seed, steps=steps, quick=quick, progress=watched, processes=self.processes
        )

    def push(
        self,
        to: str | Path,
        *,
        private: bool = False,
        revision: str | None = None,
        license: str = "unknown",
        to_folder: bool = False,
    ) -> str:
        """Share the model on the Hugging Face Hub as ``org/name``, or as a folder; where it is now, see `share`."""
        from pushforward.run.hub import Destination, share

        return share(self, Destination(to, private, revision, to_folder), license)

    def export(
        self,
        file: str | Path,
        *,
        steps: int | None = None,
        stepper: Stepper | None = None,
        grid: Tensor | None = None,
        guidance: float | None = None,
        batch: int | None = None,
        only_net: bool = False,
    ) -> dict[str, Any]:
        """Write the model to one ``.pt2`` file that runs where there is torch and nothing else, see `export_model`."""
        from pushforward.run.export import export_model
        from pushforward.sample import Sampler

        return export_model(self, Path(file), Sampler(stepper, grid, steps), guidance, batch, only_net)

    def __repr__(self) -> str:
        data = self.run.data
        size = f"{self.run.parameters:,} parameters"
        return f"Model({data.name!r}, rows of shape {data.shape}, {size}, {self.field.path})"
