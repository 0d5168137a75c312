"""The trained model in a run folder: new rows in the user's own units, and pictures of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.config import build, make
from pushforward.errors import InputError
from pushforward.run.record import RunFile, TunedSampler, read, read_tuned

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from torch import Tensor

    from pushforward.data import Transform
    from pushforward.data.arrays import Rows
    from pushforward.field import Field
    from pushforward.likelihood import Divergence, Likelihood
    from pushforward.sample import Stepper
    from pushforward.train import Processes

__all__ = ["Model", "load", "picture", "preview"]


def _shared(processes: Processes, how: Callable[..., Likelihood], x: Tensor) -> Likelihood:
    """The log-likelihood of points of which each process takes some."""
    import torch

    from pushforward.likelihood import Likelihood

    if processes.count == 1:
        return how(x)
    nfe = []

    def part(start: int, count: int) -> Tensor:
        found = how(x[start : start + count], first=start)
        nfe.append(found.nfe)
        numbers = torch.stack([found.log_prob, found.std_error, found.step_error], 1)
        return torch.cat([numbers.double(), found.x0.flatten(1).double()], 1)

    columns = processes.rows(len(x), part)
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

        Row i depends on (seed, first + i) alone. Where nothing but ``steps`` is said, what was tuned for as many
        evaluations is used, or the latest that was tuned; else the defaults of `integrate`. ``processes`` share the
        work out, and all get all rows.
        """
        from pushforward.sample import STEPPERS, generate
        from pushforward.train import ALONE

        if stepper is None and grid is None and tol is None:
            fitting = [t for t in self.tuned if steps in (None, t.nfe)]
            if fitting:
                stepper, grid, steps = make(STEPPERS, fitting[-1].stepper, "stepper"), fitting[-1].times(), None

        def part(start: int, count: int) -> Tensor:
            return generate(
                self.field,
                count,
                self.transform.shape,
                stepper,
                steps,
                seed,
                grid=grid,
                tol=tol,
                first=first + start,
                device=self.device,
                on_batch=on_batch,
            )

        return self.transform.inverse((processes or ALONE).rows(n, part))

    def log_likelihood(
        self,
        rows: Rows,
        method: str | Divergence = "auto",
        *,
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
        Hutchinson's above. What a row holds in a column that was constant in training is not looked at. ``processes``
        share the rows out, and all get all answers. See `log_likelihood`.
        """
        import torch

        from pushforward.likelihood import Likelihood, log_likelihood
        from pushforward.tensor import per_sample
        from pushforward.train import ALONE

        x = self.transform.forward(rows, where)
        jitter = self.transform.jitter()
        if method == "auto":
            method = "exact" if x[0].numel() <= 128 else "hutchinson"
        if draws < 1:
            raise InputError(f"draws {draws}: at least 1")
        parts: list[Likelihood] = []
        for k in range(draws if jitter is not None else 1):
            point = x
            if jitter is not None:
                noise = per_sample(lambda n, g: torch.rand(n, *x.shape[1:], generator=g), 0, len(x), seed, "jitter", k)
                point = x + (noise - 0.5) * jitter
            with torch.no_grad():
                point = point.to(self.device)
                how = functools.partial(
                    log_likelihood, self.field, method=method, steps=steps, tol=tol, seed=seed, on_batch=on_batch
                )
                parts.append(_shared(processes or ALONE, how, point))
        # the mean density; its error, of independent directions, by the shares of the draws
        logs = torch.stack([p.log_prob.double() for p in parts])
        share, errors = logs.softmax(0), torch.stack([p.std_error.double() for p in parts])
        log_prob = logs.logsumexp(0) - math.log(len(parts)) + self.transform.log_dets(x).to(logs)
        step_error = torch.stack([p.step_error for p in parts]).amax(0)
        error = (share * errors).square().sum(0).sqrt()
        return Likelihood(log_prob, error, step_error, parts[0].x0, sum(p.nfe for p in parts))

    def log_prob(self, rows: Rows, *, steps: int | None = None, tol: float | None = None) -> Float[Tensor, "n"]:
        """``log p(row)`` in nats, ``[n]``, in the user's own units: `log_likelihood` without its errors."""
        return self.log_likelihood(rows, steps=steps, tol=tol).log_prob

    def encode(self, rows: Rows, *, where: str = "the rows") -> Float[Tensor, "n *d"]:
        """The source draws whose flow ends at these rows: `likelihood.encode` from the user's units."""
        import torch

        from pushforward.likelihood import encode

        with torch.no_grad():
            return encode(self.field, self.transform.forward(rows, where).to(self.device)).cpu()

    def decode(self, x0: Float[Tensor, "n *d"]) -> Rows:
        """The rows to which source draws are carried, in the user's units: the inverse of `encode`."""
        import torch

        from pushforward.likelihood import decode

        with torch.no_grad():
            return self.transform.inverse(decode(self.field, x0.to(self.device)).cpu())

    def __repr__(self) -> str:
        data = self.run.data
        size = f"{self.run.parameters:,} parameters"
        return f"Model({data.name!r}, rows of shape {data.shape}, {size}, {self.field.path})"


def load(folder: str | Path, device: str = "cpu", *, ema: float | None = None) -> Model:
    """The model in a run folder. Reads JSON and safetensors only; InputError if the run is missing or damaged.

    ``ema`` asks for the average of the weights of another length than that of the training, as a share of its steps:
    0.05 remembers the last tenth or so, 0.2 most of them (Karras et al. 2024).

    ``pf.load("runs/demo").sample(8, seed=0)``
    """
    from pushforward.data import Transform
    from pushforward.train.average import reaverage
    from pushforward.train.files import at_most, load_weights

    folder = Path(folder)
    run, weights = read(folder), folder / "model.safetensors"
    try:
        transform = Transform.from_json(run.data.transform)
        if transform.shape != run.data.shape:
            raise InputError(f"data.shape {run.data.shape} is not the transform's {transform.shape}")
        with at_most(weights.stat().st_size if weights.is_file() else 0):
            parts = build(run.config, run.data.shape)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}") from error
    if not weights.is_file():
        raise InputError(f"{folder}: no weights yet (model.safetensors); go on training with: pushforward train")
    load_weights(parts.net, weights)
    if ema is not None:
        reaverage(parts.net, folder / "averages", run.config.train.ema, ema)
    net = parts.net.to(device).requires_grad_(False)
    return Model(parts.field_of(net), transform, run, folder, device, read_tuned(folder))


def preview(model: Model, path: Path) -> None:
    """A look at a model in training: few samples, coarse steps."""
    picture(model.sample(64, steps=20), model.transform, path)


def picture(rows: Rows, transform: Transform, path: Path) -> None:
    """Samples as a picture: a grid of images, a scatter of two columns, or a histogram per column."""
    import numpy as np
    import torch

    import pushforward.plot as plot
    from pushforward.data import drawn

    names = None if isinstance(rows, np.ndarray) else list(rows.column_names)
    values = rows if isinstance(rows, np.ndarray) else drawn(rows)
    x = torch.as_tensor(np.asarray(values, dtype=np.float64))
    figure: Figure
    if transform.kind == "image":
        figure = (
            plot.images(transform.forward(rows)) if x.ndim in (3, 4) else plot.columns({"samples": x.flatten(1)}, None)
        )
    elif x.ndim == 2 and x.shape[1] == 2:
        figure = plot.scatter({"samples": x})
    else:
        figure = plot.columns({"samples": x.reshape(len(x), -1)}, names)
    plot.save(figure, path)
