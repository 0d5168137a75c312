"""The sections of a report's page: text, tables, and pictures inside the page."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from pushforward.evaluation.result import Evaluation, Score
from pushforward.metrics import Measured
from pushforward.report import figures
from pushforward.report.figures import embed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.figure import Figure

    from pushforward.data import Transform
    from pushforward.evaluation.result import Estimate

__all__ = ["between", "details", "figure", "number", "plain", "section", "table", "told", "words"]

ROWS = 5  # samples of a table shown as rows
WIDE = 12  # columns of such a table
DIGITS = {*"0123456789", ""}


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: three digits, or a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1e4 else f"{value:,.0f}"


def between(value: float, error: float) -> str:
    """``0.123 ± 0.004``, both to the digits that the error leaves."""
    if not (math.isfinite(value) and math.isfinite(error)) or error <= 0:
        return number(value)
    places = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{value:.{places}f} ± {error:.{places}f}"


def plain(measured: Measured) -> tuple[str, str]:
    """The value and the floor of a metric, with their intervals."""
    return between(measured.value, measured.error), between(measured.floor, measured.floor_error)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is wider than the page; cells are text, numbers stand to the right."""
    rows = list(rows)

    def line(cells: Sequence[str], tag: str) -> str:
        parts = [
            f"<{tag}{' class=n' if right else ''}{' scope=col' if tag == 'th' else ''}>{escape(cell)}</{tag}>"
            for cell, right in zip(cells, numeric, strict=True)
        ]
        return f"<tr>{''.join(parts)}</tr>"

    numeric = [all(not c or c.lstrip("-–")[:1] in DIGITS for c in column) for column in zip(*rows, strict=True)]
    numeric = numeric or [False] * len(head)
    body = "".join(line(row, "td") for row in rows)
    return f"<div class=scroll><table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table></div>"


def figure(drawn: Figure, words: str, small: bool = False) -> str:
    """A picture with its caption."""
    kind = " class=small" if small else ""
    caption = escape(words)
    return f'<figure{kind}><img alt="{caption}" src="{embed(drawn)}"><figcaption>{caption}</figcaption></figure>'


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; nothing where there is nothing."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def words(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>" if text else ""


def verdict(score: Score) -> str:
    """What value and floor say together, marked good or bad."""
    return f"<span class={'good' if score.at_floor else 'bad'}>{escape(score.verdict)}</span>"


def quality(one: Evaluation) -> str:
    """Each metric in a row that folds on a phone: name, value, floor, verdict, reading."""
    rows = []
    for score in one.scores:
        value, floor = plain(score.measured)
        rows.append(
            f"<tr><th scope=row>{escape(score.title)}</th><td class=n>{value}</td>"
            f"<td class=n>{floor}</td><td>{verdict(score)}</td><td class=reading>{escape(score.reading)}</td></tr>"
        )
    head = "<tr><th scope=col>measure</th><th scope=col class=n>samples</th><th scope=col class=n>floor</th>"
    head += "<th scope=col>together</th><th scope=col class=reading>how to read it</th></tr>"
    told = next((s.measured for s in one.scores if s.name == "two_sample"), None)
    test = (
        ""
        if told is None
        else (
            f"The classifier is right on {told.value:.1%} of rows it has not seen; chance alone is as good with "
            f"probability {one.p_value:.2g}."
        )
    )
    return f"<table class=quality><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{words(test)}"


def memory(one: Evaluation) -> list[str]:
    """Whether samples are copies: figures, and the closest pairs as pictures or rows."""
    found = one.copies
    if found is None:
        return [words("Which rows the run was trained on is not known here, so copies cannot be looked for.")]
    said = (
        f"{found.suspects:,} of {found.samples:,} samples are suspected of being copies of one of {found.train:,} "
        f"training rows. A sample is closer to the training rows than a held-out row with probability "
        f"{found.closer:.3f} (0.5 is fair, 1 all copied); its median distance is {found.ratio:.3g} of theirs."
    )
    parts = [words(said), figure(figures.distances(one), "How far the nearest training row is", small=True)]
    pictures = figures.pairs(one)
    if pictures is not None:
        parts.append(figure(pictures, "The samples closest to a training picture, and below each that picture"))
    elif len(one.shown.closest) and one.shown.transform.kind != "image":
        head, rows = cells(one.shown.transform, one.shown.closest), cells(one.shown.transform, one.shown.originals)
        lines = []
        for (i, j, distance), ours, theirs in zip(found.closest, head[1], rows[1], strict=True):
            lines += [[f"sample {i}", number(distance), *ours], [f"training row {j}", "", *theirs]]
        parts.append(words("The samples closest to a training row, and below each that row:"))
        parts.append(table(["", "distance", *head[0]], lines[: 2 * ROWS]))
    return parts


def cells(transform: Transform, x: object) -> tuple[list[str], list[list[str]]]:
    """Names and cells of model rows in the user's units, the first columns of many."""
    import numpy as np

    rows = transform.inverse(x)  # type: ignore[arg-type]
    if isinstance(rows, np.ndarray):
        flat = rows.reshape(len(rows), -1)[:, :WIDE]
        return [f"x{i}" for i in range(flat.shape[1])], [[number(float(v), 4) for v in row] for row in flat]
    names = rows.column_names[:WIDE]
    columns = [rows.column(name).to_pylist() for name in names]

    def text(value: object) -> str:
        return "missing" if value is None else number(value, 6) if isinstance(value, float) else str(value)[:24]

    return names, [[text(value) for value in row] for row in zip(*columns, strict=True)]


