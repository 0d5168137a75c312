"""What a researcher's own programs ran into: conditions by name, wrong shapes and times, modes, starts."""

import dataclasses
import warnings

import jaxtyping
import pytest
import torch
from laws import randn

import pushforward as pf
from pushforward.config import make
from pushforward.path import PATHS

PATH = pf.Affine()


class Shifted(pf.Field):
    """The exact field of ``N(label + vector, 1)``, of one condition by two names: what a class and a number say."""

    path = PATH

    def evaluate(self, names, x, t, y=None):
        mean = 0 * x if y is None else (y["label"].to(x)[:, None] + y["vector"].to(x)).expand_as(x)
        data = pf.MixtureField(PATH, torch.zeros(1, 2, dtype=x.dtype), torch.ones(1, dtype=x.dtype))
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1).to(x)
        # x_t of the shifted law is that of the other moved by t mean
        answers = data.evaluate(("data",), x - t * mean, t.reshape(-1) if t.numel() > 1 else t.reshape(()), None)
        return tuple(PATH.convert(answers[0] + mean, x, t.reshape(-1).expand(len(x)), "data", name) for name in names)


def by_name(n):
    return {"label": torch.arange(n) % 3, "vector": torch.linspace(-1, 1, n)[:, None]}


def test_conditions_by_name_sample_and_have_densities():
    field, n = Shifted(), 37
    y = by_name(n)
    mean = (y["label"].double()[:, None] + y["vector"].double()).expand(n, 2)
    # every sample is its noise moved by its own mean: the variance is that of the source
    x = pf.generate(field, n, (2,), y=y, steps=400, dtype=torch.float64, batch_size=16, grid=None)
    start = PATH.begin(n, (2,), dtype=torch.float64)
    torch.testing.assert_close(x, start + mean, atol=1e-3, rtol=0)
    normal = torch.distributions.Normal(mean, 1.0)
    exact = normal.log_prob(x).sum(1)
    torch.testing.assert_close(pf.log_prob(field, x, y=y, tol=1e-6), exact, atol=1e-5, rtol=0)
    found = pf.log_likelihood(field, x, y=y, steps=50, batch_size=10)
    torch.testing.assert_close(found.log_prob, exact, atol=1e-4, rtol=0)
    back = pf.encode(field, x, y=y, tol=1e-8)
    torch.testing.assert_close(back, x - mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(pf.decode(field, back, y=y, tol=1e-8), x, atol=1e-6, rtol=0)
    drawn, likelihood = pf.sample_with_log_prob(field, n, (2,), y=y, dtype=torch.float64, batch_size=16)
    torch.testing.assert_close(likelihood.log_prob, normal.log_prob(drawn).sum(1), atol=1e-4, rtol=0)
    way = pf.interpolate(field, x[:5], x[5:10], y={name: value[:5] for name, value in y.items()}, points=3, tol=1e-8)
    torch.testing.assert_close(way[0], x[:5], atol=1e-6, rtol=0)


def test_one_condition_is_that_of_all():
    field, one = Shifted(), {"label": torch.tensor([2]), "vector": torch.tensor([[0.5]])}
    many = {"label": torch.full((9,), 2), "vector": torch.full((9, 1), 0.5)}
    x = pf.generate(field, 9, (2,), y=many, steps=5)
    assert torch.equal(pf.generate(field, 9, (2,), y=one, steps=5), x)
    assert torch.equal(
        pf.integrate(field, PATH.begin(9, (2,)), y=one, steps=5).x[-1],
        pf.integrate(field, PATH.begin(9, (2,)), y=many, steps=5).x[-1],
    )
    torch.testing.assert_close(pf.log_prob(field, x, y=one, steps=9), pf.log_prob(field, x, y=many, steps=9))
    oracle = pf.EmpiricalField(PATH, randn(20, 2), labels=torch.arange(20) % 2)
    assert torch.equal(
        pf.generate(oracle, 8, (2,), y=torch.tensor([1]), steps=4, dtype=torch.float64),
        pf.generate(oracle, 8, (2,), y=torch.ones(8, dtype=torch.int64), steps=4, dtype=torch.float64),
    )
    for call in (
        lambda: pf.generate(oracle, 8, (2,), y=torch.ones(3, dtype=torch.int64), steps=4),
        lambda: pf.log_prob(oracle, randn(8, 2), y=torch.ones(3, dtype=torch.int64), steps=4),
        lambda: pf.integrate(oracle, randn(8, 2), y=torch.ones(3, dtype=torch.int64), steps=4),
    ):
        with pytest.raises(ValueError, match=r"y has 3 rows for 8 .*one for each, or a single one for all"):
            call()


@pytest.mark.parametrize("name", ["optimal_transport", "sinkhorn", "independent", "immiscible", "schrodinger_bridge"])
def test_couplings_carry_conditions_by_name(name):
    n, g = 60, torch.Generator().manual_seed(0)
    x0, x1, y = torch.randn(n, 2, generator=g), torch.randn(n, 2, generator=g), by_name(n)
    coupling = pf.COUPLINGS[name]()
    a, b, c = coupling(x0, x1, y, torch.Generator().manual_seed(1))
    # each row of data keeps its own condition
    where = (b[:, None] == x1[None]).all(2).float().argmax(1)
    assert torch.equal(c["label"], y["label"][where]) and torch.equal(c["vector"], y["vector"][where])
    if name == "optimal_transport":  # a class is coupled within itself, as it is when it is the only condition
        source = (a[:, None] == x0[None]).all(2).float().argmax(1)
        assert torch.equal(y["label"][source], c["label"])
        alone = coupling(x0, x1, y["label"], torch.Generator().manual_seed(1))
        named = coupling(x0, x1, {"label": y["label"]}, torch.Generator().manual_seed(1))
        assert torch.equal(alone[0], named[0]) and torch.equal(alone[2], named[2]["label"])


@pytest.mark.parametrize("answer", [(5, 1), (5,), (1, 2), (5, 2, 1), (5, 3)])
@pytest.mark.parametrize("kind", [pf.Learned, pf.Preconditioned])
def test_a_network_of_another_shape_is_refused(kind, answer):
    field = kind(lambda x, t, y: torch.zeros(answer), PATH)
    with pytest.raises(ValueError, match=rf"{kind.__name__}: the network gave shape .* for points \(5, 2\)"):
        field.velocity(torch.zeros(5, 2), 0.5)


@pytest.mark.parametrize("t", [1.5, -0.1, float("nan"), torch.tensor([0.5, 2.0])])
def test_times_are_within_zero_and_one(t):
    with pytest.raises(ValueError, match=r"times are in \[0, 1\]"):
        PATH.draw(torch.zeros(2, 2), torch.ones(2, 2), t)


@pytest.mark.parametrize(
    ("alpha", "beta", "message"),
    [
        (lambda t: 0.9 * t, lambda t: 1 - t, "at t = 1 is the data"),
        (lambda t: t, lambda t: 1.1 - t, "at t = 1 is the data"),
        (lambda t: 0.5 + t / 2, lambda t: 1 - t, "at t = 0 is noise"),
        (lambda t: t, lambda t: (1 - t).sqrt(), "a slope of alpha or beta is not finite"),
    ],
)
def test_a_schedule_with_wrong_ends_is_refused(alpha, beta, message):
    with pytest.raises(ValueError, match=message):
        pf.CustomSchedule(alpha, beta)


@pytest.mark.parametrize(("scale", "message"), [(lambda t: 0.9 - 0.9 * t, "scale"), (lambda t: 1 - 0.9 * t, "scale")])
def test_a_general_path_with_wrong_ends_is_refused(scale, message):
    with pytest.raises(ValueError, match=message):
        pf.GeneralAffine(lambda z, t: t * z, scale)


@pytest.mark.parametrize(
    ("a", "b", "order"),
    [
        (((), (0.5,)), (1.0,), 2),
        (((0.5,), ()), (0.0, 1.0), 2),
        (((), (0.5,)), (0.5, 0.6), 2),
        (((), (0.5, 0.5)), (0.0, 1.0), 2),
        (((), (0.5,)), (0.0, 1.0), 0),
    ],
)
def test_a_malformed_tableau_is_refused(a, b, order):
    with pytest.raises(ValueError, match="RungeKutta 'odd'"):
        pf.RungeKutta("odd", a=a, b=b, order=order)


@pytest.mark.parametrize("name", ["logit_normal", "log_normal"])
@pytest.mark.parametrize("std", [0.0, -1.0, float("inf")])
def test_a_time_law_without_width_is_refused(name, std):
    with pytest.raises(ValueError, match=r"std = .* must be positive"):
        pf.TIMES[name](0.0, std)(3, torch.Generator(), pf.CondOT())


@pytest.mark.parametrize(
    "make", [lambda: pf.Affine("vp"), lambda: pf.Affine(source="uniform"), lambda: pf.Bridge(1.0, "normal")]
)
def test_parts_that_are_words_are_refused_at_once(make, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # whose checks would speak first
    with pytest.raises(TypeError, match=r"is a str; write pf\."):
        make()


class Dropping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.layer, self.modes = torch.nn.Dropout(0.5), torch.nn.Linear(2, 2), []
        self.layer.eval()

    def forward(self, x, t, y=None):
        self.modes.append((self.training, self.drop.training, self.layer.training))
        return self.layer(self.drop(x))


@pytest.mark.parametrize("wrap", [lambda field: field, lambda field: pf.AutoGuidance(field, field, 1.0)])
def test_samples_are_drawn_in_evaluation_mode_and_the_network_left_as_it_was(wrap):
    net = Dropping()
    field = wrap(pf.Learned(net, PATH))
    first, again = (pf.generate(field, 20, (2,), steps=3) for _ in range(2))
    assert torch.equal(first, again) and set(net.modes) == {(False, False, False)}
    assert net.training and net.drop.training and not net.layer.training
    with pytest.raises(ValueError, match=r"at least one"):
        pf.generate(field, 20, (2,), steps=0)
    assert net.training


@pytest.mark.parametrize("schedule", [pf.EDM(), pf.VE()])
def test_a_start_without_the_scale_of_the_path_is_told(schedule):
    field = pf.MixtureField(pf.Affine(schedule), torch.zeros(1, 2), torch.ones(1))
    noise = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"begins with \d+; start with field.path.begin"):
        pf.integrate(field, noise, steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.integrate(field, field.path.initial_state(noise), steps=3)
        pf.integrate(field, noise, steps=3, reverse=True)  # which begins at the data
        pf.generate(field, 100, (2,), steps=3)


def cases():
    two = {"means": torch.zeros(1, 2), "stds": torch.ones(1)}
    special = {
        "general_affine": lambda: pf.GeneralAffine(lambda z, t: t * z, lambda t: 1 - t),
        "characteristics": lambda: pf.Characteristics(lambda x, z, t: (x - t * z) / (1 - t)),
        "bridge": lambda: pf.Bridge(0.7, pf.Mixture(**two)),
    }
    schedules = [make() for name, make in pf.SCHEDULES.items() if name not in ("warped", "custom")]
    paths = [special[name]() if name in special else make() for name, make in PATHS.items()]
    return [*paths, *(pf.Affine(schedule) for schedule in schedules), pf.Affine(pf.Warped(pf.CondOT(), lambda t: t**2))]


@pytest.mark.parametrize("path", cases(), ids=lambda path: repr(path)[:50])
def test_the_velocity_that_a_path_states_is_the_derivative_of_its_curve(path):
    x0, x1 = randn(40, 2, seed=1), randn(40, 2, seed=2)
    t = torch.linspace(0.0203, 0.9797, 40, dtype=torch.float64)
    draw = path.draw(x0, x1, t, torch.Generator().manual_seed(0))
    curve = path.curve(x0, x1, torch.Generator().manual_seed(0))
    h = 1e-6
    torch.testing.assert_close(draw.xt, curve(t))
    torch.testing.assert_close(draw.ut, (curve(t + h) - curve(t - h)) / (2 * h), rtol=1e-4, atol=1e-4)
    assert dataclasses.fields(draw)


def test_a_schrodinger_bridge_asks_for_its_path(tmp_path):
    rows = randn(64, 2).float().numpy()
    with pytest.raises(pf.InputError, match=r"--coupling schrodinger_bridge:0.5: .* give --path bridge:0.5, too"):
        pf.train(rows, tmp_path / "run", coupling="schrodinger_bridge:0.5", steps=2)
    with pytest.raises(pf.InputError, match=r"give --path bridge:0.5, too"):
        pf.train(rows, tmp_path / "run", coupling="schrodinger_bridge:0.5", path="bridge:1", steps=2)
    model = pf.train(rows, tmp_path / "run", coupling="schrodinger_bridge:0.5", path="bridge:0.5", steps=2)
    assert model.field.path == pf.Bridge(0.5) and model.sample(3).shape == (3, 2)


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "cosine"])
def test_chains_have_their_betas_by_name(betas):
    made = make(pf.SCHEDULES, f"ddpm:{betas},200", "schedule")
    assert torch.equal(made.betas, getattr(pf.DDPMSchedule, betas)(200).betas)
    assert len(make(pf.SCHEDULES, "ddpm:steps=50", "schedule").betas) == 50


