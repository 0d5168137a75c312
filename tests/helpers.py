"""A training in one call of flat arguments, for tests that ask whether its budget was spent."""

from dataclasses import fields
from pathlib import Path

from pushforward import run
from pushforward.training import TrainingOptions


def train_into(data, folder, config, budget, **how):
    """What `pushforward.train` does, without loading the model: whether the budget was spent."""

    def taken(kind, *given):
        names = {field.name for field in fields(kind)} & how.keys()
        return kind(*given, **{name: how.pop(name) for name in sorted(names)})

    options = TrainingOptions(
        report_every=how.pop("report_every", 250),
        checkpoint_every=how.pop("checkpoint_every", 5000),
        keep=how.pop("keep", 2),
    )
    values = taken(run.RowRequest, data), Path(folder), config, budget, taken(run.Execution), taken(run.Watcher)
    assert not how, how
    return run.train_run(*values, options)
