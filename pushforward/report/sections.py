"""Write the sections of a report's page: text, tables, and pictures inside the page."""

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
    from pushforward.evaluation.result import LogLikelihood
    from pushforward.objective import Estimate

__all__ = [
    "details",
    "estimate_text",
    "html_figure",
    "html_section",
    "html_table",
    "number",
    "paragraph",
    "value_and_floor",
    "with_error",
]

ROWS = 5  # samples of a table shown as rows
WIDE = 12  # columns of such a table
DIGITS = {*"0123456789", ""}


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for people: three digits, or a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1e4 else f"{value:,.0f}"


def with_error(value: float, error: float) -> str:
    """Write ``0.123 ± 0.004``, both to the digits that the error leaves."""
    if not (math.isfinite(value) and math.isfinite(error)) or error <= 0:
        return number(value)
    places = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{value:.{places}f} ± {error:.{places}f}"


def value_and_floor(measured: Measured) -> tuple[str, str]:
    """Write the value and the floor of a metric, with their intervals."""
    return with_error(measured.value, measured.error), with_error(measured.floor, measured.floor_error)


def estimate_text(estimate: Estimate | None) -> str:
    """Write a mean with its standard error, or a dash."""
    return "–" if estimate is None else with_error(estimate.value, estimate.error)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table that scrolls by itself where it is wider than the page; cells are text, numbers to the right."""
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


def html_figure(picture: Figure, caption: str, small: bool = False) -> str:
    """Write a picture with its caption."""
    kind, caption = " class=small" if small else "", escape(caption)
    return f'<figure{kind}><img alt="{caption}" src="{embed(picture)}"><figcaption>{caption}</figcaption></figure>'


def html_section(title: str, *parts: str) -> str:
    """Write a heading and what stands under it; nothing where there is nothing."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def paragraph(text: str) -> str:
    """Write a paragraph; nothing where there is no text."""
    return f"<p>{escape(text)}</p>" if text else ""


def verdict(score: Score) -> str:
    """Write what value and floor say together, marked good or bad."""
    return f"<span class={'good' if score.at_floor else 'bad'}>{escape(score.verdict)}</span>"


def quality_table(one: Evaluation) -> str:
    """Write each metric in a row that folds on a phone: name, value, floor, verdict, reading."""
    rows = []
    for score in one.scores:
        value, floor = value_and_floor(score.measured)
        rows.append(
            f"<tr><th scope=row>{escape(score.title)}</th><td class=n>{value}</td>"
            f"<td class=n>{floor}</td><td>{verdict(score)}</td><td class=reading>{escape(score.reading)}</td></tr>"
        )
    head = "<tr><th scope=col>measure</th><th scope=col class=n>samples</th><th scope=col class=n>floor</th>"
    head += "<th scope=col>together</th><th scope=col class=reading>how to read it</th></tr>"
    test = (
        f"The classifier is right on {one.score('two_sample').value:.1%} of rows it has not seen; chance alone is as "
        f"good with probability {one.p_value:.2g}."
    )
    return f"<table class=quality><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{paragraph(test)}"


def memory_parts(one: Evaluation) -> list[str]:
    """Write whether samples are copies: figures, and the closest pairs as pictures or rows."""
    copies, plots = one.copies, one.plot_data
    audit = [] if one.membership is None else [paragraph(f"By the loss alone: {one.membership.describe()}.")]
    if copies is None:
        unknown = paragraph("Which rows the run was trained on is not known here, so copies cannot be looked for.")
        return [unknown, *audit]
    summary = (
        f"{copies.suspects:,} of {copies.samples:,} samples are suspected of being copies of one of {copies.train:,} "
        f"training rows. A sample is closer to the training rows than a held-out row with probability "
        f"{copies.closer:.3f} (0.5 is fair, 1 all copied); its median distance is {copies.ratio:.3g} of theirs."
    )
    histogram = figures.distance_figure(one)
    parts = [paragraph(summary), *audit, html_figure(histogram, "How far the nearest training row is", small=True)]
    pictures = figures.copies_figure(one)
    if pictures is not None:
        parts.append(html_figure(pictures, "The samples closest to a training row, and below each that row"))
    elif len(plots.closest) and plots.transform.columnar:
        (names, samples), (_, originals) = (cells(plots.transform, x) for x in (plots.closest, plots.originals))
        lines = []
        for (i, j, distance), sample, original in zip(copies.closest, samples, originals, strict=True):
            lines += [[f"sample {i}", number(distance), *sample], [f"training row {j}", "", *original]]
        parts.append(paragraph("The samples closest to a training row, and below each that row:"))
        parts.append(html_table(["", "distance", *names], lines[: 2 * ROWS]))
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


def fidelity_parts(one: Evaluation) -> list[str]:
    """Write the fidelity of tables: columns, pairs, use as training data, closest records."""
    table = one.table
    if table is None:
        return []
    ranked = sorted(table.columns, key=lambda c: c.floor - c.distance)
    columns = [(c.name, "category" if c.category else "number", number(c.distance), number(c.floor)) for c in ranked]
    parts = [
        paragraph(
            "Each column by itself: 0 is the same law, 1 nothing in common. A missing number counts as the median."
        ),
        html_table(["column", "kind", "samples", "floor"], columns),
    ]
    # pairs, prediction and closest records, where they were measured
    if table.pairs:
        pairs = [(a, b, number(difference)) for a, b, difference in table.pairs]
        parts += [
            paragraph("The pairs of columns that are related most differently in samples and data, from 0 to 1:"),
            html_table(["column", "column", "difference"], pairs),
        ]
    if table.utility:
        utility = [
            (name, "accuracy" if category else "R²", number(u.synthetic), number(u.real))
            for name, category, u in table.utility
        ]
        parts += [
            paragraph(
                "Train on samples, test on held-out rows: how well trees predict a column from all others (accuracy of "
                "a category, R² of a number). Samples that can stand for data score as training rows do."
            ),
            html_table(["column predicted", "score", "from samples", "from data"], utility),
        ]
    if (c := table.closest) is not None:
        records = [
            ("samples", number(c.median), number(c.low), f"{c.identical:.2%}"),
            ("held-out", number(c.held_out_median), number(c.held_out_low), f"{c.held_out_identical:.2%}"),
        ]
        parts += [
            paragraph("Distance to the closest training row, in standard deviations:"),
            html_table(["rows", "median", "5 % are below", "identical to one"], records),
        ]
    return parts