@pytest.mark.parametrize(
    "schedule", [pf.SCHEDULES["ddpm"](), pf.SCHEDULES["ddpm"]("cosine", 200)], ids=["linear", "cosine"]
)
def test_adaptive_densities_arrive_on_the_schedule_of_a_chain(schedule):
    """Its noise rate jumps at every step: of 148 points 22 did not arrive, at four times the evaluations."""
    means, stds = 2 * randn(4, 2, seed=1), torch.tensor([0.3, 0.5, 0.2, 0.4], dtype=torch.float64)
    field = pf.MixtureField(pf.Affine(schedule), means, stds)
    x = 2 * randn(8, 2, seed=2)
    found = pf.log_likelihood(field, x, tol=1e-4)
    smooth = pf.log_likelihood(pf.MixtureField(pf.Affine(pf.VP()), means, stds), x, tol=1e-4)
    assert bool(found.step_error.isfinite().all()) and found.nfe < 1.5 * smooth.nfe
    # of the chain's flow, which begins in a law that is normal to alpha_0 only
    alpha = float(schedule(torch.zeros((), dtype=torch.float64))[0])
    torch.testing.assert_close(found.log_prob, field.log_prob(x, 1.0), rtol=0, atol=1e-3 + 8 * alpha)


class Doubled(pf.schedule.Schedule):
    """A chain's schedule at twice the scale of its noise, which is none of unit variance; it begins at 2."""

    chain = pf.SCHEDULES["ddpm"]("linear", 200)
    smooth = False

    def __call__(self, t):
        alpha, beta = self.chain(t)
        return alpha, 2 * beta

    def variance(self, t):
        return 4 * self.chain.variance(t)


@pytest.mark.usefixtures("unchecked", "one_thread")
@pytest.mark.parametrize("schedule", [pf.SCHEDULES["ddpm"]("linear", 10), Doubled()], ids=["short", "doubled"])
def test_densities_on_any_schedule_that_jumps_are_those_of_a_fine_grid(schedule):
    """A chain of ten steps ends far from pure noise: its smooth clock had a noise rate that fell. And other scales."""
    means, stds = 2 * randn(3, 2, seed=1), torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64)
    field, x = pf.MixtureField(pf.Affine(schedule), means, stds), 2 * randn(4, 2, seed=2)
    found = pf.log_likelihood(field, x, tol=1e-4)
    # between the chain's own times nothing jumps; the last step, into data, is the finest
    own = 1 - torch.linspace(0, 1, 401, dtype=torch.float64).square()
    grid = torch.cat([own, torch.arange(1, 200) / 200]).unique(sorted=True).flip(0)
    fine = pf.log_likelihood(field, x, grid=grid, stepper=pf.RK4())
    torch.testing.assert_close(found.log_prob, fine.log_prob, rtol=0, atol=1e-2)
