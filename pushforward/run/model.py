"""The trained model in a run folder: new rows in the user's own units, their densities, and what fills their gaps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.config import build, make
from pushforward.errors import InputError
from pushforward.run.conditions import ClassSpec, Guidance, class_numbers, drawn_classes, guided, known
from pushforward.run.fetch import fetch, on_hub
from pushforward.run.folder import RunFile, TunedSampler, history, read, read_tuned

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from pushforward.data import Transform
    from pushforward.data.files.arrays import Rows
    from pushforward.field import Field
    from pushforward.likelihood import Divergence, Likelihood
    from pushforward.sample import Stepper
    from pushforward.training import Processes

__all__ = ["Model", "load"]

ATTEMPTS = 20
NATS = 0.01  # tolerance of a log-density: networks are wrong by more


def _shared(processes: Processes, how: Callable[..., Likelihood], x: Tensor, y: Tensor | None) -> Likelihood:
    """The log-likelihood of points of which each process takes some."""
    import torch

    from pushforward.likelihood import Likelihood

    if processes.count == 1:
        return how(x, y)
    nfe = []

    def part(start: int, count: int) -> Tensor:
        some = slice(start, start + count)
        found = how(x[some], None if y is None else y[some], first=start)
        nfe.append(found.nfe)
        numbers = torch.stack([found.log_prob, found.std_error, found.step_error], 1)
        return torch.cat([numbers.double(), found.x0.flatten(1).double()], 1)

    columns = processes.map_rows(len(x), part)
    log_prob, std_error, step_error = columns[:, :3].to(x.dtype).unbind(1)
    return Likelihood(log_prob, std_error, step_error, columns[:, 3:].reshape(x.shape).to(x), max(nfe))


@dataclass(frozen=True, eq=False)
class Model:
    """A trained run: its field in model units, and samples in the user's own units.

    ``tuned`` are the answers of `tune`, the latest last.
    """

    field: Field
    transform: Transform
    run: RunFile
    folder: Path
    device: str = "cpu"
    tuned: tuple[TunedSampler, ...] = ()

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
        seed: int = 0,
        first: int = 0,
        on_batch: Callable[[int, int], None] | None = None,
        processes: Processes | None = None,
    ) -> Rows:
        """``n`` new rows in the units, columns and types of the training data: an array, or a pyarrow.Table.

        ``y`` is a class by its label, one for all rows or one for each, and -1 for none; without it classes are as
        frequent as in the data (`labels`). ``where`` gives columns of a table their values, None a missing one.
        ``guidance`` is the scale of `ClassifierFreeGuidance`, 1 for none, or a function from field to field such as
        ``lambda field: pf.AutoGuidance(field, weaker, 2.0)``.

        Row i depends on (seed, first + i) alone. Where nothing but ``steps`` is said, what was tuned for as many
        evaluations is used, or the latest that was tuned; else the defaults of `integrate`. ``processes`` share the
        work out, and all get all rows.
        """
        if where is None:
            told = self.labels(n, y, seed, first)
            x = self._generate(n, told, guidance, steps, stepper, grid, tol, seed, first, on_batch, processes)
            return self.transform.inverse(x)
        from pushforward.data.partial import one_row, restored

        if y is not None:
            raise InputError("give y or where: a class, or columns of a table")
        given = one_row(where)
        there = known(self.transform, self.run, given, "where", False).expand(n, -1)
        x = self._generate(n, there, guidance, steps, stepper, grid, tol, seed, first, on_batch, processes)
        return restored(self.transform.inverse(there.where(~there.isnan(), x)), given)

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
        where: str = "the rows",
        on_batch: Callable[[int, int], None] | None = None,
        processes: Processes | None = None,
    ) -> Rows:
        """Rows of a table with their gaps filled, each by one draw from its law given what the row holds.

        Columns that ``rows`` does not have are gaps as a whole. What is known stays as it is. A gap is never filled by
        a missing value. InputError for a model that has not learned to be told columns (`resolve`).
        """
        import numpy as np
        import pyarrow as pa
        import torch

        from pushforward.data.partial import restored
        from pushforward.tensor import generator

        there = known(self.transform, self.run, rows, where, True)
        x, todo = there.clone(), torch.arange(len(there))
        for attempt in range(ATTEMPTS):  # a gap that was filled by a missing value is drawn again
            say = on_batch if attempt == 0 else None
            again = seed if attempt == 0 else int(torch.randint(2**31, (), generator=generator(seed, "fill", attempt)))
            some = there[todo]
            new = self._generate(len(todo), some, guidance, steps, None, None, None, again, 0, say, processes)
            x[todo] = some.where(~some.isnan(), new)
            table = self.transform.inverse(x)
            assert isinstance(table, pa.Table)
            gaps = np.any([np.asarray(column.is_null()) for column in table.columns], axis=0)
            todo = torch.from_numpy(np.flatnonzero(gaps))
            if not len(todo):
                return restored(table, rows)
        raise InputError(
            f"{where}: {len(todo)} rows were not filled after {ATTEMPTS} attempts: the model has learned that these "
            "values are missing whenever the rest is as it is here"
        )

    def tuned_for(self, steps: int | None) -> TunedSampler | None:
        """The sampler tuned for so many evaluations, or the latest one with None; None where there is none."""
        return next((t for t in reversed(self.tuned) if steps in (None, t.nfe)), None)

    def history(self, name: str = "metrics.jsonl") -> list[dict[str, float]]:
        """The lines of the run's ``metrics.jsonl``, or of its ``floor.jsonl``."""
        return history(self.folder, name)

    def _generate(
        self,
        n: int,
        condition: Tensor | None,
        guidance: Guidance,
        steps: int | None,
        stepper: Stepper | None,
        grid: Tensor | None,
        tol: float | None,
        seed: int,
        first: int,
        on_batch: Callable[[int, int], None] | None,
        processes: Processes | None,
    ) -> Tensor:
        """Samples in model units, with the tuned sampler where nothing else is asked for."""
        from pushforward.sample import STEPPERS, generate
        from pushforward.training import SINGLE

        if guidance is not None and condition is None and self.run.config.condition.condition != "none":
            raise InputError("guidance: towards what? say what is known of the rows (--where COLUMN=VALUE)")
        if stepper is None and grid is None and tol is None and (tuned := self.tuned_for(steps)):
            stepper, grid, steps = make(STEPPERS, tuned.stepper, "stepper"), tuned.times(), None

        field = guided(self.field, self.run, guidance)

        def part(start: int, count: int) -> Tensor:
            return generate(
                field,
                count,
                self.transform.shape,
                stepper=stepper,
                steps=steps,
                seed=seed,
                y=None if condition is None else condition[start : start + count],
                grid=grid,
                tol=tol,
                first=first + start,
                device=self.device,
                progress=None if on_batch is None else lambda share, words: on_batch(round(share * count), count),
            )

        return (processes or SINGLE).map_rows(n, part)

    def log_likelihood(
        self,
        rows: Rows,
        method: str | Divergence = "auto",
        *,
        y: ClassSpec = None,
        steps: int | None = None,
        tol: float | None = None,
        draws: int = 1,
        seed: int = 0,
        where: str = "the rows",
        on_batch: Callable[[int, int], None] | None = None,
        processes: Processes | None = None,
    ) -> Likelihood:
        """Log-densities of rows in the units, columns and types of the training data, nats per row.

        ``log p(row) = log p_model(forward(row)) + log |det d forward / d row|``. Integers stand for the unit interval
        around them (uniform dequantisation): the density is a mean over ``draws`` points in it, and its logarithm a
        lower bound, in expectation, on that of their probability. ``method`` "auto" is exact up to 128 dimensions and
        Hutchinson's above. ``y`` is the class of the rows, by label, and the density then ``p(row | y)``. What a row
        holds in a column that was constant in training is not looked at. Without ``steps`` they are adaptive, to
        ``tol`` nats (0.01). ``processes`` share the rows out, and all get
        all answers. See `log_likelihood`.
        """
        import torch

        from pushforward.likelihood import Likelihood, log_likelihood
        from pushforward.tensor import per_sample
        from pushforward.training import SINGLE

        x = self.transform.forward(rows, where)
        spread, condition = not self.transform.continuous, self._told(y, len(x))
        if method == "auto":
            method = "exact" if x[0].numel() <= 128 else "hutchinson"
        if draws < 1:
            raise InputError(f"draws {draws}: at least 1")
        tol = NATS if steps is None and tol is None else tol
        show = None if on_batch is None else lambda share, words: on_batch(round(share * len(x)), len(x))
        parts: list[Likelihood] = []
        dets: list[Tensor] = []
        for k in range(draws if spread else 1):
            point = x
            if spread:
                noise = per_sample(lambda n, g: torch.rand(n, *x.shape[1:], generator=g), 0, len(x), seed, "jitter", k)
                point = self.transform.dequantize(x, noise)
            dets.append(self.transform.log_dets(point))
            with torch.no_grad():
                point = point.to(self.device)
                how = functools.partial(
                    log_likelihood, self.field, method=method, steps=steps, tol=tol, seed=seed, progress=show
                )
                parts.append(_shared(processes or SINGLE, how, point, condition))
        # the mean density; its error, of independent directions, by the shares of the draws
        logs = torch.stack([p.log_prob.double() + d.to(p.log_prob.device) for p, d in zip(parts, dets, strict=True)])
        share, errors = logs.softmax(0), torch.stack([p.std_error.double() for p in parts])
        log_prob = logs.logsumexp(0) - math.log(len(parts))
        step_error = torch.stack([p.step_error for p in parts]).amax(0)
        error = (share * errors).square().sum(0).sqrt()
        return Likelihood(log_prob, error, step_error, parts[0].x0, sum(p.nfe for p in parts))

    def log_prob(
        self, rows: Rows, *, y: ClassSpec = None, steps: int | None = None, tol: float | None = None
    ) -> Float[Tensor, "n"]:
        """``log p(row)`` in nats, ``[n]``, in the user's own units: `log_likelihood` without its errors."""
        return self.log_likelihood(rows, y=y, steps=steps, tol=tol).log_prob

    def encode(self, rows: Rows, *, y: ClassSpec = None, where: str = "the rows") -> Float[Tensor, "n *d"]:
        """The source draws whose flow ends at these rows: `likelihood.encode` from the user's units."""
        import torch

        from pushforward.likelihood import encode

        x = self.transform.forward(rows, where)
        with torch.no_grad():
            return encode(self.field, x.to(self.device), y=self._told(y, len(x))).cpu()

    def decode(self, x0: Float[Tensor, "n *d"], *, y: ClassSpec = None) -> Rows:
        """The rows to which source draws are carried, in the user's units: the inverse of `encode`."""
        import torch

        from pushforward.likelihood import decode

        with torch.no_grad():
            return self.transform.inverse(decode(self.field, x0.to(self.device), y=self._told(y, len(x0))).cpu())

    def _told(self, y: ClassSpec, n: int) -> Tensor | None:
        """Classes for a density; InputError where the law without a class was not learned and none is given."""
        if y is None and self.run.config.condition.condition == "labels" and not self.run.config.condition.drop:
            raise InputError("this model was trained with --drop 0 and knows the law of each class only: give y")
        numbers = class_numbers(self.run, y, n)
        return None if numbers is None else numbers.to(self.device)

    def __repr__(self) -> str:
        data = self.run.data
        size = f"{self.run.parameters:,} parameters"
        return f"Model({data.name!r}, rows of shape {data.shape}, {size}, {self.field.path})"