def fidelity(one: Evaluation) -> list[str]:
    """What is asked of tables."""
    found = one.table
    if found is None:
        return []
    ranked = sorted(found.columns, key=lambda c: c.floor - c.distance)
    parts = [
        words("Each column by itself: 0 is the same law, 1 nothing in common. A missing number counts as the median."),
        table(
            ["column", "kind", "samples", "floor"],
            [(c.name, "category" if c.category else "number", number(c.distance), number(c.floor)) for c in ranked],
        ),
    ]
    if found.pairs:
        parts.append(words("The pairs of columns that are related most differently in samples and data, from 0 to 1:"))
        parts.append(table(["column", "column", "difference"], [(a, b, number(d)) for a, b, d in found.pairs]))
    if found.utility:
        parts.append(
            words(
                "Train on samples, test on held-out rows: how well trees predict a column from all others (accuracy of "
                "a category, R² of a number). Samples that can stand for data score as training rows do."
            )
        )
        rows = [
            (name, "accuracy" if category else "R²", number(u.synthetic), number(u.real))
            for name, category, u in found.utility
        ]
        parts.append(table(["column predicted", "score", "from samples", "from data"], rows))
    if (c := found.closest) is not None:
        parts.append(words("Distance to the closest training row, in standard deviations:"))
        parts.append(
            table(
                ["rows", "median", "5 % are below", "identical to one"],
                [
                    ("samples", number(c.median), number(c.low), f"{c.identical:.2%}"),
                    ("held-out", number(c.held_out_median), number(c.held_out_low), f"{c.held_out_identical:.2%}"),
                ],
            )
        )
    return parts


def told(estimate: Estimate | None) -> str:
    """A mean with its standard error."""
    return "–" if estimate is None else between(estimate.value, estimate.error)


def learning(one: Evaluation) -> list[str]:
    """The history of training, and the loss beside its floor."""
    t = one.training
    parts = [words(f"{t.steps:,} steps in {t.seconds:,.0f} seconds.")]
    if len(t.at) > 1:
        parts.append(figure(figures.history(t), "The loss, as it was training", small=True))
    if t.losses is not None:
        found = t.losses
        lines = [("training rows", told(found.train)), ("held-out rows", told(found.held_out))]
        if found.floor is not None:
            lines += [("floor", told(found.floor)), ("training rows, less the floor", told(found.excess))]
            lines += [("held-out rows, less a floor of their own", told(found.held_out_excess))]
        parts.append(table(["loss of the averaged weights", f"mean of {found.draws:,} draws"], lines))
        parts.append(
            words(
                "The floor is the loss of the exact field of the training rows: only a network that knows every row by "
                "heart reaches it, and then its samples are copies. Held-out above training: learned by heart."
            )
        )
    return parts


def details(one: Evaluation) -> str:
    """All sections of one run."""
    run, likely, time = one.run, one.likelihood, one.timing
    drawn, config = figures.samples(one), run.config
    beside = "".join(figure(f, caption) for caption, f in drawn.items())
    parts = [section("Quality", quality(one))]
    parts.append(section("Samples beside data", f"<div class=pair>{beside}</div>" if len(drawn) > 1 else beside))
    if one.shown.transform.kind != "image":
        caption, picture = figures.columns(one)
        names, rows = cells(one.shown.transform, one.shown.samples[:ROWS])
        parts.append(section("Columns", figure(picture, caption), words("Some samples:"), table(names, rows)))
    parts.append(section("Table fidelity", *fidelity(one)))
    parts.append(section("Copies of the training data", *memory(one)))
    if (c := one.by_evaluations) is not None:
        said = f"{c.n:,} samples for each point, default sampler. Where the line is flat, more evaluations buy nothing."
        parts.append(
            section(
                "Quality against evaluations",
                figure(figures.curve({"samples": c}, "evaluations of the network per sample", True), said, small=True),
            )
        )
    if (c := one.by_diffusion) is not None:
        said = (
            f"{c.n:,} samples for each point, {c.steps} steps of Euler-Maruyama, with multiples of the reverse SDE's "
            f"diffusion coefficient: 0 is the flow, 1 the reverse SDE. Best here: {c.best:g}."
        )
        parts.append(
            section(
                "Quality against diffusion",
                figure(figures.curve({"samples": c}, "multiple of the diffusion coefficient", False), said, small=True),
            )
        )
    caption, picture = figures.trajectories(one)
    parts.append(section("Trajectories", figure(picture, caption, small=one.shown.transform.kind != "image")))
    if likely is not None:
        lines = [("held-out rows", told(likely.nats)), ("training rows", told(likely.train))]
        said = (
            f"Mean over {likely.rows:,} rows with its standard error, {likely.method} divergence, in the units of the "
            f"data; {number(likely.bits_per_dimension, 4)} bits per dimension on held-out rows. Training above "
            "held-out: learned by heart."
        )
        parts.append(section("Likelihood", table(["rows", "nats per row"], lines), words(said)))
    parts.append(section("Training", *learning(one)))
    cost = (
        f"{time.evaluations:g} evaluations of the network per sample ({time.sampler} sampler), "
        f"{number(time.seconds_per_1000)} seconds per 1,000 samples on {time.device}."
    )
    parts.append(section("Cost of sampling", words(cost)))
    settings = [(f"{name}.{key}", str(value)) for name, part in config for key, value in part]
    facts = [
        ("data", f"{run.data.source}: {run.data.rows:,} rows of shape {run.data.shape}"),
        ("parameters", f"{run.parameters:,}"),
        ("made by", f"pushforward {run.pushforward}, torch {run.torch}"),
        ("conventions", run.convention),
    ]
    parts.append(section("Configuration", table(["setting", "value"], [*facts, *settings])))
    if one.notes:
        parts.append(section("Notes", *[words(note) for note in one.notes]))
    return "".join(parts)
