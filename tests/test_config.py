"""Configurations: parts written as text and built by their signatures, and what decides the network of a run."""

import inspect
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import train_into

import pushforward as pf
from pushforward import run as runs
from pushforward.config import (
    ConditionConfig,
    Config,
    NetConfig,
    ObjectiveConfig,
    PathConfig,
    Spec,
    TrainConfig,
    components,
    resolve,
)
from pushforward.data import DataSpec, save
from pushforward.nn import NETS
from pushforward.objective import WEIGHTS
from pushforward.tensor import GaussianMixture
from pushforward.training import Budget

pytestmark = pytest.mark.usefixtures("one_thread")

# ---- parts as text


def test_text_is_taken_apart():
    spec = Spec.parse("karras: 5 ,lowest=0.01")
    assert (spec.name, spec.arguments, spec.keywords) == ("karras", ("5",), (("lowest", "0.01"),))
    assert Spec.parse("heun") == Spec("heun", "heun") and Spec.parse("heun:").arguments == ()
    with pytest.raises(pf.InputError, match="'vp:beta_max=3,1': write values without a name first"):
        Spec.parse("vp:beta_max=3,1", "schedule")
    with pytest.raises(pf.InputError, match="one name twice"):
        Spec.parse("vp:beta_max=3,beta_max=4", "schedule")


IDS = lambda value: value if isinstance(value, str) else ""  # noqa: E731
BUILT = [
    (pf.STEPPERS, "adams_moulton:3", pf.AdamsMoulton(3)),
    (pf.STEPPERS, "adams_moulton:points=3", pf.AdamsMoulton(3)),
    (pf.STEPPERS, "dormand_prince:1e-3,50", pf.DormandPrince(1e-3, 50)),
    (pf.STEPPERS, "dormand_prince:most=5e1", pf.DormandPrince(most=50)),
    (pf.STEPPERS, "annealed_langevin:0.1,5", pf.AnnealedLangevin(0.1, 5)),
    (pf.STEPPERS, "predictor_corrector:heun,2,size=0.1", pf.PredictorCorrector(pf.Heun(), 2, 0.1)),
    (pf.STEPPERS, "ancestral:forward", pf.Ancestral("forward")),
    (pf.STEPPERS, "langevin:0.1,metropolis=true", pf.Langevin(0.1, metropolis=True)),
    (pf.STEPPERS, "stochastic_heun:0.5", pf.StochasticHeun(0.5)),
    (pf.SCHEDULES, "vp:0.2,beta_max=10", pf.VP(0.2, 10.0)),
    (pf.SOURCES, "uniform:-2,2", pf.Uniform(-2.0, 2.0)),
    (pf.COUPLINGS, "semidiscrete:batch=64", pf.Semidiscrete(batch=64)),
    (pf.COUPLINGS, "sinkhorn:0.1,iterations=1e3", pf.Sinkhorn(reg=0.1, iterations=1000)),
    (pf.COUPLINGS, "independent", pf.independent),
]


@pytest.mark.parametrize(("registry", "text", "expected"), BUILT, ids=IDS)
def test_arguments_are_cast_by_the_signature(registry, text, expected):
    part = Spec.parse(text, "part").build(registry, "part")
    assert type(part) is type(expected) and repr(part) == repr(expected)
    if isinstance(expected, pf.DormandPrince):
        assert type(part.most) is int and type(part.tol) is float


REFUSED = [
    (pf.STEPPERS, "adams_moulton:3.5", "'adams_moulton:3.5': points is a whole number, not '3.5'; write .*:points=2"),
    (pf.STEPPERS, "adams_moulton:3,velocity,4", "3 values without a name, where 2 go; write adams_moulton:points=2"),
    (pf.STEPPERS, "adams_moulton:3,4", "predicts is flow or velocity, not '4'"),
    (pf.STEPPERS, "adams_2:2", "'adams_2:2': takes no arguments, write adams_2"),
    (pf.STEPPERS, "dormand_prince:1e-3,1e-3", "most is a whole number, not '1e-3'; write .*tol=1e-05,most=1000"),
    (pf.STEPPERS, "predictor_corrector:1", "predictor is the name of a part, not '1'; write .*predictor=NAME,rounds=1"),
    (pf.STEPPERS, "predictor_corrector:adams_2", "remembers earlier states"),
    (pf.STEPPERS, "ancestral:sideways", "variance is posterior or forward, not 'sideways'"),
    (pf.STEPPERS, "langevin:0.1,1,2", "metropolis is true or false, not '2'"),
    (pf.STEPPERS, "annealed_langevin:0.1,size=2", "size is given twice"),
    (pf.STEPPERS, "annealed_langevin:siez=2", "it has no siez; write annealed_langevin:size=0.1"),
    (pf.STEPPERS, "huen", "unknown part 'huen'; did you mean 'heun'"),
    (pf.SCHEDULES, "vp:much", "'vp:much': beta_min is a number, not 'much'; write vp:beta_min=0.1,beta_max=20"),
    (pf.SCHEDULES, "vp:nan", "beta_min is a number, not 'nan'"),
    (pf.SCHEDULES, "vp:20,0.1", "'vp:20,0.1': VP"),
    (pf.SCHEDULES, "ddpm:3", "betas is linear or scaled_linear or cosine, not '3'; write ddpm:betas=linear,steps=1000"),
    (pf.SCHEDULES, "ddpm:cosine,0", "steps = 0: a chain has at least one"),
    (pf.SCHEDULES, "custom", "'custom' needs tensors or functions: use it from Python"),
    (pf.SOURCES, "mixture", "'mixture' needs tensors or functions: use it from Python"),
    (pf.COUPLINGS, "semidiscrete:1.5", "steps is a whole number, not '1.5'; write semidiscrete:steps=0,batch=512$"),
    (pf.COUPLINGS, "sinkhorn:space=euclidean", "space needs tensors or functions: use it from Python"),
    (pf.COUPLINGS, "independent:1", "takes no arguments, write independent"),
]  # fmt: skip