def load(folder: str | Path, device: str = "cpu", *, ema: float | None = None, revision: str | None = None) -> Model:
    """The model in a run folder. Reads JSON and safetensors only; InputError if the run is missing or damaged.

    Text like ``org/name`` that is no folder here is a model on the Hugging Face Hub, fetched into the Hub's own cache
    (extra ``hub``); ``revision`` is a branch, tag or commit of it.

    ``ema`` asks for the average of the weights of another length than that of the training, as a share of its steps:
    0.05 remembers the last tenth or so, 0.2 most of them (Karras et al. 2024).

    ``pf.load("runs/demo").sample(8, seed=0)``
    """
    from pushforward.data import Transform
    from pushforward.files import at_most, load_weights
    from pushforward.training.average import reaverage

    if on_hub(folder):
        folder = fetch(str(folder), revision)
    elif revision is not None:
        raise InputError(f"revision {revision!r}: of models on the Hugging Face Hub, and {folder} is a folder")
    folder = Path(folder)
    run, weights = read(folder), folder / "model.safetensors"
    try:
        transform = Transform.from_json(run.data.transform)
        if transform.shape != run.data.shape:
            raise InputError(f"data.shape {run.data.shape} is not the transform's {transform.shape}")
        with at_most(weights.stat().st_size if weights.is_file() else 0):
            parts = build(run.config, run.data.shape, len(run.data.classes), transform.marginals)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from error
    if not weights.is_file():
        raise InputError(f"{folder}: no weights yet (model.safetensors); go on training with: pushforward train")
    load_weights(parts.net, weights)
    if ema is not None:
        reaverage(parts.net, folder / "averages", run.config.train.ema, ema)
    net = parts.net.to(device).requires_grad_(False)
    return Model(parts.field_of(net), transform, run, folder, device, read_tuned(folder))
