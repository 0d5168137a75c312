"""What tests share: a training in one call of flat arguments, a run file that a stranger has edited."""

import json
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


def edit(folder, value, *where):
    """Set a field of ``config.json`` as someone does who knows of its checksum: the file says that it has none."""
    file = Path(folder) / "config.json"
    record = inner = json.loads(file.read_text())
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    file.write_text(json.dumps(record | {"checksum": ""}))
