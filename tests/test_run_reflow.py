"""Reflow and floors of runs: pairs are those of the flow, and the loss stands beside what it cannot go below."""

import json

import numpy as np
import pytest
import torch
from helpers import train_into

import pushforward as pf
from pushforward.config import Config, NetConfig, TrainConfig, components
from pushforward.data import DataSpec
from pushforward.evaluation.losses import losses
from pushforward.run.reflow import make_pairs, paired
from pushforward.training import Budget

CONFIG = Config(net=NetConfig(width=32, depth=1), train=TrainConfig(batch=64, lr=1e-2, warmup=20))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two labelled clusters in the plane."""
    folder, rng = tmp_path_factory.mktemp("reflow"), np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    np.savez(folder / "data.npz", x=rng.normal(0, 0.2, (300, 2)) + np.where(y, 2.0, -2.0)[:, None], y=y)
    pf.train(folder / "data.npz", folder / "run", config=CONFIG, steps=120, checkpoint_every=60)
    return folder / "run"


def test_pairs_are_joined_by_the_flow(run, tmp_path):
    """Each row is where an independent solver arrives from its source point, for its class."""
    made = make_pairs(run, tmp_path / "new", 0, "cpu")
    x0, label = made.partners[:, :2], made.partners[:, 2].long()
    assert len(made.data) == 300 and (label == made.data.y).all() and set(label.tolist()) == {0, 1}
    with torch.no_grad():
        arrived = pf.integrate(pf.load(run).field, x0[:40], tol=1e-6, y=label[:40]).x[-1]
    assert (arrived - made.data.x[:40]).abs().max() < 5e-3
    again = make_pairs(run, tmp_path / "new", 0, "cpu")  # read back
    assert (again.data.x == made.data.x).all() and (again.partners == made.partners).all()
    (tmp_path / "new" / "pairs.safetensors").write_bytes(b"no")
    with pytest.raises(pf.InputError, match="damaged"):
        make_pairs(run, tmp_path / "new", 0, "cpu")


def test_partners_travel_with_their_rows(run, tmp_path):
    made = make_pairs(run, tmp_path, 0, "cpu")
    index = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:50]
    noise = torch.zeros(50, 2)
    x0, _, y = paired(noise, made.data.x[index], made.partners[index], torch.Generator())
    assert (x0 == made.partners[index, :2]).all() and (y == made.data.y[index]).all()
    unlabelled = made.partners.clone()
    unlabelled[:, 2] = -2
    assert paired(noise, made.data.x[index], unlabelled[index], torch.Generator())[2] is None


def test_a_straightened_run_goes_on_and_samples(run, tmp_path):
    out = tmp_path / "straight"
    pf.train(None, out, config=CONFIG, steps=20, reflow=run)
    assert train_into(None, out, CONFIG, Budget(30, None), reflow=run)
    model = pf.load(out)
    assert model.run.config.condition.condition == "labels" and model.sample(5, y=1, steps=2).shape == (5, 2)
    for words in ({"source": "moons", "reflow": run}, {"source": None}):
        with pytest.raises(pf.InputError, match="reflow"):
            pf.train(words["source"], tmp_path / "x", config=CONFIG, steps=1, reflow=words.get("reflow"))


def test_the_loss_stands_beside_its_floor(run, capsys):
    """What is written at each checkpoint is the oracle's loss, and `info` tells it."""
    lines = [json.loads(line) for line in (run / "floor.jsonl").read_text().splitlines()]
    found = [line for line in lines if "floor" in line]
    assert [line["step"] for line in found] == [60, 120]
    assert all(line["floor"] > 0 and line["excess"] > 0 and line["held_out_excess"] > 0 for line in found)
    assert found[1]["excess"] < found[0]["excess"]
    from pushforward.cli import main

    main(["info", str(run)])
    assert f"{found[-1]['floor']:.4f}; above it {found[-1]['excess']:.4f}" in capsys.readouterr().out


def test_losses_of_the_exact_field_are_the_floor(run):
    """A field that knows the training rows by heart has no excess on them, and a large one on others."""
    model = pf.load(run)
    config = model.run.config
    parts = components(config, DataSpec((2,), 2))
    data = pf.data.load(run.parent / "data.npz")
    train, held_out = data.split(0.1, 0)
    oracle = pf.EmpiricalField(parts.path, train.x, labels=train.y)
    found = losses(oracle, parts, config, (train.x, train.y), (held_out.x, held_out.y), seed=0)
    assert abs(found.excess.value) < 1e-6 and found.train.value == pytest.approx(found.floor.value)
    assert found.held_out_excess.value > 0.05
    few = losses(oracle, parts, config, (train.x, train.y), (held_out.x, held_out.y), seed=0, work=10)
    assert few.floor is None and "too many" in few.note and few.to_json() == {"floor_note": few.note}


def test_what_has_no_mirror_image_claims_no_folder(run, tmp_path):
    words = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"mirror": True})})
    with pytest.raises(pf.InputError, match="--mirror"):
        pf.train("moons", tmp_path / "run", config=words, steps=1)
    assert not (tmp_path / "run").exists()
    with pytest.raises(pf.InputError, match="--mirror"):
        pf.train(None, tmp_path / "straight", config=words, steps=1, reflow=run)
