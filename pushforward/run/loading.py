"""Models by the folder that they are in: `load`, and what is done with one, `tune`, `push` and `export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.config import OwnParts, components, current_parts, describe_places, make, network
from pushforward.errors import InputError, printable
from pushforward.progress import Watch
from pushforward.run.fetch import fetch, on_hub
from pushforward.run.folder import read, read_tuned
from pushforward.run.model import Model
from pushforward.run.request import single_process

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pushforward.data import DataSource
    from pushforward.distributed import Processes
    from pushforward.run.folder import RunFile, TunedSampler
    from pushforward.sample import Stepper, Tuned

__all__ = ["export", "load", "push", "tune"]

WIDEST = 2**26  # bytes of such a matrix, at most


def load(
    folder: str | Path,
    device: str | torch.device = "cpu",
    *,
    ema: float | None = None,
    revision: str | None = None,
    processes: Processes | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Model:
    """Load the model in a run folder, from JSON and safetensors only; InputError if it is missing or damaged.

    Text like ``org/name`` that is no folder here is a model on the Hugging Face Hub, fetched into the Hub's own cache
    (extra ``hub``); ``revision`` is a branch, tag or commit of it.

    ``ema`` asks for the average of the weights of another length than that of the training, as a share of its steps:
    0.05 remembers the last tenth or so, 0.2 most of them (Karras et al. 2024). ``processes`` (`process_group`) share
    out what the model computes, and all get all of it. ``parts`` are the parts that the run was given in training,
    ``{"net": net, "path": path}``: what they are is stated in ``config.json``, and nothing is imported on its word.

    ``pf.load("runs/demo").sample(8, seed=0)``
    """
    from pushforward.data import Transform
    from pushforward.files.tensorfile import at_most, load_weights
    from pushforward.training.average import reaverage

    # a folder on this machine
    if on_hub(folder):
        folder = fetch(str(folder), revision)
    elif revision is not None:
        raise InputError(f"revision {revision!r}: of models on the Hugging Face Hub, and {folder} is a folder")
    folder = Path(folder)
    # the configuration and the data decide on every layer; no more memory than the weights are long
    run, weights = read(folder), folder / "model.safetensors"
    try:
        transform = Transform.from_json(run.data.transform)
        if transform.shape != run.data.shape:
            raise InputError(f"data.shape {run.data.shape} is not the transform's {transform.shape}")
        spec = run.data.spec(transform)
        # wide rows have matrices of their columns, which are not among the weights
        wide = min(4 * transform.shape[0] ** 2, WIDEST) if transform.kind == "table" else 0
        with at_most((weights.stat().st_size if weights.is_file() else 0) + wide):
            own = (current_parts() if parts is None else OwnParts.of(parts)).fitting(run.config)
            built, net = components(run.config, spec, own), network(run.config, spec, own)
    except InputError as error:
        raise InputError(f"{folder / 'config.json'}: {error}{_own_parts(run)}") from error
    # weights, as saved or averaged over another window
    if not weights.is_file():
        raise InputError(f"{folder}: no weights yet (model.safetensors); go on training with: pushforward train")
    load_weights(net, weights, run.checksum)
    if ema is not None:
        reaverage(net, folder / "averages", run.config.train.ema, ema, run.checksum)
    field = built.field_of(net.to(device).requires_grad_(False))
    tuned = read_tuned(folder)
    _check_steppers(tuned, folder)
    return Model(field, transform, run, folder, str(device), tuned, processes or single_process(), own)


def _own_parts(run: RunFile) -> str:
    """What to do about parts that are not the package's, after the error that they lead to."""
    if not run.parts:
        return ""
    return (
        f" (trained with parts of its author's own: {printable(describe_places(run.parts))[:400]}; those with a name "
        "are registered by --plugin FILE, or before pf.load)"
    )


def _check_steppers(tuned: tuple[TunedSampler, ...], folder: Path) -> None:
    """InputError for a tuned sampler whose stepper `tune` does not choose: with steps of its own, or with too many."""
    from pushforward.sample import STEPPERS

    for sampler in tuned:
        try:
            stepper = make(STEPPERS, sampler.stepper, "stepper")
            if stepper.adaptive:
                raise InputError(f"stepper {sampler.stepper!r} chooses its steps itself")
            if stepper.evaluations * (len(sampler.grid) - 1) > 2 * sampler.nfe:
                raise InputError(f"stepper {sampler.stepper!r} takes more than {sampler.nfe} evaluations")
        except (InputError, TypeError, OverflowError) as error:
            raise InputError(
                f"{folder / 'sampler.json'}: damaged ({error}); delete it, or make it again with: pushforward tune "
                f"{folder}"
            ) from error


def tune(
    run: Model | str | Path,
    nfe: int,
    *,
    against: DataSource | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Watch = None,
) -> Tuned:
    """Find the best sampler of a run for ``nfe`` evaluations a sample, and keep it in its folder; see `tune_model`.

    ``device`` is for a run that is given by its folder.
    """
    return _loaded(run, device).tune(nfe, against=against, seed=seed, progress=progress)


def push(
    run: Model | str | Path,
    to: str | Path,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str = "unknown",
    to_folder: bool = False,
) -> str:
    """Share a trained run on the Hub as ``org/name``, or as a folder with the same files; where it is now.

    ``to`` is a folder if it exists as one, begins with ``.``, ``/`` or ``~``, is a `Path`, or with ``to_folder``. A
    repository is made if there is none, ``private`` or not; ``revision`` is a branch of it. Averaged weights, the
    configuration without the path of the data, tuned samplers, the last preview and a model card go up; checkpoints,
    history and rows do not. InputError for a run that does not load, and where the destination holds other files.
    """
    from pushforward.run.hub import Destination, share

    destination = Destination(to, private, revision, to_folder)  # refused before anything is loaded
    return share(_loaded(run), destination, license)


def export(
    run: Model | str | Path,
    file: str | Path,
    *,
    steps: int | None = None,
    stepper: Stepper | None = None,
    grid: Tensor | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    only_net: bool = False,
) -> dict[str, Any]:
    """Write a run, a model or its folder, to one ``.pt2`` file that runs where there is torch; see `export_model`.

    ``torch.export.load(file).module()(x0)`` are samples, ``(x0, y)`` where classes were learned. Returns what the file
    says of itself.
    """
    return _loaded(run).export(
        file, steps=steps, stepper=stepper, grid=grid, guidance=guidance, batch=batch, only_net=only_net
    )


def _loaded(run: Model | str | Path, device: str | torch.device = "cpu") -> Model:
    return run if isinstance(run, Model) else load(run, device)
