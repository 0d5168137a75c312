"""Training that is killed at random moments ends in the same weights; one that runs out of disk keeps what it had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import killed
import pytest
from safetensors.torch import load_file

from pushforward import load, run
from pushforward.training.checkpoint import latest

KILLS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is left by `killed.py`."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, killed.__file__, str(folder), str(KILLS), "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_killed_at_random_moments_ends_in_the_same_weights(folder):
    hits = json.loads((folder / "hits.json").read_text())
    assert hits["running"] > 0.6 * KILLS and hits["writing"] > 0.1 * KILLS  # it was hit where it hurts
    assert hits["steps"] == sorted(hits["steps"]) and len(set(hits["steps"])) > 5
    name = f"step-{killed.STEPS}"
    runs = [folder / which for which in ("straight", "killed")]
    states = [load_file(path / "checkpoints" / name / "state.safetensors") for path in runs]
    assert states[0].keys() == states[1].keys()
    assert all((value == states[1][key]).all() for key, value in states[0].items())
    models = [(path / "model.safetensors").read_bytes() for path in runs]
    assert models[0] == models[1]
    clock = {"seconds", "steps_per_second"}
    histories = [[{k: v for k, v in row.items() if k not in clock} for row in run.history(path)] for path in runs]
    assert histories[0] == histories[1] and len(histories[0]) == killed.STEPS / killed.EVERY
    floors = [run.history(path, "floor.jsonl") for path in runs]
    assert floors[0] == floors[1] and len(floors[0]) == killed.STEPS / killed.EVERY
    snapshots = [sorted(path.name for path in (run_folder / "averages").iterdir()) for run_folder in runs]
    assert all(f"step-{killed.STEPS}" in names for names in snapshots)
    assert [path for path in (folder / "killed").rglob("*") if path.name.startswith(".")] == []


def test_a_disk_that_is_full_leaves_the_checkpoint_before(folder):
    """Refused by the system, in the middle of writing a file."""
    said = json.loads((folder / "full.json").read_text())
    every = killed.EVERY
    assert any(f"step {3 * every} could not be saved" in words for words in said["warnings"])
    assert f"step {5 * every}, the last, could not be saved" in said["error"] and "checkpoint before" in said["error"]
    assert latest(folder / "full" / "checkpoints").name == f"step-{2 * every}"
    assert load(folder / "full").sample(2, steps=1).shape == (2, 2)
    assert [path for path in Path(folder / "full").rglob("*") if path.name.startswith(".")] == []
    killed.train(folder / "full", 5 * every)
    assert latest(folder / "full" / "checkpoints").name == f"step-{5 * every}"