@pytest.mark.parametrize(("registry", "text", "words"), REFUSED, ids=IDS)
def test_what_does_not_fit_is_refused_with_the_signature(registry, text, words):
    with pytest.raises(pf.InputError, match=words) as refused:
        Spec.parse(text, "part").build(registry, "part")
    assert "\n" not in str(refused.value)


GRID = {"steps": 6, "schedule": pf.Cosine()}


def test_given_values_are_not_for_the_text_to_say():
    t = Spec.parse("karras:5,lowest=0.01").build(pf.GRIDS, "grid", GRID)
    assert (t == pf.GRIDS["karras"](6, pf.Cosine(), 5.0, lowest=0.01)).all()
    wrong = {"linear:3": "takes no arguments", "karras:a": "rho is a number", "karras:steps=3": "it has no steps"}
    for text, words in wrong.items():
        with pytest.raises(pf.InputError, match=f"grid '{text}': .*{words}"):
            Spec.parse(text).build(pf.GRIDS, "grid", GRID)


# text after a name -> of which every entry either builds a part or refuses in one sentence
TEXTS = ["", ":3", ":0.3", ":1,2", ":1,2,3,4,5,6,7,8", ":word", ":key=1", ":="]
REGISTRIES = {
    "schedule": pf.SCHEDULES,
    "source": pf.SOURCES,
    "path": pf.PATHS,
    "coupling": pf.COUPLINGS,
    "objective": pf.OBJECTIVES,
    "stepper": pf.STEPPERS,
    "grid": pf.GRIDS,
    "time law": pf.TIMES,
    "weighting": WEIGHTS,
}


@pytest.mark.parametrize("what", REGISTRIES)
def test_every_entry_builds_from_text_or_refuses_in_one_sentence(what):
    given = GRID if what == "grid" else {}
    for name, entry in REGISTRIES[what].items():
        for tail in TEXTS:
            try:
                Spec.parse(name + tail, what).build(REGISTRIES[what], what, given)
            except pf.InputError as refused:
                line = str(refused)
                assert name in line and "\n" not in line and len(line) < 250, line
                assert tail or "Python" in line, line  # by its name alone everything builds that can be written
            else:
                assert not tail or inspect.signature(entry).parameters, name + tail


# ---- what trains can be loaded


