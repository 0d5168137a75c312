"""Trackers get what ``metrics.jsonl`` gets."""

import gc

import numpy as np
import pytest
from helpers import train_into

import pushforward as pf
from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.run.tracking import tracking
from pushforward.training import Budget

CONFIG = Config(net=NetConfig(width=4, depth=1), train=TrainConfig(batch=8, warmup=2))
ROWS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_lines_of_the_log(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(run.callbacks, "preview", lambda *_: None)
    assert train_into(ROWS, tmp_path / "run", CONFIG, Budget(6, None), report_every=2, tracker="tensorboard")
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    for name in ("loss", "held_out", "grad_norm", "steps_per_second"):
        lines = [(row["step"], row[name]) for row in run.history(tmp_path / "run")]
        assert len(lines) == 3
        assert [(event.step, event.value) for event in found.Scalars(name)] == [
            (step, pytest.approx(value, rel=1e-6)) for step, value in lines
        ]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run with a tracker that keeps everything in the folder, and the losses of its log."""
    monkeypatch.setattr(run.callbacks, "preview", lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def train(tracker, **how):
        assert train_into(ROWS, tmp_path / "run", CONFIG, Budget(6, None), report_every=2, tracker=tracker, **how)
        return [(row["step"], row["loss"]) for row in run.history(tmp_path / "run")]

    yield train
    gc.collect()  # what trackers leave open is closed, and complained of, here


@pytest.mark.filterwarnings("ignore")
def test_wandb_has_the_lines_of_the_log(trained, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from wandb.sdk.wandb_run import Run

    found, log = [], Run.log
    monkeypatch.setattr(
        Run,
        "log",
        lambda self, values, *a, step, **k: (
            found.append((step, values["loss"])),
            log(self, values, *a, step=step, **k),
        ),
    )
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    lines = trained("wandb")
    wandb.teardown()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert found == lines and file.stat().st_size > 1000


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_lines_of_the_log(trained, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")  # not in mlflow-skinny
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    lines = trained("mlflow")
    client = mlflow.MlflowClient(place)
    (found,) = client.search_runs([client.get_experiment_by_name("run").experiment_id])
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == lines
    assert found.data.params["train.batch"] == "8"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tracker_that_fails_does_not_end_training(trained, monkeypatch):
    def fails(*args, **how):
        raise ConnectionError("no route\nto host")

    warnings = []
    with monkeypatch.context() as patch:
        patch.setattr("accelerate.Accelerator.log", fails)
        patch.setattr("accelerate.Accelerator.end_training", fails)
        assert len(trained("tensorboard", warn=warnings.append)) == 3
    assert len(warnings) == 4 and warnings[0].startswith(
        "--tracker tensorboard: step 2 was not taken (no route to host)"
    )
    monkeypatch.setattr("accelerate.Accelerator.init_trackers", fails)
    with pytest.raises(InputError, match=r"--tracker tensorboard: cannot be started \(no route to host\)"):
        trained("tensorboard")


def test_a_tracker_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"tracker 'tensorbored'.*tensorboard"), tracking("tensorbored", tmp_path, {}):
        pass
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match="--tracker mlflow: not installed; pip install mlflow"):
        pf.train(ROWS, tmp_path / "run", config=CONFIG, steps=6, tracker="mlflow")
    assert train_into(ROWS, tmp_path / "run", CONFIG, Budget(2, None))
