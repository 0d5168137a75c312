"""Runs with parts of a researcher's own, given as objects and registered by a plugin: the file of the how-to page."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import cli
from pushforward.cli.plugin import plugged
from pushforward.config import (
    ConditionConfig,
    Config,
    NetConfig,
    ObjectiveConfig,
    OwnParts,
    PathConfig,
    TrainConfig,
    current_parts,
)

ROOT = Path(__file__).parent.parent
REGISTRIES = (pf.NETS, pf.SCHEDULES, pf.SOURCES, pf.OBJECTIVES, pf.STEPPERS, pf.PATHS, pf.COUPLINGS, pf.TIMES)
SMALL = Config(train=TrainConfig(batch=64))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The file that the how-to page prints, in an empty folder, and what it registers forgotten afterwards."""
    text = (ROOT / "docs" / "how-to" / "own-parts.md").read_text()
    (tmp_path / "my_parts.py").write_text(re.search(r"```python\n(# my_parts\.py\n.*?)```", text, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    before = [dict(registry) for registry in REGISTRIES]
    yield tmp_path / "my_parts.py"
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name in ("my_parts", "opener"):
        sys.modules.pop(name, None)


@pytest.fixture
def mine(page):
    spec = importlib.util.spec_from_file_location("my_parts", page)
    module = sys.modules["my_parts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows():
    return torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.3])


def parts_of(mine, seed=0):
    torch.manual_seed(seed)
    return {"net": mine.Net((2,)), "path": pf.Affine(mine.Smooth(), mine.Wide()), "objective": mine.huber}


def command(*words):
    try:
        cli.main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_file_is_small(page):
    assert sum(1 for line in page.read_text().splitlines() if line.strip()) <= 60


def test_a_run_of_own_parts_goes_on_and_is_loaded(mine, rows, tmp_path):
    parts, out = parts_of(mine), tmp_path / "run"
    before = [p.clone() for p in parts["net"].parameters()]
    model = pf.train(rows, out, steps=3, config=SMALL, **parts)
    assert all(torch.equal(a, b) for a, b in zip(before, parts["net"].parameters(), strict=True))  # a copy was trained
    assert isinstance(model.field.path.source, mine.Wide)
    on = pf.train(rows, out, steps=8, config=SMALL, **parts)
    assert [int(line["step"]) for line in on.history()] == [3, 8]
    assert not torch.equal(next(model.net.parameters()), next(on.net.parameters()))
    np.testing.assert_array_equal(pf.load(out, parts=parts_of(mine, seed=1)).sample(7), on.sample(7))


def test_everything_is_done_with_such_a_run(mine, rows, tmp_path):
    parts = parts_of(mine)
    model = pf.train(rows, tmp_path / "run", steps=5, config=SMALL, **parts)
    assert model.sample(20, stepper=mine.third, steps=4).shape == (20, 2)
    x = rows[:5].numpy()
    # the density of the source that it was given, carried along
    back = model.encode(x)
    assert torch.isfinite(model.log_prob(x)).all()
    np.testing.assert_allclose(model.decode(back), x, atol=2e-2)
    assert json.loads(model.evaluate(rows, n=50, quick=True).to_json())
    assert model.tune(3).grid[-1] == 1
    model.export(tmp_path / "run.pt2", stepper=mine.third, steps=3)
    x0 = model.field.path.begin(4, (2,), seed=3)
    exported = torch.export.load(tmp_path / "run.pt2").module()(x0)
    np.testing.assert_allclose(exported, model.sample(4, stepper=mine.third, steps=3, seed=3), atol=1e-5)
    model.push(tmp_path / "shared")
    assert "path, " in (tmp_path / "shared" / "README.md").read_text()
    again = pf.load(tmp_path / "shared", parts=parts)
    np.testing.assert_array_equal(again.sample(4), model.sample(4))


def test_the_source_and_the_objective_are_those_that_were_given(mine, rows, tmp_path):
    seen = []

    def spying(field, draw, y, generator):
        seen.append(draw)
        return mine.huber(field, draw, y, generator)

    pf.train(rows, tmp_path / "run", steps=2, config=SMALL, **parts_of(mine) | {"objective": spying})
    x0 = torch.cat([draw.x0 for draw in seen])
    assert abs(float(x0.std()) - 2) < 0.2  # Wide(2.0)
    draw = seen[0]
    alpha = 3 * draw.t**2 - 2 * draw.t**3
    expected = alpha[:, None] * draw.x1 + (1 - alpha[:, None]) * draw.x0
    torch.testing.assert_close(draw.xt, expected.to(draw.xt), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("missing", ["net", "path", "objective"])
def test_loading_asks_for_the_parts(mine, rows, tmp_path, missing):
    parts = parts_of(mine)
    pf.train(rows, tmp_path / "run", steps=2, config=SMALL, **parts)
    with pytest.raises(pf.InputError, match=rf"{missing}: the author's own.*my_parts\.(Net|huber)"):
        pf.load(tmp_path / "run", parts={name: part for name, part in parts.items() if name != missing})
    with pytest.raises(pf.InputError, match="net, path, objective: the author's own"):
        pf.load(tmp_path / "run")


def test_nothing_is_imported_on_the_word_of_a_run(mine, rows, tmp_path):
    out = tmp_path / "run"
    pf.train(rows, out, steps=2, config=SMALL, **parts_of(mine))
    del sys.modules["my_parts"]
    with pytest.raises(pf.InputError):
        pf.load(out)
    assert command("sample", out, "-n", 3, "-o", "x.csv") == 2
    assert command("info", out) == 0
    assert "my_parts" not in sys.modules


def test_another_part_is_another_run(mine, rows, tmp_path):
    parts = parts_of(mine)
    pf.train(rows, tmp_path / "run", steps=2, config=SMALL, **parts)
    other = pf.Affine(mine.Smooth(), mine.Wide(3.0))
    with pytest.raises(pf.InputError, match=r"path was .*Wide\(std=2.0\).*is .*Wide\(std=3.0\)"):
        pf.train(rows, tmp_path / "run", steps=4, config=SMALL, **parts | {"path": other})
    with pytest.raises(pf.InputError, match="--net was own, is mlp"):
        pf.train(rows, tmp_path / "run", steps=4, config=SMALL, path=parts["path"], objective=parts["objective"])


def test_names_stand_beside_objects(rows, tmp_path):
    model = pf.train(
        rows,
        tmp_path / "run",
        steps=2,
        config=SMALL,
        net="mlp",
        schedule="vp:0.1,10",
        coupling="sinkhorn",
        times="even",
    )
    config = model.run.config
    assert (config.net.net, config.path.schedule, config.path.coupling) == ("mlp", "vp:0.1,10", "sinkhorn")
    assert model.run.parts == {} and pf.load(tmp_path / "run").field.path == model.field.path


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("schedule", pf.VP(0.1, 10.0)),
        ("source", pf.Mixture(torch.zeros(1, 2), torch.ones(1))),
        ("coupling", pf.OptimalTransport()),
        ("times", pf.Importance(torch.ones(4))),
        ("objective", pf.ImportanceWeighted(pf.Matching("velocity"), pf.Importance(torch.ones(4)))),
        ("path", pf.GeneralAffine(lambda z, t: t * z, lambda t: 1 - t)),
        ("path", pf.Affine(pf.CustomSchedule(lambda t: t, lambda t: 1 - t))),
    ],
)
def test_every_part_can_be_given_by_itself(rows, tmp_path, part, value):
    model = pf.train(rows, tmp_path / "run", steps=2, config=SMALL, **{part: value})
    again = pf.load(tmp_path / "run", parts={part: value})
    np.testing.assert_array_equal(again.sample(3), model.sample(3))
    with pytest.raises(pf.InputError, match=f"{part}: the author's own"):
        pf.load(tmp_path / "run")


