"""What two processes do in tests/test_train_processes.py: ``torchrun distributed.py TASK FOLDER``."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

from pushforward import load, run
from pushforward.config import Config, NetConfig, PathConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.train import ALONE, Budget, joined

ROWS = (np.random.default_rng(0).normal(size=(300, 2)) @ [[0.1, 20.0], [0.0, 0.2]] + [3.0, -50.0]).astype(np.float32)
COUPLINGS = ("independent", "optimal_transport")


def train(folder, steps, coupling="independent", processes=ALONE, precision="float32", **how):
    """An odd batch, so that the parts are not of one size."""
    settings = TrainConfig(batch=63, warmup=10, precision=precision)
    config = Config(net=NetConfig(width=32, depth=1), train=settings, path=PathConfig(coupling=coupling))
    how = {"report_every": 10, "checkpoint_every": 20, "keep": 3} | how
    run.training.preview = lambda *_: None
    return run.train(ROWS, Path(folder), config, Budget(steps, None), processes=processes, **how)


def look(folder, processes=ALONE):
    """Samples and log-densities, exact and by random directions."""
    model = load(folder)
    rows = {"x": model.sample(7, steps=3, seed=5, processes=processes)}
    for method in ("exact", "hutchinson"):
        found = model.log_likelihood(ROWS[:9], method, steps=3, seed=2, processes=processes)
        rows |= {method: found.log_prob.numpy(), f"{method}_x0": found.x0.numpy()}
    return rows


def at(step, action):
    return lambda progress: action() if progress.step == step else None


def main(task, folder):
    torch.set_num_threads(1)
    with joined() as team:
        assert team.count == 2
        if task == "whole":
            for coupling in COUPLINGS:
                assert train(folder / coupling, 60, coupling, team)
                train(folder / f"resumed-{coupling}", 60, coupling, team, report=at(30, stop))
                assert train(folder / f"resumed-{coupling}", 60, coupling, team)
            train(folder / "fewer", 60, COUPLINGS[1], team, report=at(30, stop))  # one process goes on from here
            assert train(folder / "more", 60, COUPLINGS[1], team)  # and here from what one process did
            assert train(folder / "parts", 60, processes=team, accumulate=3)
            assert train(folder / "bf16", 20, processes=team, precision="bf16")
            try:
                train(folder, 10, processes=team)  # where something else is
            except InputError as error:
                (folder / f"words-{team.rank}").write_text(str(error))
            found = look(folder / "independent", team)
            assert team.rows(1, lambda first, count: torch.full((count, 2), first + 0.5)).tolist() == [[0.5, 0.5]]
            if team.main:
                np.savez(folder / "look.npz", **found)
        elif task == "lost":
            if team.rank == 1:  # in the middle of training, without a word
                threading.Thread(target=die_when, args=(folder / "lost" / "checkpoints" / "step-100",)).start()
            try:
                train(folder / "lost", 10**6, processes=team, checkpoint_every=100)
            except InputError as error:
                (folder / "words.json").write_text(json.dumps([team.rank, str(error)]))


def stop():
    """Only the main process reports, so one of two is asked."""
    os.kill(os.getpid(), signal.SIGTERM)


def die_when(path):
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
