"""The average that a run ends with: the best of all that were kept, on held-out rows."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pushforward as pf
from pushforward import run
from pushforward.batches import BatchRecipe, feed_for
from pushforward.cli import main
from pushforward.config import Config, NetConfig, TrainConfig, components
from pushforward.run.selection import Selection, read_selection

STEPS = 600


def config(weights):
    return Config(net=NetConfig(width=64, depth=2), train=TrainConfig(batch=64, warmup=20, lr=3e-3, weights=weights))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Forty rows, which a network soon knows by heart: the same training, with both ends."""
    folder, said = tmp_path_factory.mktemp("selection"), []
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    for weights in ("best", "last"):
        pf.train(
            rows, folder / weights, config=config(weights), steps=STEPS, report_every=50, checkpoint_every=400,
            warn=said.append,
        )  # fmt: skip
    return folder, rows, said


def flat(path, net):
    """The weights of a run, or of a snapshot, in the order of the network's parameters."""
    tensors = load_file(path)
    if "ema" in tensors:
        return tensors["ema"].flatten()
    return torch.cat([tensors[name].flatten() for name, _ in net.named_parameters()])


def test_the_weights_are_those_of_the_best_average(runs):
    """By the loss of each average on points of held-out rows that the choice did not see."""
    folder, rows, _ = runs
    best, last = (pf.load(folder / name) for name in ("best", "last"))
    selection = read_selection(folder / "best")
    assert read_selection(folder / "last") is None
    assert selection.steps[-1] == STEPS and selection.best < len(selection.steps) - 1
    (kept,) = (folder / "best" / "averages" / f"step-{selection.steps[selection.best]}").glob("*.safetensors")
    models = {"best": best, "last": last}
    ends = {name: flat(folder / name / "model.safetensors", model.net) for name, model in models.items()}
    assert torch.equal(ends["best"], flat(kept, None)) and not torch.equal(ends["last"], ends["best"])

    data = pf.data.load(rows)
    _, held_out = data.parts(best.run.config.train.held_out, best.run.config.train.seed)
    parts = components(best.run.config, data.transform.spec())
    recipe = BatchRecipe(parts.path, parts.coupling, parts.times, len(held_out), 1, parts.draw_condition, None)
    feed = feed_for(data.x, None, recipe, 12345, 1, held_out)
    found = {}
    for name, model in models.items():
        draws = [parts.objective(model.field, feed(k)[0], None, torch.Generator()).detach() for k in range(1500)]
        found[name] = torch.cat(draws).double()
    error = float((found["best"] - found["last"]).std()) / math.sqrt(len(found["best"]))
    gain = float((found["last"] - found["best"]).mean())
    assert gain > 5 * error
    assert gain == pytest.approx(
        -selection.differences[selection.best], abs=4 * (error + selection.errors[selection.best])
    )


def test_it_is_said_and_warned_of(runs, capsys):
    folder, _, said = runs
    (kept,) = [text for text in said if text.startswith("average of step")]
    assert "more (--weights last keeps it)" in kept
    assert sum("has risen since step" in text for text in said) == 2  # once in each run
    main(["info", str(folder / "best")])
    assert kept in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "best" / "selection.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines) and lines[-1]["difference"] == 0


def test_training_that_goes_on_chooses_again(runs, tmp_path):
    """From the state of training, not from the weights that were chosen."""
    _, rows, _ = runs
    for weights in ("best", "last"):
        for steps in (100, 200):
            options = {"config": config(weights), "report_every": 50, "checkpoint_every": 100}
            pf.train(rows, tmp_path / weights, steps=steps, **options)
    folders = [tmp_path / weights / "checkpoints" / "step-200" for weights in ("best", "last")]
    states = [load_file(next(folder.glob("*.safetensors"))) for folder in folders]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert read_selection(tmp_path / "best").steps[-1] == 200


def test_the_choice():
    """The least loss, unless the last one is within its error of it; a damaged file is none."""
    steps, losses = (100, 200, 300), (0.5, 0.4, 0.41)
    assert Selection(steps, losses, (0.09, -0.01, 0.0), (0.01, 0.001, 0.0)).best == 1
    assert Selection(steps, losses, (0.09, -0.01, 0.0), (0.01, 0.02, 0.0)).best == 2
    assert "the best of 3 averages" in Selection(steps, losses, (0.09, -0.01, 0.0), (0.01, 0.02, 0.0)).describe()


def test_short_trainings_keep_the_last(tmp_path):
    """Where the choice would take more than its share."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    pf.train(rows, tmp_path / "run", steps=10, config=Config(net=NetConfig(width=8, depth=1)), report_every=5)
    assert read_selection(tmp_path / "run") is None
    assert run.read(tmp_path / "run").config.train.weights == "best"


def test_averages_before_the_first_report_are_kept_too(tmp_path):
    """At each power of two from 16 on: rows that are few are known by heart before the first report."""
    rows = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    pf.train(rows, tmp_path / "run", config=config("best"), steps=300, report_every=200, checkpoint_every=300)
    steps = {int(path.name[5:]) for path in (tmp_path / "run" / "averages").iterdir()}
    assert steps == {16, 32, 64, 128, 200, 300}
    assert read_selection(tmp_path / "run").steps == (16, 32, 64, 128, 200, 300)