def test_classes_reach_a_network_that_asks_for_them(tmp_path):
    seen = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x, t, y=None):
            seen.append(y)
            return self.layer(x)

    x, y = torch.randn(100, 2), torch.arange(100) % 3
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    pf.train(tmp_path / "data.npz", tmp_path / "plain", steps=2, net=Net())
    assert all(y is None for y in seen)
    seen.clear()
    labelled = Config(condition=ConditionConfig(condition="labels"))
    pf.train(tmp_path / "data.npz", tmp_path / "classes", steps=2, net=Net(), config=labelled)
    assert set(torch.cat([y for y in seen if y is not None]).tolist()) <= {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"net": torch.nn.Linear}, "net: is a class; give an object, Linear"),
        ({"net": lambda x, t, y: x}, "net: a torch.nn.Module"),
        ({"net": "nte"}, "unknown network 'nte'"),
        ({"schedule": "vpp"}, "unknown schedule 'vpp'; did you mean 'vp'"),
        ({"path": pf.Affine(), "source": pf.Normal()}, "source: the path that was given has its own"),
        ({"path": pf.Affine(), "schedule": "vp"}, "schedule: the path that was given has its own"),
        ({"times": lambda n, generator, schedule: torch.full((n,), 1.5)}, r"t \[n\] in \[0, 1\)"),
        ({"net": torch.nn.Identity(), "config": Config(net=NetConfig(width=8))}, "--width"),
        ({"objective": lambda *a: 0, "config": Config(objective=ObjectiveConfig(weighting="min_snr"))}, "--weighting"),
        ({"config": Config(path=PathConfig(path="own"))}, "path: the author's own"),
    ],
)
def test_what_cannot_be_a_part_is_refused(rows, tmp_path, parts, message):
    with pytest.raises(pf.InputError, match=message):
        pf.train(rows, tmp_path / "run", steps=2, **parts)
    assert not (tmp_path / "run").exists()