def rows_of(kind):
    """Sixty rows with classes, or of a table."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    if kind == "vectors":
        return {"x": rng.normal(size=(60, 3)) + y[:, None], "y": y}
    if kind == "pictures":
        return {"x": rng.integers(0, 255, (60, 5, 6)).astype(np.uint8), "y": y}
    gaps = [None if i % 7 == 0 else float(v) for i, v in enumerate(rng.normal(size=60))]
    return pa.table(
        {"kind": np.array(["a", "b", "c"])[rng.integers(0, 3, 60)], "size": rng.normal(size=60), "gap": gaps}
    )


def config_of(net, condition="auto"):
    return Config(
        net=NetConfig(net=net, width=8, depth=1),
        condition=ConditionConfig(condition=condition),
        train=TrainConfig(batch=16),
    )


def trains(source, folder, config, **how):
    """Whether two steps were made; False where the configuration is not for such data."""
    try:
        return train_into(source, folder, config, Budget(2, None), **how)
    except pf.InputError as refused:
        assert not (folder / "config.json").exists(), refused
        return False


@pytest.fixture(params=["vectors", "table", "pictures"])
def source(request, tmp_path):
    rows = rows_of(request.param)
    file = tmp_path / ("x.parquet" if request.param == "table" else "x.npz")
    save(rows, file) if request.param == "table" else np.savez(file, **rows)
    return request.param, file


def test_every_configuration_that_trains_loads_and_samples(source, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.callbacks, "preview", lambda *_: None)
    kind, file = source
    made = set()
    for net in NETS:
        for condition in ("none", "labels", "columns"):
            folder = tmp_path / f"{net}-{condition}"
            if trains(file, folder, config_of(net, condition)):
                assert len(pf.load(folder).sample(3, steps=2)) == 3
                made.add((net, condition))
    conditions = {"vectors": ("none", "labels"), "pictures": ("none", "labels"), "table": ("none", "columns")}[kind]
    nets = ["mlp", "tabular"] + (["unet", "dit"] if kind == "pictures" else [])
    assert made == {(net, condition) for net in nets for condition in conditions}
    for net in nets:
        folder = tmp_path / f"reflow-{net}"
        assert trains(None, folder, config_of(net), reflow=tmp_path / "mlp-none")
        assert len(pf.load(folder).sample(3, steps=2)) == 3
        assert json.loads((folder / "config.json").read_text())["data"]["pairs"] is True


def test_pairs_have_no_marginals_and_older_runs_are_read(tmp_path):
    folder = tmp_path / "run"
    save(rows_of("table"), tmp_path / "x.parquet")
    assert trains(tmp_path / "x.parquet", folder, config_of("tabular"))
    model = pf.load(folder)
    record, groups = model.run.data, model.transform.feature_groups
    assert record.spec(model.transform).feature_groups == groups and len(groups) == 4
    assert record.model_copy(update={"pairs": True}).spec(model.transform).feature_groups == ()
    file = json.loads((folder / "config.json").read_text())
    del file["data"]["pairs"], file["config"]["path"]["path"], file["checksum"]  # as before version 0.2
    (folder / "config.json").write_text(json.dumps(file))
    before = model.sample(5, steps=2)
    assert pf.load(folder).sample(5, steps=2).equals(before)


# ---- paths by name


def test_the_path_of_a_run_is_chosen_by_name(tmp_path):
    def path(**words):
        return components(Config(path=PathConfig(**words)), DataSpec((2,))).path

    assert path() == path(path="affine") == pf.Affine()
    assert path(schedule="vp:0.2", source="uniform") == pf.Affine(pf.VP(0.2), pf.Uniform())
    assert path(path="bridge:0.5") == pf.Bridge(0.5)
    assert path(path="bridge", source="laplace:2") == pf.Bridge(source=pf.Laplace(2.0))
    folder, rows = tmp_path / "run", np.random.default_rng(0).normal(size=(60, 2))
    assert trains(rows, folder, config_of("mlp").model_copy(update={"path": PathConfig(path="bridge:0.5")}))
    model = pf.load(folder)
    assert model.field.path == pf.Bridge(0.5) and np.isfinite(model.sample(5, steps=2)).all()


@pytest.mark.parametrize(
    ("path", "objective", "words"),
    [
        ({"path": "general_affine"}, {}, "'general_affine' needs tensors or functions: use it from Python"),
        ({"path": "affine:1"}, {}, "path 'affine:1': takes no arguments, write affine"),
        ({"path": "bridge:-1"}, {}, "path 'bridge:-1': Bridge.*sigma must be positive"),
        ({"path": "bridge:source=normal"}, {}, "it has no source; write bridge:sigma=1"),
        ({"path": "bridge", "schedule": "vp"}, {}, "--path bridge: has no schedule; leave out --schedule vp"),
        ({"path": "bridge"}, {"objective": "noise"}, "--objective noise .*: Bridge: .* on affine paths only"),
        ({"path": "bridge"}, {"weighting": "min_snr"}, "--weighting min_snr: Bridge: .* on affine paths only"),
        ({"path": "bridge"}, {"predicts": "v"}, "--predicts v: Bridge: .* on affine paths only"),
        (
            {"path": "bridge"},
            {"field": "joint", "predicts": "data"},
            "--field joint .*: Bridge: .* on affine paths only",
        ),
    ],
)
def test_what_a_path_does_not_have_is_refused(path, objective, words):
    with pytest.raises(ValueError, match=words):  # pydantic's own, where the name alone is wrong
        components(Config(path=PathConfig(**path), objective=ObjectiveConfig(**objective)), DataSpec((2,)))


@pytest.mark.parametrize(
    ("marginals", "change", "objective", "times"),
    [
        (True, {}, "flow_components", "logit_normal:0,1.5"),
        (True, {"field": "preconditioned"}, "flow", "logit_normal:1.5,2.2"),
        (True, {"coupling": "sinkhorn"}, "flow", "logit_normal:1.5,2.2"),
        (True, {"objective": "data"}, "data", "logit_normal:1.5,2.2"),
        (True, {"times": "uniform"}, "flow_components", "uniform"),
        (False, {}, "flow", "uniform"),
    ],
)
def test_what_tables_are_trained_by(marginals, change, objective, times):
    law = GaussianMixture(torch.zeros(1, 1), torch.ones(1), torch.ones(1))
    data = DataSpec((2,), 0, (law, law) if marginals else ())
    path = {name: value for name, value in change.items() if name == "coupling"}
    rest = {name: value for name, value in change.items() if name != "coupling"}
    found = resolve(Config(path=PathConfig(**path), objective=ObjectiveConfig(**rest)), data)
    assert (found.objective.objective, found.objective.times) == (objective, times)
    assert resolve(found, data) == found
