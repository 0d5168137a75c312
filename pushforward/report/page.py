"""Write a report as JSON and as one HTML file with its pictures inside: no script, nothing is fetched."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pushforward.errors import InputError
from pushforward.evaluation.result import Evaluation, Findings, ReferenceInfo
from pushforward.files.writing import written_whole
from pushforward.objective import Estimate
from pushforward.report import figures
from pushforward.report.sections import (
    details,
    estimate_text,
    html_figure,
    html_section,
    html_table,
    number,
    paragraph,
    with_error,
)

__all__ = ["Report", "labels", "page"]


def compared(report: Findings) -> str:
    """Write all runs side by side: a row for each measure, a column for each run."""
    names = labels([Path(run.name).name for run in report.runs])
    rows = []
    for score in report.runs[0].scores:
        measured = [run.score(score.name) for run in report.runs]
        values = [with_error(m.value, m.error) for m in measured]
        rows.append((score.title, *values, with_error(measured[0].floor, measured[0].floor_error)))
    rows.append(("evaluations per sample", *[f"{run.timing.evaluations:g}" for run in report.runs], ""))
    rows.append(("seconds per 1,000 samples", *[number(run.timing.seconds_per_1000) for run in report.runs], ""))
    nats = [estimate_text(run.likelihood.nats) if run.likelihood else "–" for run in report.runs]
    rows.append(("nats per held-out row", *nats, ""))
    parts = [html_table(["measure", *names, "floor"], rows)]
    curves = {
        n: run.by_evaluations for n, run in zip(names, report.runs, strict=True) if run.by_evaluations is not None
    }
    if curves:
        picture = figures.curve_figure(curves, "evaluations of the network per sample", True)
        parts.append(html_figure(picture, "Quality against evaluations", small=True))
    return html_section("Side by side", *parts)


def labels(names: list[str]) -> list[str]:
    """Number names that occur twice, so that runs can be told apart."""
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def page(report: Findings) -> str:
    """Write the whole report as one HTML file."""
    reference, runs = report.against, report.runs
    title = ", ".join(run.name for run in runs)
    rows = "held-out rows of its own data" if reference.own else "one half of its rows; the other half gives the floor"
    lead = (
        f"{report.n:,} samples (seed {report.seed}) against {reference.compared:,} rows of {reference.source}: {rows}. "
        "The floor is what real rows score in the samples' place: perfect samples reach it, and only copies or samples "
        "that are too narrow go beyond. Intervals are 95 %. Distances are in standard deviations of the data's columns "
        "(of all pixels for pictures, of a channel for sequences and volumes)."
    )

    # the answer first, a line for each run
    body = ""
    for run in runs:
        at_floor = sum(score.at_floor for score in run.scores)
        copies = "" if run.copies is None else f", {run.copies.suspects:,} suspected copies"
        body += paragraph(f"{run.name}: {at_floor} of {len(run.scores)} measures at the floor{copies}.")
    if len(runs) == 1:
        body += details(runs[0])
    else:
        body += compared(report) + "".join(
            f"<details><summary>{escape(run.name)}</summary>{details(run)}</details>" for run in runs
        )
    notes = "".join(paragraph(note) for note in report.notes)
    foot = f"Made by pushforward {report.pushforward} in {report.seconds:.0f} seconds."
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<meta name=color-scheme content="light dark"><link rel=icon href="data:,">'
        f"<title>{escape(title)} · pushforward</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class=lead>{escape(lead)}</p>{notes}{body}<footer>{paragraph(foot)}</footer>"
        "</main></body></html>\n"
    )


@dataclass(frozen=True, eq=False)
class Report:
    """The findings of `evaluate`, as JSON and as a page for people."""

    findings: Findings

    @property
    def runs(self) -> tuple[Evaluation, ...]:
        """What was measured of each run."""
        return self.findings.runs

    @property
    def against(self) -> ReferenceInfo:
        """What samples were compared with."""
        return self.findings.against

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the reference rows, a line each."""
        return self.findings.notes

    def to_json(self) -> str:
        """Write all numbers; one that is not finite is null."""
        return json.dumps(_plain(self.findings), indent=1, allow_nan=False)

    def to_html(self) -> str:
        """Write one page that needs nothing else: no network, no script."""
        return page(self.findings)

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``report.json`` and ``report.html`` into a folder, made if need be; their paths."""
        folder = Path(folder)
        files = folder / "report.json", folder / "report.html"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in zip(files, (self.to_json(), self.to_html()), strict=True):
                with written_whole(file) as scratch:
                    scratch.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{folder}: the report cannot be written there ({error.strerror}); give --out") from error
        return files


def _plain(value: Any) -> Any:
    """Turn results into what JSON can hold: fields by name, and the properties that a class lists as ``derived``."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude={"data": {"transform"}})
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.name != "plot_data"]
        value = {name: getattr(value, name) for name in (*names, *getattr(value, "derived", ()))}
    elif isinstance(value, Estimate):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --back: #fff; --card: #f6f8fa;
  --good: #1a7f37; --bad: #b35900 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --back: #0d1117;
  --card: #161b22; --good: #4ac26b; --bad: #f0a050 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere }
main { max-width: 62rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line) }
section { margin: 1.75rem 0 }
.lead, figcaption, .reading, footer { color: var(--soft) }
.scroll { overflow-x: auto; margin: .5rem 0 }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal }
th, td { padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
thead th { color: var(--soft); font-weight: 500 }
tbody th { font-weight: 600 }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.quality { width: 100% }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
figure { margin: .75rem 0 } figure.small { max-width: 34rem }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 6px; padding: 6px }
figcaption { font-size: .85rem; margin-top: .25rem }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: 1rem }
.pair img { width: 100% }
details { border: 1px solid var(--line); border-radius: 6px; padding: .5rem 1rem; margin: 1rem 0 }
summary { font-weight: 600; cursor: pointer }
@media (prefers-color-scheme: dark) { img { filter: brightness(.88) } }
@media (max-width: 40rem) {
  .quality thead { display: none }
  .quality tr { display: grid; grid-template-columns: 1fr auto; padding: .5rem 0; border-bottom: 1px solid var(--line) }
  .quality th, .quality td { border: 0; padding: 0 }
  .quality td.n:nth-of-type(2)::before { content: "floor "; color: var(--soft) }
  .quality td:nth-of-type(3) { order: 2 }
  .quality td.n:nth-of-type(2) { order: 3; text-align: left; grid-column: 1 / -1 }
  .quality .reading { grid-column: 1 / -1; order: 4 }
}
"""
