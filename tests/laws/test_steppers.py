"""Laws of steppers: order, exactness in the limit, and samples that depend on their number alone."""

import pytest
import torch
from conftest import draw_mixture, mixture

import pushforward as pf
from laws import gaussian_flow, randn, schedules, slope

# by what is asked of their order; a stepper added to the registry fails here until it has its place
METHODS = {name: make() for name, make in pf.STEPPERS.items()}

STOCHASTIC = {name for name, stepper in METHODS.items() if stepper.stochastic}

CHAINS = {name for name, stepper in METHODS.items() if "score" in stepper.uses and "velocity" not in stepper.uses}

ADAPTIVE = {name for name, stepper in METHODS.items() if stepper.adaptive}  # in tests/test_sample.py

FLOWS = [name for name in pf.STEPPERS if name not in STOCHASTIC | CHAINS | ADAPTIVE]

ONE_WAY = {name for name, stepper in METHODS.items() if stepper.one_way}


@pytest.fixture(scope="module")
def mixture_flow():
    """A mixture's own flow on the cosine path from t = 0.3 to 0.7, by classical Runge-Kutta to rounding."""
    field, x = mixture(pf.Affine(pf.Cosine())), randn(20, 2, seed=19)
    return (
        field,
        x,
        pf.integrate(field, x, grid=torch.linspace(0.3, 0.7, 501, dtype=torch.float64), stepper=pf.RK4()).x[-1],
    )


@pytest.mark.parametrize("name", FLOWS)
def test_stepper_order_is_as_declared(name, mixture_flow):
    stepper, (field, x, end) = pf.STEPPERS[name](), mixture_flow
    steps = [8, 16, 32] if isinstance(stepper, pf.RungeKutta) else [64, 128, 256]
    grids = [torch.linspace(0.3, 0.7, n + 1, dtype=torch.float64) for n in steps]
    errors = [float((pf.integrate(field, x, grid=grid, stepper=stepper).x[-1] - end).norm()) for grid in grids]
    assert abs(slope(steps, errors) - stepper.order) < 0.15, (slope(steps, errors), errors)


@pytest.mark.parametrize("name", FLOWS)
def test_stepper_carries_a_gaussian_exactly_in_the_limit(name):
    field, flow = gaussian_flow(pf.VP(), torch.tensor([1.0, -2.0], dtype=torch.float64), 0.4)
    x, grid = randn(20, 2, seed=19), torch.linspace(0.05, 0.95, 201, dtype=torch.float64)
    error = (pf.integrate(field, x, grid=grid, stepper=pf.STEPPERS[name]()).x[-1] - flow(x, 0.05, 0.95)).abs().max()
    assert float(error) < {1.0: 4e-2, 2.0: 4e-3, 3.0: 3e-4, 4.0: 1e-7}[float(pf.STEPPERS[name]().order)]


@schedules
@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_one_and_two_steps_are_finite_for_every_prediction(schedule, name):
    exact = mixture(pf.Affine(schedule))
    x = exact.path.initial_state(randn(6, 2, seed=20))
    stepper = pf.DormandPrince(most=5) if name == "dormand_prince" else pf.STEPPERS[name]()
    for predicts in pf.PREDICTIONS:
        net = lambda x, t, y, predicts=predicts: getattr(exact, predicts)(x, t)  # noqa: E731
        field = pf.Learned(net, exact.path, predicts)
        ways = [(1, False), (2, False), (2, True)] if predicts == "velocity" else [(2, False)]
        for steps, reverse in ways[: 2 if name in ONE_WAY else 3]:
            out = pf.integrate(field, x, stepper=stepper, steps=steps, reverse=reverse).x[-1]
            assert out.isfinite().all() and out.shape == x.shape, (predicts, steps, reverse)


class Recorder(pf.Field):
    """A field that writes down what it is asked for."""

    def __init__(self, field):
        self.path, self.field, self.names = field.path, field, []

    def evaluate(self, names, x, t, y=None):
        self.names.append(names)
        return self.field.evaluate(names, x, t, y)


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_states_what_it_does(name):
    # between the ends, where no first or last step is a special one
    field, stepper = Recorder(mixture()), pf.STEPPERS[name]()
    x, grid = randn(6, 2, seed=26), torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    runs = [pf.integrate(field, x, grid=grid, stepper=stepper, seed=seed) for seed in (0, 1)]
    assert torch.equal(runs[0].x, runs[1].x) != stepper.stochastic
    if stepper.adaptive:
        assert (runs[0].nfe - 6) % stepper.evaluations == 0  # one more for each of the six intervals of the grid
    else:
        assert runs[0].nfe == 6 * stepper.evaluations
    assert {asked for names in field.names for asked in names} <= set(stepper.uses)


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_that_needs_an_affine_path_refuses_others_in_one_sentence(name):
    stepper, bridge = pf.STEPPERS[name](), pf.EmpiricalField(pf.Bridge(0.5), randn(5, 2, seed=27))
    if "affine" in stepper.needs:
        with pytest.raises(
            ValueError, match=r"^[^\n]+: Bridge: predictions convert into each other on affine paths only$"
        ):
            pf.integrate(bridge, randn(3, 2), stepper=stepper, steps=3)
    else:
        assert pf.integrate(bridge, randn(3, 2), stepper=stepper, steps=3).x.isfinite().all()


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_stepper_runs_back_along_the_same_flow_or_says_why_not(name):
    field, flow = gaussian_flow(pf.CondOT(), torch.tensor([1.0, -2.0], dtype=torch.float64), 0.4)
    x, stepper = randn(20, 2, seed=21), pf.STEPPERS[name]()
    if name in ONE_WAY:
        with pytest.raises(ValueError, match=r"towards? the data|to the data"):
            pf.integrate(field, x, stepper=stepper, steps=10, reverse=True)
    elif name in FLOWS or name in ADAPTIVE:
        y = pf.integrate(field, flow(x, 0.0, 1.0), stepper=stepper, steps=100, reverse=True).x[-1]
        tolerance = {1.0: 0.2, 2.0: 2e-2, 3.0: 2e-2}.get(stepper.order, 1e-4)
        torch.testing.assert_close(y, x, rtol=0, atol=tolerance)


@schedules
def test_integration_of_the_oracle_carries_the_source_to_the_data(schedule, rng):
    # moments of the end points against the mixture's own, in units of their standard error; the default sampler
    field = mixture(pf.Affine(schedule))
    x0 = torch.randn(10_000, 2, generator=rng, dtype=torch.float64)
    x = pf.integrate(field, field.path.initial_state(x0), steps=40).x[-1]
    y = draw_mixture(field, 10_000, rng)
    for f in (lambda z: z, lambda z: z**2, lambda z: z**3, lambda z: z[:, :1] * z[:, 1:]):
        a, b = f(x), f(y)
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert bool(((a.mean(0) - b.mean(0)).abs() < 4.5 * error + 0.01).all())


@pytest.mark.parametrize("name", pf.STEPPERS)
def test_sample_is_independent_of_batch_size(name):
    field = mixture()
    stepper = pf.STEPPERS[name]()
    whole = pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=3)
    for batch in (7, 64):
        torch.testing.assert_close(
            pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=3, batch_size=batch),
            whole,
            rtol=1e-5,
            atol=1e-6,
        )
    alone = pf.generate(
        field, 6, (2,), stepper=stepper, steps=2, seed=3, first=30, batch_size=1
    )  # across a block of 32
    torch.testing.assert_close(alone, whole[30:36], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(pf.generate(field, 70, (2,), stepper=stepper, steps=2, seed=4), whole)
