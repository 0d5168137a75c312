"""Reports: how good the samples of a run are, each figure beside its floor, as JSON and as one page."""

from pushforward.report.measure import evaluate
from pushforward.report.result import Evaluation, Report, Score

__all__ = ["Evaluation", "Report", "Score", "evaluate"]