def training_parts(one: Evaluation) -> list[str]:
    """Write the history of training, and the loss beside its floor."""
    t = one.training
    parts = [paragraph(f"{t.steps:,} steps in {t.seconds:,.0f} seconds.")]
    if len(t.at) > 1:
        parts.append(html_figure(figures.loss_figure(t), "The loss, as it was training", small=True))
    if t.losses is not None:
        rows: dict[str, Estimate | None] = {"training rows": t.losses.train, "held-out rows": t.losses.held_out}
        if t.losses.floor is not None:
            rows |= {
                "floor": t.losses.floor,
                "training rows, less the floor": t.losses.excess,
                "held-out rows, less a floor of their own": t.losses.held_out_excess,
            }
        lines = [(name, estimate_text(estimate)) for name, estimate in rows.items()]
        parts.append(html_table(["loss of the averaged weights", f"mean of {t.losses.draws:,} draws"], lines))
        parts.append(
            paragraph(
                "The floor is the loss of the exact field of the training rows: only a network that knows every row by "
                "heart reaches it, and then its samples are copies. Held-out above training: learned by heart."
            )
        )
    return parts


def curve_sections(one: Evaluation) -> list[str]:
    """Write quality against evaluations and against diffusion, each a section."""
    parts = []
    if (c := one.by_evaluations) is not None:
        caption = (
            f"{c.n:,} samples for each point, default sampler. Where the line is flat, more evaluations buy nothing."
        )
        picture = figures.curve_figure({"samples": c}, "evaluations of the network per sample", True)
        parts.append(html_section("Quality against evaluations", html_figure(picture, caption, small=True)))
    if (c := one.by_diffusion) is not None:
        caption = (
            f"{c.n:,} samples for each point, {c.steps} steps of Euler-Maruyama, with multiples of the reverse SDE's "
            f"diffusion coefficient: 0 is the flow, 1 the reverse SDE. Best here: {c.best:g}."
        )
        picture = figures.curve_figure({"samples": c}, "multiple of the diffusion coefficient", False)
        parts.append(html_section("Quality against diffusion", html_figure(picture, caption, small=True)))
    return parts


def likelihood_parts(likelihood: LogLikelihood) -> list[str]:
    """Write the mean log-densities of held-out and of training rows."""
    lines = [("held-out rows", estimate_text(likelihood.nats)), ("training rows", estimate_text(likelihood.train))]
    explanation = (
        f"Mean over {likelihood.rows:,} rows with its standard error, {likelihood.method} divergence, in the units of "
        f"the data; {number(likelihood.bits_per_dimension, 4)} bits per dimension on held-out rows. Training above "
        "held-out: learned by heart."
    )
    return [html_table(["rows", "nats per row"], lines), paragraph(explanation)]


def configuration_table(one: Evaluation) -> str:
    """Write what was trained on what, by which versions, and every setting, as a table."""
    run = one.run
    facts = [
        ("data", f"{run.data.source}: {run.data.rows:,} rows of shape {run.data.shape}"),
        ("parameters", f"{run.parameters:,}"),
        ("made by", f"pushforward {run.pushforward}, torch {run.torch}"),
        ("conventions", run.convention),
    ]
    settings = [(f"{name}.{key}", str(value)) for name, part in run.config for key, value in part]
    return html_table(["setting", "value"], [*facts, *settings])


def details(one: Evaluation) -> str:
    """Write all sections of one run, in their order on the page."""
    plots, timing = one.plot_data, one.timing
    parts = [html_section("Quality", quality_table(one))]

    # what no number says: the samples themselves
    pictures = [html_figure(picture, caption) for caption, picture in figures.sample_figures(one).items()]
    beside = "".join(pictures)
    parts.append(
        html_section("Samples beside data", f"<div class=pair>{beside}</div>" if len(pictures) > 1 else beside)
    )
    if plots.transform.columnar:
        caption, picture = figures.column_figure(one)
        table = html_table(*cells(plots.transform, plots.samples[:ROWS]))
        parts.append(html_section("Columns", html_figure(picture, caption), paragraph("Some samples:"), table))
    parts.append(html_section("Table fidelity", *fidelity_parts(one)))
    parts.append(html_section("Copies of the training data", *memory_parts(one)))

    # the field and its training
    parts += curve_sections(one)
    caption, picture = figures.trajectory_figure(one)
    parts.append(html_section("Trajectories", html_figure(picture, caption, small=plots.trajectories.ndim < 5)))
    if one.likelihood is not None:
        parts.append(html_section("Likelihood", *likelihood_parts(one.likelihood)))
    parts.append(html_section("Training", *training_parts(one)))
    cost = (
        f"{timing.evaluations:g} evaluations of the network per sample ({timing.sampler} sampler), "
        f"{number(timing.seconds_per_1000)} seconds per 1,000 samples on {timing.device}."
    )
    parts.append(html_section("Cost of sampling", paragraph(cost)))
    parts.append(html_section("Configuration", configuration_table(one)))
    parts.append(html_section("Notes", *[paragraph(note) for note in one.notes]))
    return "".join(parts)
