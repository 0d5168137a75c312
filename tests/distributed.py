"""What two processes do in tests/test_training_processes.py: ``torchrun distributed.py TASK FOLDER``."""

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from helpers import train_into

from pushforward import load, run
from pushforward.config import Config, NetConfig, PathConfig, TrainConfig
from pushforward.errors import InputError
from pushforward.evaluation import budget, fidelity, quality
from pushforward.nn import MLP
from pushforward.run.evaluating import evaluate
from pushforward.training import SINGLE, Budget, OptimizerConfig, TrainingOptions, fit, process_group

ROWS = (np.random.default_rng(0).normal(size=(300, 2)) @ [[0.1, 20.0], [0.0, 0.2]] + [3.0, -50.0]).astype(np.float32)
ROWS_HERE = torch.from_numpy(ROWS[:64])
OPTIMISER = OptimizerConfig(lr=1e-3, warmup=0, weight_decay=0.0, clip=1.0, ema=7.0)
COUPLINGS = ("independent", "optimal_transport")


def train(folder, steps, coupling="independent", processes=SINGLE, precision="float32", **how):
    """An odd batch, so that the parts are not of one size."""
    settings = TrainConfig(batch=63, warmup=10, precision=precision)
    config = Config(net=NetConfig(width=32, depth=1), train=settings, path=PathConfig(coupling=coupling))
    how = {"report_every": 10, "checkpoint_every": 20, "keep": 3} | how
    run.callbacks.preview = lambda *_: None
    return train_into(ROWS, Path(folder), config, Budget(steps, None), processes=processes, **how)


def look(folder, processes=SINGLE):
    """Samples and log-densities, exact and by random directions."""
    model = load(folder, processes=processes)
    rows = {"x": model.sample(7, steps=3, seed=5)}
    for method in ("exact", "hutchinson"):
        found = model.log_likelihood(ROWS[:9], method=method, steps=3, seed=2)
        rows |= {method: found.log_prob.numpy(), f"{method}_x0": found.x0.numpy()}
    return rows


def judged(folder, processes=SINGLE):
    """All numbers of a report but those that a clock gave."""
    quality.RESAMPLES = fidelity.RESAMPLES = 4  # the second is a copy, made when it was imported
    budget.EVALUATIONS, budget.DIFFUSIONS = (4,), (1.0,)
    report = json.loads(evaluate(folder, ROWS, n=40, processes=processes).to_json())
    del report["seconds"], report["runs"][0]["timing"]["seconds_per_1000"]
    return {f"report{name}": number for name, number in numbers(report)}


def numbers(found, name=""):
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from numbers(value, f"{name}.{key}")
    elif isinstance(found, int | float):
        yield name, np.float64(found)


def at(step, action):
    return lambda progress: action() if progress.step == step else None


def main(task, folder):
    torch.set_num_threads(1)
    with process_group() as team:
        assert team.count == 2
        if task == "whole":
            for coupling in COUPLINGS:
                assert train(folder / coupling, 60, coupling, team)
                train(folder / f"resumed-{coupling}", 60, coupling, team, on_report=at(30, stop))
                assert train(folder / f"resumed-{coupling}", 60, coupling, team)
            train(folder / "fewer", 60, COUPLINGS[1], team, on_report=at(30, stop))  # one process goes on from here
            assert train(folder / "more", 60, COUPLINGS[1], team)  # and here from what one process did
            assert train(folder / "parts", 60, processes=team, accumulate=3)
            assert train(folder / "bf16", 20, processes=team, precision="bf16")
            sharded(folder, team)
            try:
                train(folder, 10, processes=team)  # where something else is
            except InputError as error:
                (folder / f"words-{team.rank}").write_text(str(error))
            found = look(folder / "independent", team)
            found |= judged(folder / "independent", team)
            assert team.map_rows(1, lambda first, count: torch.full((count, 2), first + 0.5)).tolist() == [[0.5, 0.5]]
            if team.main:
                np.savez(folder / "look.npz", **found)
            assert sys.platform != "linux" or not NAMED or threads_of_the_group()
        elif task in LOST:
            rank, how = LOST[task]
            if team.rank == rank:  # in the middle of training, without a word
                threading.Thread(target=die_when, args=(folder / task / "checkpoints" / "step-20",)).start()
            try:
                train(folder / task, 10**6, processes=team, checkpoint_every=20, **how)
            except InputError as error:
                (folder / "words.json").write_text(json.dumps([team.rank, str(error), error.is_spokesman]))
                raise SystemExit(2) from error
    until = time.monotonic() + 10  # the system lists a thread for a moment after its end
    while threads_of_the_group():
        assert time.monotonic() < until, threads_of_the_group()
        time.sleep(0.01)


LOST = {"lost": (1, {}), "lost-main": (0, {}), "lost-main-sharded": (0, {"shard": True})}  # which, and of what


# those of torch 2.10 have no name, and are not found
NAMED = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)


def threads_of_the_group():
    """Which this process has; one that lets go of a tensor while Python ends aborts the process."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            names.append(path.read_text())
    return [name for name in names if "gloo" in name]


def sharded(folder, team):
    """The same with weights that are shared out; and how much memory what is kept between two steps takes."""
    assert train(folder / "sharded", 60, COUPLINGS[1], team, shard=True)
    train(folder / "resumed-sharded", 60, COUPLINGS[1], team, shard=True, on_report=at(30, stop))
    assert train(folder / "resumed-sharded", 60, COUPLINGS[1], team, shard=True)
    train(folder / "passed-on", 60, COUPLINGS[1], team, shard=True, on_report=at(40, stop))  # by one process to another
    assert train(folder / "sharded-parts", 20, processes=team, shard=True, accumulate=3)
    assert train(folder / "sharded-bf16", 20, processes=team, shard=True, precision="bf16")
    size, taken = [], []
    for shard in (False, True):
        before = bytes_alive()
        net = MLP((2,), 48, 3)
        state, _ = fit(
            net,
            distance,
            lambda step: ROWS_HERE,
            Budget(3, None),
            OPTIMISER,
            options=TrainingOptions(shard=shard, processes=team),
        )
        size.append(state.weights.size)
        taken.append(bytes_alive() - before)
        del net, state
    (folder / f"bytes-{team.rank}.json").write_text(json.dumps([size, taken]))


def distance(net, x, generator):
    return (net(x, torch.full((len(x),), 0.5)) - x).square().sum(1)


def bytes_alive():
    """Of all tensors there are, each memory counted once."""
    gc.collect()
    held = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            thing = thing.to_local() if hasattr(thing, "to_local") else thing
            storage = thing.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


def stop():
    """Only the main process reports, so one of two is asked."""
    os.kill(os.getpid(), signal.SIGTERM)


def die_when(path):
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
