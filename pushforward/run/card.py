"""The model card of a shared run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pushforward.errors import printable

if TYPE_CHECKING:
    from pushforward.run.model import Model

__all__ = ["card"]

SHOWN = 40  # columns and classes named in a card


def card(model: Model, name: str, license: str, pictured: bool = False) -> str:
    """Write the model card: a YAML head for the Hub, then what the model is, knows of its data, and does not promise.

    ``name`` is that under which it is shared; ``pictured`` says whether a picture of samples is beside the card.
    """
    sections = [
        _head(model, license),
        _title(model, name, pictured),
        _use(model, name),
        _data(model),
        _model(model),
        _training(model),
        _limits(license),
    ]
    return "\n".join(line for section in sections for line in section)


def _head(model: Model, license: str) -> list[str]:
    """What the Hub reads: license, library, tags, and the task where it has a name for it."""
    kinds = {"array": "arrays", "image": "images", "sequence": "time-series", "volume": "volumes"}
    kind = kinds.get(model.transform.kind, "tabular")
    tags = ["flow-matching", "diffusion", "generative-model", kind]
    lines = ["---", f"license: {license}", "library_name: pushforward", "tags:", *(f"- {tag}" for tag in tags)]
    unconditional = model.run.config.condition.condition != "labels"
    if model.transform.kind == "image" and unconditional and len(model.run.data.shape) == 3:
        lines.append("pipeline_tag: unconditional-image-generation")
    return [*lines, "---"]


def _title(model: Model, name: str, pictured: bool) -> list[str]:
    """What the model makes, and a picture of it."""
    rows = {
        "array": "rows of numbers",
        "image": "pictures",
        "sequence": "sequences",
        "volume": "volumes",
        "table": "rows of a table",
    }[model.transform.kind]
    given = {
        "labels": " The class of each sample can be asked for (`y`).",
        "columns": " What is known of some columns can be given (`where`), and the rest follows.",
    }.get(model.run.config.condition.condition, "")
    return [
        f"# {markdown_text(name.rpartition('/')[2] or name)}",
        "",
        f"A flow-matching or diffusion model that makes new {rows} like those of the data set "
        f"{markdown_text(model.run.data.name)}, trained with the PyTorch package pushforward.{given}",
        "",
        *(["![samples of the model](previews/samples.png)", ""] if pictured else []),
    ]


def _use(model: Model, name: str) -> list[str]:
    """The lines of Python that sample it."""
    labelled = model.run.config.condition.condition == "labels"
    options = f", y={model.run.data.classes[0]!r}" if labelled else ""
    return [
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
    ]


def _data(model: Model) -> list[str]:
    """Rows, classes and columns, and what of the data is in the files."""
    data, config = model.run.data, model.run.config
    lines = [
        f"- {data.rows:,} rows, of shape {data.shape} in the model, {100 * config.train.held_out:g}% of them held out"
    ]
    if data.classes:
        classes = ", ".join(markdown_text(name) for name in data.classes[:SHOWN])
        lines.append(f"- classes: {classes}" + ", ..." * (len(data.classes) > SHOWN))
    if model.transform.kind == "table":
        columns = [(markdown_text(name), kind) for name, kind, _ in model.transform.describe()]
        lines += [f"- column `{name}`: {kind}" for name, kind in columns[:SHOWN]]
        if len(columns) > SHOWN:
            lines.append(f"- ... and {len(columns) - SHOWN} more columns")
    return [
        "## Data",
        "",
        *lines,
        "",
        "No training rows are in these files. `config.json` does hold what turns samples into the units of the data:",
        "names and types of columns, their ranges (smallest and largest value), means, how frequent numbers are, all",
        "categories and classes with their shares, and a fingerprint of the data.",
        "",
    ]


def _model(model: Model) -> list[str]:
    """The network, the path and the tuned samplers."""
    net = model.run.config.net
    return [
        "## Model",
        "",
        f"- network: {net.net}, width {net.width}, depth {net.depth}; {model.run.parameters:,} parameters",
        f"- path: {markdown_text(str(model.field.path), 300)}, predicts {model.run.config.objective.predicts}",
        f"- convention: {markdown_text(model.run.convention, 300)}",
        *(
            f"- part of the author's own, needed to load it: {markdown_text(name)}, {markdown_text(place, 300)}"
            for name, place in model.run.parts.items()
        ),
        *(f"- tuned sampler: {markdown_text(t.stepper)}, {t.nfe} evaluations" for t in model.tuned),
        "",
    ]


def _training(model: Model) -> list[str]:
    """How it was trained, and its losses at the end."""
    config, train = model.run.config, model.run.config.train
    reports = [line for line in model.history() if "loss" in line]
    last = reports[-1:]
    return [
        "## Training",
        "",
        f"- objective {config.objective.objective}, coupling {markdown_text(config.path.coupling)}, times "
        f"{markdown_text(config.objective.times)}",
        f"- batch {train.batch}, learning rate {train.lr}, seed {train.seed}, {train.precision}",
        "- weights: power-function average over training",
        *(f"- {r['step']:,} steps; loss {r['loss']:.4f}, on held-out rows {r['held_out']:.4f}" for r in last),
        f"- pushforward {markdown_text(model.run.pushforward)}, torch {markdown_text(model.run.torch)}",
        "",
    ]


def _limits(license: str) -> list[str]:
    """What the card does not promise."""
    return [
        "## Limits",
        "",
        "- This card was written by a program, from the files of the run; nobody has judged the model for any purpose.",
        "- It holds no measure of quality: `pushforward evaluate` compares samples with the data, if you have them.",
        "- Samples follow the data, with their errors and biases, and may come close to training rows; whether any is",
        "  a copy, and whether what was learned from private data may be shared, is for the author to check.",
        *(["- A licence has not been chosen: ask the author before you use it."] if license == "unknown" else []),
        "",
    ]


def markdown_text(text: str, most: int = 80) -> str:
    """Escape a text of a run for a card: on one line, printable, and not read as Markdown or HTML."""
    line = printable(" ".join(text.split())[:most])
    return re.sub(r"[\\`*_\[\]<>|#!&]", lambda mark: f"&#{ord(mark[0])};", line)
