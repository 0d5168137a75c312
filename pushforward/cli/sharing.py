"""``pushforward push`` and ``pushforward export``: a trained model for others, with this package and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pushforward.cli.flags import GRID_NAMES, MethodFlags
from pushforward.cli.terminal import progress_bar, say

__all__ = ["export", "push"]


def push(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    to: Annotated[Positional[str], arg(metavar="ORG/NAME", help="on the Hugging Face Hub; or ./folder")],
    private: Annotated[FlagCreatePairsOff[bool], arg(help="make a repository that only you can see")] = False,
    revision: Annotated[str | None, arg(metavar="BRANCH", help="a branch of the repository (main)")] = None,
    license: Annotated[str, arg(metavar="NAME", help="as the Hub writes it: mit, apache-2.0, ...")] = "unknown",
    to_folder: Annotated[FlagCreatePairsOff[bool], arg(help="ORG/NAME is a folder, to be made if need be")] = False,
) -> None:
    """Share a model: pushforward push runs/flights org/flights; then pf.load("org/flights")"""
    from pushforward import run as runs

    address = runs.push(run, to, private=private, revision=revision, license=license, to_folder=to_folder)
    say(f"{run} shared: {address}")
    say("of the data it holds names, types, ranges, categories and classes, no rows; see README.md there")


def export(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a trained run")],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="to write, ending in .pt2")],
    steps: Annotated[int | None, arg(metavar="INT", help="steps of the method (tuned, or 20)")] = None,
    stepper: Annotated[str | None, arg(metavar="NAME", help="method, as for sample: adams_moulton, heun, ...")] = None,
    grid: Annotated[str | None, arg(metavar="NAME", help=f"where they lie: {', '.join(GRID_NAMES)} (shifted)")] = None,
    guidance: Annotated[float | None, arg(metavar="FLOAT", help="its scale, fixed in the file")] = None,
    batch: Annotated[int | None, arg(aliases=["-n"], metavar="INT", help="batches of this size only (any)")] = None,
    only_net: Annotated[FlagCreatePairsOff[bool], arg(help="the network alone, without the sampler")] = False,
) -> None:
    """One file that runs where there is torch alone: pushforward export runs/flights -o flights.pt2"""
    method = MethodFlags(stepper, steps, grid)
    method.check()
    from pushforward import run as runs
    from pushforward.run.export import EXPORT_STEPS

    with progress_bar("export") as show:
        model = runs.load(run)
        method = replace(method, steps=EXPORT_STEPS if steps is None else steps)
        chosen, times = method.build(model)
        show(0.1, "graph")
        about = model.export(
            out,
            steps=steps if times is None else None,
            stepper=chosen,
            grid=times,
            guidance=guidance,
            batch=batch,
            only_net=only_net,
        )
        show(1.0, f"{out.stat().st_size:,} bytes")
    inputs = ", ".join(about["inputs"])
    sampler = "" if only_net else f" ({about['stepper']}, {len(about['grid']) - 1} steps)"
    say(f'{out}: torch.export.load("{out.name}").module()({inputs}), in {about["output"]}{sampler}')
