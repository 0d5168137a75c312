"""Trackers get what ``metrics.jsonl`` gets."""

import numpy as np
import pytest

from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.run.tracking import tracking
from pushforward.train import Budget

CONFIG = Config(net=NetConfig(width=4, depth=1), train=TrainConfig(batch=8, warmup=2))
ROWS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_lines_of_the_log(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(run.training, "preview", lambda *_: None)
    assert run.train(ROWS, tmp_path / "run", CONFIG, Budget(6, None), report_every=2, tracker="tensorboard")
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    for name in ("loss", "held_out", "grad_norm", "steps_per_second"):
        lines = [(row["step"], row[name]) for row in run.history(tmp_path / "run")]
        assert len(lines) == 3
        assert [(event.step, event.value) for event in found.Scalars(name)] == [
            (step, pytest.approx(value, rel=1e-6)) for step, value in lines
        ]


def test_a_tracker_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"tracker 'tensorbored'.*tensorboard"), tracking("tensorbored", tmp_path, {}):
        pass
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match="--tracker mlflow: not installed; pip install mlflow"):
        run.train(ROWS, tmp_path / "run", CONFIG, Budget(6, None), tracker="mlflow")
    assert run.train(ROWS, tmp_path / "run", CONFIG, Budget(2, None))
