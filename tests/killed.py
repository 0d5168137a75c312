"""Training that is killed again and again, for tests/test_training_killed.py: ``killed.py FOLDER KILLS SEED``.

One process that imports everything once forks a child for each attempt, and kills it at a random moment.
"""

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from helpers import train_into

from pushforward import run
from pushforward.config import Config, NetConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.training import Budget, Feed
from pushforward.training.checkpoint import latest

ROWS = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
CONFIG = Config(net=NetConfig(width=16, depth=1), train=TrainConfig(batch=16, warmup=10))
EVERY, STEPS = 6, 180


def train(folder, steps, told=None, **how):
    """A run; a byte goes to ``told`` whenever a batch of training is asked for."""
    run.callbacks.preview = lambda *_: None
    ask = Feed.__call__

    def telling(self, step):
        if self.batch == CONFIG.train.batch:
            os.write(told, b"1")
        return ask(self, step)

    if told is not None:
        Feed.__call__ = telling
    return train_into(
        ROWS, Path(folder), CONFIG, Budget(steps, None), checkpoint_every=EVERY, report_every=EVERY, **how
    )


def forked(action):
    """A child that does ``action`` and leaves; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def timed(folder):
    """Seconds that a child needs for the whole of a run."""
    began = time.monotonic()
    assert os.waitpid(forked(lambda: train(folder, STEPS)), 0)[1] == 0
    return time.monotonic() - began


def wait_for_a_save(folder):
    """Wait until something is half written in a folder, half a second at most; a save takes a few milliseconds."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        for place in ("", "checkpoints", "averages"):
            with contextlib.suppress(FileNotFoundError):
                if any(name.startswith(".") for name in os.listdir(folder / place)):
                    return


def killed(folder, kills, seed):
    """Kill ``kills`` times, then let it finish; says where it was hit.

    A third at a random moment before the first step, a third in the middle of writing something, the others anywhere.
    How far they come is counted in steps: clocks differ by the load of the machine.
    """
    rng, hits = random.Random(seed), {"running": 0, "writing": 0, "steps": []}
    whole = timed(folder / "straight")
    setup = timed(folder / "straight")  # nothing is left to do
    for number in range(kills):
        begun, tell = os.pipe()
        child = forked(lambda tell=tell: train(folder / "killed", STEPS, told=tell))
        os.close(tell)  # so that a child which is gone is heard of, too
        if number % 3 == 0:
            time.sleep(rng.uniform(0.0, min(setup, 2.0)))
        elif all(os.read(begun, 1) for _ in range(rng.randint(1, 2 * EVERY))):  # otherwise it came to the end
            time.sleep(rng.uniform(0.0, 2.0) * (whole - setup) / STEPS)
            if number % 3 == 1:
                wait_for_a_save(folder / "killed")
        os.kill(child, signal.SIGKILL)
        os.close(begun)
        hits["running"] += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        hits["writing"] += any(path.name.startswith(".") for path in (folder / "killed").rglob("*"))
        newest = latest(folder / "killed" / "checkpoints")
        hits["steps"].append(0 if newest is None else int(newest.name[5:]))
    timed(folder / "killed")
    return hits


def full(folder):
    """Files may not grow beyond what the first checkpoints need: as on a disk that is full, but for real."""
    train(folder / "full", 2 * EVERY)
    warnings = []
    small = max(p.stat().st_size for p in (folder / "full" / "checkpoints").rglob("*")) // 2

    def refuse(progress):
        if progress.step == 2 * EVERY + EVERY:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (small, resource.RLIM_INFINITY))

    error = ""
    try:
        train(folder / "full", 5 * EVERY, warn=warnings.append, on_report=refuse)
    except InputError as caught:
        error = str(caught)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (folder / "full.json").write_text(json.dumps({"warnings": warnings, "error": error}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    found = killed(where, int(sys.argv[2]), int(sys.argv[3]))
    assert os.waitpid(forked(lambda: full(where)), 0)[1] == 0
    (where / "hits.json").write_text(json.dumps(found))