def test_parts_by_other_names_are_refused():
    with pytest.raises(pf.InputError, match="unknown part 'pth'; did you mean 'path'"):
        OwnParts.of({"pth": pf.Affine()})


def test_a_registered_part_is_a_name_at_once(mine, rows, tmp_path):
    config = Config(
        path=PathConfig(schedule="smooth", source="wide:1.5"), net=NetConfig(net="two_layers"), train=SMALL.train
    )
    model = pf.train(rows, tmp_path / "run", config=config, objective="huber", steps=2)
    assert model.field.path == pf.Affine(mine.Smooth(), mine.Wide(1.5))
    assert model.run.parts == {
        "net": "two_layers: my_parts.Net",
        "schedule": "smooth: my_parts.Smooth",
        "source": "wide: my_parts.Wide",
        "objective": "huber: my_parts.<lambda>",
    }
    assert pf.load(tmp_path / "run").sample(2).shape == (2, 2)


def test_the_command_line_takes_a_plugin(page, tmp_path, capsys):
    plug = ("--plugin", page)
    assert command("train", "moons", "--out", "run", "--schedule", "smooth", "--steps", 2) == 2
    assert "unknown schedule 'smooth'" in capsys.readouterr().err
    words = ("--net", "two_layers", "--width", 16, "--schedule", "smooth", "--objective", "huber", "--batch", 32)
    assert command("train", "moons", "--out", "run", *words, "--steps", 3, *plug) == 0
    assert command("train", "moons", "--out", "run", *words, "--steps", 5, f"--plugin={page}") == 0
    for line in (
        "sample run -n 20 -o x.csv --stepper third --steps 3",
        "score run x.csv --steps 3 -o nats.csv",
        "encode run x.csv -o z.npy",
        "tune run --nfe 3",
        "evaluate run --quick -n 30",
        "export run --steps 2 -o run.pt2",
        "push run ./shared",
    ):
        assert command(*line.split(), *plug) == 0, line
    assert "parts.Smooth" in Path("shared/README.md").read_text()
    # a command without it: one sentence, and what is written can still be read
    for registry in REGISTRIES:
        registry.pop("smooth", None)
    capsys.readouterr()
    assert command("sample", "run", "-n", 3, "-o", "x.csv") == 2
    said = capsys.readouterr().err
    assert "unknown schedule 'smooth'" in said and "my_parts.Smooth" in said and "--plugin FILE" in said
    assert said.count("\n") == 1
    assert command("info", "run") == 0
    assert "schedule: smooth: my_parts.Smooth" in capsys.readouterr().out


def test_a_plugin_opens_a_run_of_objects(mine, rows, tmp_path):
    pf.train(rows, tmp_path / "run", steps=2, config=SMALL, net=mine.Net((2,)))
    Path("opener.py").write_text("from my_parts import Net\n\nPARTS = {'net': Net((2,)), 'source': None}\n")
    assert command("sample", "run", "-n", 3, "-o", "x.csv") == 2
    assert command("sample", "run", "-n", 3, "-o", "x.csv", "--plugin", "opener.py") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "give a Python file that is there"),
        ("x = 1\ny = unheard\n", "line 2: NameError: name 'unheard' is not defined"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("PARTS = 3\n", "PARTS is a dict"),
        ("PARTS = {'nte': 3}\n", "unknown part 'nte'; did you mean 'net'"),
    ],
)
def test_a_plugin_that_fails_is_one_sentence(tmp_path, monkeypatch, capsys, text, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("broken_parts.py").write_text(text)
    assert command("train", "moons", "--out", "run", "--steps", 1, "--plugin", "broken_parts.py") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not Path("run").exists()
    sys.modules.pop("broken_parts", None)


def test_a_plugin_imports_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_parts.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Identity()\n")
    (folder / "parts_with_neighbour.py").write_text("from neighbour_of_parts import net\n\nPARTS = {'net': net()}\n")
    with plugged(["--plugin", str(folder / "parts_with_neighbour.py")]):
        assert isinstance(current_parts().net, torch.nn.Identity)
    assert current_parts().net is None
    for name in ("neighbour_of_parts", "parts_with_neighbour"):
        sys.modules.pop(name)


def test_a_plugin_does_not_take_the_name_of_another_module(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("json.py").write_text("")
    assert command("info", "run", "--plugin", "json.py") == 2
    assert "rename the file" in capsys.readouterr().err
