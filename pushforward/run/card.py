"""The model card of a shared run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pushforward.run.folder import history
from pushforward.run.model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["card"]

SHOWN = 40  # columns and classes named in a card


def card(model: Model, name: str, license: str, shown: bool = False) -> str:
    """The model card: a YAML head for the Hub, then what the model is, knows of its data, and does not promise."""
    run, config, kind = model.run, model.run.config, model.transform.kind
    data, net, train, told = run.data, config.net, config.train, config.condition.condition
    tags = [
        "flow-matching",
        "diffusion",
        "generative-model",
        {"array": "arrays", "image": "images"}.get(kind, "tabular"),
    ]
    head = [f"license: {license}", "library_name: pushforward", "tags:", *(f"- {tag}" for tag in tags)]
    if kind == "image" and told != "labels" and len(data.shape) == 3:
        head.append("pipeline_tag: unconditional-image-generation")
    what = {"array": "rows of numbers", "image": "pictures", "table": "rows of a table"}[kind]
    lines = [line for line in history(model.folder) if "loss" in line]
    last = lines[-1] if lines else None
    options = f", y={data.classes[0]!r}" if told == "labels" else ""
    given = {
        "labels": " The class of each sample can be asked for (`y`).",
        "columns": " What is known of some columns can be given (`where`), and the rest follows.",
    }.get(told, "")
    classes = ", ".join(markdown_text(c) for c in data.classes[:SHOWN]) + ", ..." * (len(data.classes) > SHOWN)
    columns = [(markdown_text(name), kind) for name, kind, _ in model.transform.describe()]
    parts: Sequence[str | None] = [
        "---",
        *head,
        "---",
        f"# {markdown_text(name.rpartition('/')[2] or name)}",
        "",
        f"A flow-matching or diffusion model that makes new {what} like those of the data set "
        f"{markdown_text(data.name)}, trained with the PyTorch package pushforward.{given}",
        "",
        *(["![samples of the model](previews/samples.png)", ""] if shown else []),
        "## Use",
        "",
        "```python",
        "import pushforward as pf",
        "",
        f"model = pf.load({name!r})",
        f"rows = model.sample(100, seed=0{options})  # in the units of the data",
        "```",
        "",
        "The files are JSON and safetensors: nothing is executed when they are loaded.",
        "",
        "## Data",
        "",
        f"- {data.rows:,} rows, of shape {data.shape} in the model, {100 * train.held_out:g}% of them held out",
        f"- classes: {classes}" if data.classes else None,
        *([f"- column `{name}`: {type}" for name, type in columns[:SHOWN]] if kind == "table" else []),
        f"- ... and {len(columns) - SHOWN} more columns" if kind == "table" and len(columns) > SHOWN else None,
        "",
        "No training rows are in these files. `config.json` does hold what turns samples into the units of the data:",
        "names and types of columns, their ranges (smallest and largest value), means, how frequent numbers are, all",
        "categories and classes with their shares, and a fingerprint of the data.",
        "",
        "## Model",
        "",
        f"- network: {net.net}, width {net.width}, depth {net.depth}; {run.parameters:,} parameters",
        f"- path: {model.field.path}, predicts {config.objective.predicts}",
        f"- convention: {run.convention}",
        *(f"- tuned sampler: {t.stepper}, {t.nfe} evaluations" for t in model.tuned),
        "",
        "## Training",
        "",
        f"- objective {config.objective.objective}, coupling {config.path.coupling}, times {config.objective.times}",
        f"- batch {train.batch}, learning rate {train.lr}, seed {train.seed}, {train.precision}",
        "- weights: power-function average over training",
        f"- {last['step']:,} steps; loss {last['loss']:.4f}, on held-out rows {last['held_out']:.4f}" if last else None,
        f"- pushforward {run.pushforward}, torch {run.torch}",
        "",
        "## Limits",
        "",
        "- This card was written by a program, from the files of the run; nobody has judged the model for any purpose.",
        "- It holds no measure of quality: `pushforward evaluate` compares samples with the data, if you have them.",
        "- Samples follow the data, with their errors and biases, and may come close to training rows; whether any is",
        "  a copy, and whether what was learned from private data may be shared, is for the author to check.",
        "- A licence has not been chosen: ask the author before you use it." if license == "unknown" else None,
        "",
    ]
    return "\n".join(part for part in parts if part is not None)


def markdown_text(text: str) -> str:
    """A name from the data as text of a card: on one line, and not read as Markdown or HTML."""
    return re.sub(r"[\\`*_\[\]<>|#!&]", lambda mark: f"&#{ord(mark[0])};", " ".join(text.split())[:80])
