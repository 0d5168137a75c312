"""What single samplers promise: moments without sampling, paths of noise, other people's numbers, tuning."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_mixture, golden, mixture, tensor
from laws import gaussian_flow, randn, slope
from scipy.integrate import solve_ivp

import pushforward as pf
from pushforward.config import make
from pushforward.metrics import energy_distance, sliced_wasserstein
from pushforward.run.sampling import default_sampler
from pushforward.sample import default_grid
from pushforward.sample.multistep import dpmpp_3m, unip, unipc
from pushforward.sample.noise import Brownian, NoiseStreams
from pushforward.sample.stepper import ConditionedField
from pushforward.sample.tune import FLOWS, equidistribution, tune

PEER = json.loads((Path(__file__).parent / "golden_peers" / "diffusers_ddpm.json").read_text())


def grid(start, end, steps):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


# -- stochastic steppers: on a Gaussian every step is affine, so mean and variance follow without a random number ------


class Basis:
    """Noise that names itself: the j-th draw is 1 in the j-th row and 0 in all others."""

    def __init__(self, rows):
        self.rows, self.drawn = rows, 0

    def fresh(self, k=0):
        self.drawn += 1
        unit = torch.zeros(self.rows, 1, dtype=torch.float64)
        unit[self.drawn + 1] = 1
        return unit

    def __call__(self):
        return self.fresh()

    def uniform(self, k=0):
        raise AssertionError("no stepper here draws uniforms")


def end_moments(field, stepper, times, mean, variance, draws):
    """Mean and variance at the end for N(mean, variance) at the start: the whole run as an affine map of x0 and noise.

    Row 0 starts at 0, row 1 at 1, both without noise; the others start at 0 and get one unit of one draw.
    """
    noise, x = Basis(draws + 2), torch.zeros(draws + 2, 1, dtype=torch.float64)
    x[1] = 1
    state = stepper.init(ConditionedField(field, None), x, times)
    for t, s in itertools.pairwise(times):
        x, state = stepper.step(ConditionedField(field, None), x, t, s, state, noise)
    assert noise.drawn <= draws
    shift, slopes = float(x[0]), (x[1:, 0] - x[0, 0])
    return shift + float(slopes[0]) * mean, float(slopes[0]) ** 2 * variance + float(slopes[1:].square().sum())


def gaussian(schedule, mean=0.7, std=0.4):
    field, _ = gaussian_flow(schedule, tensor([mean]), std)

    def law(t):
        alpha, beta = (float(v) for v in schedule(torch.tensor(t, dtype=torch.float64)))
        return alpha * mean, (alpha * std) ** 2 + beta**2

    return field, law


def weak_errors(stepper, schedule, start, end, counts):
    field, law = gaussian(schedule)
    out = []
    for n in counts:
        mean, variance = end_moments(field, stepper, grid(start, end, n), *law(start), 2 * n)
        out.append(abs(mean - law(end)[0]) + abs(variance - law(end)[1]))
    return out


SIGMAS = {
    "one": 1.0,
    "three": 3.0,
    "function": lambda t: 1 + t,
    "table": torch.tensor([0.0, 2.0, 0.5]),
    "reverse": pf.reverse_sigma(pf.Affine(pf.Cosine())),
}


@pytest.mark.parametrize("make", [pf.EulerMaruyama, pf.StochasticHeun], ids=lambda m: m.__name__)
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.usefixtures("unchecked")
def test_sde_weak_order_for_any_sigma(make, sigma):
    counts = [256, 512, 1024]
    if sigma == "table":  # its kinks fall on the grid
        errors = weak_errors(make(SIGMAS[sigma]), pf.Cosine(), 0.25, 0.75, counts)
    else:
        errors = weak_errors(make(SIGMAS[sigma]), pf.Cosine(), 0.2, 0.8, counts)
    assert abs(slope(counts, errors) - make().order) < 0.15, errors


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize("predicts", ["data", "noise"])
def test_stochastic_exponential_weak_order(tau, predicts):
    counts = [64, 128, 256]
    published = pf.STEPPERS["sde_dpmpp_2m"](tau)
    stepper = published if predicts == "data" else pf.Multistep("noise", predicts, "log_snr", 2, 1, tau=tau)
    errors = weak_errors(stepper, pf.Cosine(), 0.2, 0.8, counts)
    assert slope(counts, errors) > stepper.order - 0.15, errors


@pytest.mark.parametrize("stepper", [pf.DDIM(0.5), pf.DDIM(1.0), pf.Ancestral(), pf.Ancestral("forward")], ids=str)
def test_ancestral_moments_converge_at_order_one(stepper):
    counts = [64, 128, 256]
    assert abs(slope(counts, weak_errors(stepper, pf.Cosine(), 0.2, 0.8, counts)) - stepper.order) < 0.15


def test_ancestral_variances_are_exact_where_theory_says_so():
    # data of one point: the posterior variance, at any step; standard normal data on a variance-preserving path: the
    # forward variance, at any step (Ho et al. 2020, section 3.2)
    times = tensor([0.1, 0.35, 0.8])
    for stepper, std, mean in ((pf.Ancestral(), 1e-9, 0.7), (pf.DDIM(0.6), 1e-9, 0.7), (pf.Ancestral("forward"), 1, 0)):
        field, law = gaussian(pf.Cosine(), mean, std)
        got = end_moments(field, stepper, times, *law(0.1), 4)
        assert got == pytest.approx(law(0.8), rel=1e-12, abs=1e-12), stepper


def test_ancestral_on_the_whole_chain_is_ddpm():
    # the textbook's recursion for Gaussian data, from its own posterior coefficients, 50 steps
    chain = pf.DDPMSchedule.linear(50, 1e-3, 0.2)
    field, law = gaussian(chain)
    k = torch.arange(50, 0, -1)
    a, b, c = (v.tolist() for v in chain.posterior(k))
    mean, variance = law(0.0)
    for j, index in enumerate(k.tolist()):
        m, v = law(float(chain.time_of(torch.tensor(index))))
        alpha = float(chain(chain.time_of(torch.tensor(index)))[0])
        gain = alpha * 0.4**2 / v  # E[x_1 | x_k] = 0.7 + gain (x_k - m)
        slope_x = a[j] * gain + b[j]
        mean = a[j] * (0.7 - gain * m) + slope_x * mean
        variance = slope_x**2 * variance + (c[j] if index > 1 else 0)
    times = chain.time_of(torch.arange(50, -1, -1))
    assert end_moments(field, pf.Ancestral(), times, *law(0.0), 60) == pytest.approx((mean, variance), rel=1e-10)


def test_ddim_is_exponential_euler_and_ancestral_sampling():
    field, x = mixture(pf.Affine(pf.VP())), randn(9, 2, seed=1)
    one = pf.Multistep("exponential Euler", "data", "log_snr", 1, 1)
    a, b = (pf.integrate(field, x, stepper=s, steps=7).x[-1] for s in (pf.DDIM(), one))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    a, b = (pf.integrate(field, x, stepper=s, steps=7, seed=3).x[-1] for s in (pf.DDIM(1.0), pf.Ancestral()))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_stochastic_steppers_without_noise_are_their_flows():
    field, x = mixture(), randn(9, 2, seed=1)
    for stochastic, flow in ((pf.EulerMaruyama(0.0), pf.Euler()), (pf.StochasticHeun(0.0), pf.Heun())):
        ours, theirs = (pf.integrate(field, x, grid=grid(0, 0.9, 5), stepper=s).x[-1] for s in (stochastic, flow))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    still = pf.STEPPERS["sde_dpmpp_2m"](0.0), pf.STEPPERS["dpmpp_2m"]()
    ours, theirs = (pf.integrate(field, x, stepper=s, steps=5).x[-1] for s in still)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stepper", [pf.EulerMaruyama(1.0), pf.StochasticHeun(1.0)], ids=["em", "heun"])
@pytest.mark.usefixtures("unchecked")
def test_strong_order_on_one_brownian_path(stepper):
    field, x, counts = mixture(), randn(64, 2, seed=2), [16, 32, 64]
    fine = pf.integrate(field, x, grid=grid(0.1, 0.7, 512), stepper=stepper, seed=5).x[-1]
    errors = [
        float((pf.integrate(field, x, grid=grid(0.1, 0.7, n), stepper=stepper, seed=5).x[-1] - fine).norm())
        for n in counts
    ]
    assert abs(slope(counts, errors) - stepper.strong_order) < 0.2, errors


def test_brownian_path_is_a_function_of_time_with_independent_increments():
    like, times = torch.zeros(4000, 1, dtype=torch.float64), [0.1, 0.1001, 0.35, 0.5, 0.93]
    asked = Brownian(NoiseStreams(like, 7, 0))
    values = {t: asked(t) for t in times}
    other = Brownian(NoiseStreams(like, 7, 0))
    for t in reversed(times):
        assert torch.equal(other(t), values[t])
    paths = torch.cat([torch.zeros_like(like), *values.values()], 1)
    scaled = paths.diff(dim=1) / tensor([0, *times]).diff().sqrt()
    covariance = torch.cov(scaled.T)
    torch.testing.assert_close(covariance, torch.eye(5, dtype=torch.float64), rtol=0, atol=5 / 4000**0.5)
    assert bool((scaled.mean(0).abs() < 5 / 4000**0.5).all())


MIXTURES = {"two": (2, 3, 0), "other": (2, 5, 4), "five dimensions": (5, 3, 2)}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.usefixtures("unchecked")
def test_marginals_are_the_same_for_every_sigma(name, rng):
    d, k, seed = MIXTURES[name]
    field = mixture(d=d, k=k, seed=seed)
    n, data = 1500, None
    x0, data = torch.randn(n, d, generator=rng, dtype=torch.float64), draw_mixture(field, 4000, rng)
    floor = energy_distance(draw_mixture(field, n, rng), data)
    for sigma in (0.0, 1.0, 3.0, pf.reverse_sigma(field.path)):
        steps = pf.GRIDS["shifted"](150, pf.CondOT())
        stepper = pf.AdamsMoulton() if sigma == 0 else pf.StochasticHeun(sigma)
        x = pf.integrate(field, x0, grid=steps, stepper=stepper).x[-1]
        error = (data.var(0) * (1 / n + 1 / 4000)).sqrt()
        assert bool(((x.mean(0) - data.mean(0)).abs() < 4.5 * error + 0.01).all()), sigma
        spread = (torch.cov(x.T) - torch.cov(data.T)).abs() / torch.cov(data.T).diag().mean()
        assert float(spread.max()) < 0.15, sigma
        assert energy_distance(x, data) < floor + 0.01, sigma


def test_sigma_that_makes_no_sense_is_refused():
    for wrong in (-1.0, torch.tensor([1.0]), torch.tensor([1.0, -1.0]), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="sigma must be"):
            pf.EulerMaruyama(wrong)


# -- churn -------------------------------------------------------------------------------------------------------------


def test_churn_adds_the_noise_it_takes_away():
    # data of one point, where Heun in the noise-to-signal ratio is exact: the law at the end is the path's own
    field, law = gaussian(pf.EDM(), 0.7, 1e-9)
    times = pf.EDM().time_of_log_snr(-torch.tensor([20.0, 5.0, 1.0, 0.3], dtype=torch.float64).log())
    got = end_moments(field, pf.Churn(1.0), times, *law(float(times[0])), 6)
    assert got == pytest.approx(law(float(times[-1])), rel=1e-9)


# -- adaptive ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_adaptive_keeps_its_tolerance_and_agrees_with_scipy():
    field, x = mixture(), randn(5, 2, seed=3)
    exact = pf.integrate(field, x, grid=grid(0, 1, 600), stepper=pf.RK4()).x[-1]
    spent = []
    for tol in (1e-3, 1e-5, 1e-7):
        run = pf.integrate(field, x, tol=tol)
        assert float((run.x[-1] - exact).abs().max()) < 30 * tol
        assert bool(run.info["finished"].all()) and bool((run.info["reached"] == 1).all())
        spent.append(float(run.info["evaluations"].double().mean()))
    assert spent == sorted(spent) and spent[-1] > 2 * spent[0]
    peer = solve_ivp(lambda t, z: field.velocity(tensor([list(z)]), t)[0].numpy(), (0, 1), x[0].tolist(), rtol=1e-8)
    torch.testing.assert_close(pf.integrate(field, x[:1], tol=1e-8).x[-1][0], tensor(peer.y[:, -1]), rtol=0, atol=1e-6)


def test_adaptive_result_does_not_depend_on_batch_mates():
    field, x = mixture(), randn(6, 2, seed=3) * tensor([[1.0], [3.0], [0.1], [8.0], [1.0], [2.0]])
    together = pf.integrate(field, x, tol=1e-4)
    for i in range(6):
        alone = pf.integrate(field, x[i : i + 1], tol=1e-4)
        torch.testing.assert_close(alone.x[-1][0], together.x[-1][i], rtol=1e-12, atol=1e-12)
        for key in ("evaluations", "rejected"):
            assert int(alone.info[key]) == int(together.info[key][i])
    assert len(together.info["evaluations"].unique()) > 1  # steps of their own, not the worst one's for all


def test_adaptive_returns_the_best_state_and_a_flag_at_its_limit():
    field, x = mixture(), randn(4, 2, seed=3)
    run = pf.integrate(field, x, stepper=pf.DormandPrince(1e-9, most=3))
    assert not bool(run.info["finished"].any()) and run.x[-1].isfinite().all()
    for i in range(4):
        t = float(run.info["reached"][i])
        assert 0 < t < 1
        exact = pf.integrate(field, x[i : i + 1], grid=grid(0, t, 50), stepper=pf.RK4()).x[-1][0]
        torch.testing.assert_close(run.x[-1][i], exact, rtol=0, atol=1e-7)


def test_adaptive_counts_what_it_spends_and_rejects():
    count = torch.zeros((), dtype=torch.int64)

    def net(x, t, y):
        count.add_(len(x))
        return -50 * (x - torch.sin(6 * t)[:, None])

    run = pf.integrate(pf.Learned(net, pf.Affine()), randn(3, 1, seed=3), stepper=pf.DormandPrince(1e-4))
    assert int(run.info["evaluations"].sum()) == int(count) and int(run.info["rejected"].sum()) > 0
    assert run.nfe >= int(run.info["evaluations"].max())


@pytest.mark.usefixtures("unchecked")
def test_adaptive_stops_at_every_time_of_a_grid_and_runs_back():
    field, x = mixture(), randn(4, 2, seed=3)
    run = pf.integrate(field, x, grid=tensor([0.0, 0.2, 0.7]), stepper=pf.DormandPrince(1e-9), trajectory=True)
    for t, state in zip((0.2, 0.7), run.x[1:], strict=True):
        exact = pf.integrate(field, x, grid=grid(0, t, 300), stepper=pf.RK4()).x[-1]
        torch.testing.assert_close(state, exact, rtol=0, atol=1e-8)
    back = pf.integrate(field, run.x[-1], grid=tensor([0.7, 0.0]), stepper=pf.DormandPrince(1e-9)).x[-1]
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7)


# -- multistep ---------------------------------------------------------------------------------------------------------


def test_unip_coefficients_are_the_closed_form():
    # order 2 in log-SNR: int e^l (l - l_0) dl in closed form, uneven steps
    times = pf.CondOT().time_of_log_snr(tensor([-1.0, -0.2, 0.9]))
    table, _ = unip(2).tables(pf.CondOT(), times)
    h, back = 1.1, 0.8
    beta = 1 - times[2]
    end, start = math.exp(0.9), math.exp(-0.2)
    whole = float(beta) * (end - start)
    first = float(beta) * (h * end - (end - start))  # int e^l (l - l_0) dl
    expected = tensor([whole + first / back, -first / back])
    torch.testing.assert_close(table.weights[1], expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(table.keep[1], (1 - times[2]) / (1 - times[1]), rtol=1e-13, atol=0)


def test_a_polynomial_prediction_is_integrated_exactly():
    # u = 3 t^2 - t: three points suffice on any grid, once the start has them
    field = pf.Learned(lambda x, t, y: (3 * t**2 - t)[:, None] + 0 * x, pf.Affine())
    times = tensor([0.0, 0.05, 0.3, 0.42, 0.9, 1.0])
    states = pf.integrate(field, torch.zeros(1, 1).double(), grid=times, stepper=pf.Adams(3), trajectory=True).x[
        :, 0, 0
    ]
    exact = times**3 - times**2 / 2
    torch.testing.assert_close(states[4:] - states[3], exact[4:] - exact[3], rtol=1e-12, atol=1e-12)


def test_equal_steps_give_the_weights_of_adams_and_bashforth():
    table, _ = pf.Adams(3).tables(pf.CondOT(), grid(0, 1, 10))
    expected = tensor([23 / 12, -16 / 12, 5 / 12]) / 10
    torch.testing.assert_close(table.weights[5], expected, rtol=1e-12, atol=0)
    _, correct = pf.AdamsMoulton(2).tables(pf.CondOT(), grid(0, 1, 10))
    torch.testing.assert_close(correct.weights[5], tensor([5 / 12, 8 / 12, -1 / 12]) / 10, rtol=1e-12, atol=0)


def test_the_flow_row_does_not_care_for_the_schedule():
    x, ratios = randn(8, 2, seed=4), tensor([60.0, 4.0, 1.0, 0.3, 0.05])
    ends = []
    for schedule in (pf.CondOT(), pf.VP(), pf.EDM(), pf.Cosine()):
        times = schedule.time_of_log_snr(-ratios.log())
        alpha, beta = schedule(times)
        x0 = x * float(torch.hypot(alpha[0], beta[0]))
        end = pf.integrate(mixture(pf.Affine(schedule)), x0, grid=times, stepper=pf.AdamsMoulton()).x[-1]
        ends.append(end / float(torch.hypot(alpha[-1], beta[-1])))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


def test_own_table_is_used_as_it_is_and_checked():
    field, x = mixture(), randn(5, 2, seed=5)
    row = pf.Adams(2)
    predict, _ = row.tables(pf.CondOT(), grid(0, 1, 4))
    own = torch.cat([predict.keep[:, None], predict.weights], 1)
    mine = pf.Multistep("mine", "velocity", "time", 2, 2, table=own)
    a, b = (pf.integrate(field, x, stepper=s, steps=4).x[-1] for s in (row, mine))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"\(4, 3\).*5 steps"):
        pf.integrate(field, x, stepper=mine, steps=5)
    with pytest.raises(ValueError, match="no corrector"):
        pf.Multistep("x", "velocity", "time", 2, 2, tau=1.0)
    with pytest.raises(ValueError, match="affine paths only"):
        pf.integrate(pf.EmpiricalField(pf.Bridge(0.5), x), x, stepper=unip(2), steps=2)


@pytest.mark.usefixtures("unchecked")
def test_the_common_third_order_row_is_of_order_two_and_unip_is_not():
    field, x, counts = mixture(pf.Affine(pf.Cosine())), randn(8, 2, seed=6), [48, 96, 192]
    end = pf.integrate(field, x, grid=grid(0.3, 0.7, 300), stepper=pf.RK4()).x[-1]
    slopes = {}
    for stepper in (dpmpp_3m(), unip(3)):
        errors = [
            float((pf.integrate(field, x, grid=grid(0.3, 0.7, n), stepper=stepper).x[-1] - end).norm()) for n in counts
        ]
        slopes[stepper.name] = slope(counts, errors)
    assert slopes["dpmpp_3m"] < 2.2 and slopes["unip_3"] > 2.8


PEERS = {"ddim": pf.DDIM(), "dpmpp_2m": pf.STEPPERS["dpmpp_2m"](), "unipc_2": unipc(2), "heun": pf.Churn()}


@pytest.mark.parametrize("name", PEERS)
def test_trajectories_are_those_of_diffusers(name):
    record, chain = PEER["float64"]["trajectories"][name], pf.DDPMSchedule()
    states = tensor(record["states"])
    field = pf.MixtureField(pf.Affine(chain), tensor([[0.5, -1.0, 2.0]]), tensor([0.7]))
    times = chain.time_of(tensor(list(dict.fromkeys(record["timesteps"]))) + 1)
    x0 = states[0]
    if name == "heun":  # its states are x / alpha
        x0 = x0 * chain(times[0])[0]
    run = pf.integrate(field, x0, grid=torch.cat([times, tensor([1.0])]), stepper=PEERS[name], trajectory=True)
    torch.testing.assert_close(run.x[-1], states[-1], rtol=1e-9, atol=1e-9)
    assert run.nfe == len(states) - 1
    if name in ("ddim", "dpmpp_2m"):
        torch.testing.assert_close(run.x, states, rtol=1e-9, atol=1e-9)


# -- Langevin ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metropolis", [False, True])
@pytest.mark.usefixtures("unchecked")
def test_langevin_settles_at_the_five_modes(metropolis):
    figures = golden("langevin_mixture")
    means, weights = tensor(figures["means"])[:, None], tensor(figures["weights"])
    field = pf.MixtureField(pf.Affine(), means, torch.full((5,), figures["std"]).double(), weights)
    x0 = 3 * randn(1500, 1, seed=7)
    stepper = pf.Langevin(0.12 if metropolis else 0.03, metropolis=metropolis)
    run = pf.integrate(field, x0, stepper=stepper, steps=400 if metropolis else 1000)
    x = run.x[-1]
    error = math.sqrt(figures["variance"] / len(x))
    assert float(x.mean()) == pytest.approx(figures["mean"], abs=5 * error)
    # unadjusted, the variance within a mode is too large by about size / 2
    assert float(x.var()) == pytest.approx(figures["variance"], rel=0.12)
    if metropolis:
        assert 0.3 < float(run.info["accepted"].mean()) < 0.99


def test_unadjusted_langevin_has_the_stationary_variance_of_its_chain_and_metropolis_the_exact_one():
    # N(0, s^2): x' = (1 - e/s^2) x + sqrt(2 e) z is stationary at s^2 / (1 - e / (2 s^2))
    field, size = pf.MixtureField(pf.Affine(), torch.zeros(1, 1).double(), tensor([0.5])), 0.2
    mean, variance = end_moments(field, pf.Langevin(size), grid(0, 1, 60), 0.3, 1.0, 60)
    assert (mean, variance) == pytest.approx((0.0, 0.25 / (1 - size / 0.5)), abs=1e-9)
    x = pf.integrate(field, randn(20_000, 1, seed=8), stepper=pf.Langevin(size, metropolis=True), steps=60).x[-1]
    assert float(x.var()) == pytest.approx(0.25, rel=0.05)


def test_metropolis_needs_a_density():
    field = pf.Learned(mixture().velocity, pf.Affine())
    with pytest.raises(ValueError, match="has no log_prob"):
        pf.integrate(field, randn(3, 2), stepper=pf.Langevin(metropolis=True), steps=1)


@pytest.mark.usefixtures("unchecked")
def test_annealed_langevin_and_predictor_corrector_reach_the_data(rng):
    field = mixture()
    data = draw_mixture(field, 2000, rng)
    x0 = torch.randn(1000, 2, generator=rng, dtype=torch.float64)
    floor = energy_distance(draw_mixture(field, 1000, rng), data)
    far = energy_distance(x0, data)
    ladder = pf.integrate(field, x0, grid=pf.GRIDS["log_snr"](30, pf.CondOT()), stepper=pf.AnnealedLangevin(0.2, 20)).x[
        -1
    ]
    mended = pf.integrate(field, x0, grid=pf.GRIDS["shifted"](60, pf.CondOT()), stepper=pf.PredictorCorrector()).x[-1]
    for x in (ladder, mended):
        assert energy_distance(x, data) < floor + 0.05 * far
    with pytest.raises(ValueError, match="remembers earlier states"):
        pf.PredictorCorrector(pf.AdamsMoulton())


# -- one loop ----------------------------------------------------------------------------------------------------------


def test_two_ways_of_saying_the_grid_are_an_error():
    field, x = mixture(), randn(3, 2)
    for both in ({"steps": 3, "tol": 1e-3}, {"grid": grid(0, 1, 3), "steps": 3}, {"grid": grid(0, 1, 3), "tol": 1e-3}):
        with pytest.raises(ValueError, match="one of grid=, steps= and tol="):
            pf.integrate(field, x, **both)
    with pytest.raises(ValueError, match="kept by DormandPrince"):
        pf.integrate(field, x, tol=1e-3, stepper=pf.Heun())


def test_default_costs_one_evaluation_a_step_and_says_what_it_did():
    run = pf.integrate(mixture(), randn(3, 2), steps=8)
    assert run.nfe == 8 and len(run.x) == 1 and repr(run.stepper) == "adams_moulton_2"
    assert torch.equal(run.grid, pf.GRIDS["shifted"](8, pf.CondOT(), 0.8, 1.4)) and "8 steps" in repr(run)
    assert pf.integrate(mixture(), randn(3, 2), steps=8, trajectory=True).x.shape == (9, 3, 2)


NET = torch.nn.Identity()
USUAL = {  # path, what the network predicts: the method with 8 and with 20 steps, and its grid
    ("condot", "velocity"): ("adams_moulton_2", "adams_moulton_3", "shifted:0.8,1.4"),
    ("cosine", "v"): ("adams_moulton_2", "adams_moulton_3", "shifted:0.8,1.4"),
    ("vp", "velocity"): ("adams_moulton_velocity_2", "adams_moulton_velocity_3", "quadratic"),
    ("ddpm", "velocity"): ("adams_moulton_velocity_2", "adams_moulton_velocity_3", "quadratic"),
    ("vp", "noise"): ("adams_moulton_2", "adams_moulton_2", "both_ends"),
    ("condot", "score"): ("adams_moulton_2", "adams_moulton_2", "both_ends"),
    ("cosine", "data"): ("unipc_2", "unipc_2", "log_snr"),
}


@pytest.mark.parametrize(("schedule", "predicts"), USUAL)
def test_the_default_goes_by_what_the_network_predicts(schedule, predicts):
    few, many, grid = USUAL[schedule, predicts]
    field = pf.Learned(NET, pf.Affine(pf.SCHEDULES[schedule]()), predicts)
    for f in (field, pf.ClassifierFreeGuidance(field, 2.0)):
        for steps, name in ((8, few), (20, many)):
            times, stepper = pf.Sampler(steps=steps).plan(f)
            assert repr(stepper) == name and stepper.evaluations == 1
            given = {"steps": steps, "schedule": f.path.schedule}
            torch.testing.assert_close(times, make(pf.GRIDS, grid, "grid", given))
    preconditioned = pf.Sampler(steps=8).plan(pf.Preconditioned(NET, field.path))
    exact = pf.Sampler(steps=8).plan(mixture(field.path))
    assert torch.equal(preconditioned[0], exact[0]) and repr(exact[1]) == "adams_moulton_2"


@pytest.mark.parametrize("name", [name for name in pf.SCHEDULES if name not in ("warped", "custom")])
@pytest.mark.parametrize("steps", [1, 2, 3, 15, 16, 60])
def test_every_default_runs_and_ends_at_the_data(name, steps):
    """On the exact law of one point every path and prediction ends there, whatever the network predicts."""
    path, point = pf.Affine(pf.SCHEDULES[name]()), torch.tensor([1.5, -0.5], dtype=torch.float64)
    for predicts in ("velocity", "data", "noise", "v", "score"):

        def net(x, t, y, predicts=predicts):
            return path.convert(point.expand_as(x), x, t, "data", predicts)

        field = pf.Learned(net, path, predicts)
        run = pf.integrate(field, path.begin(3, (2,), dtype=torch.float64), steps=steps)
        assert run.nfe == steps and bool(run.x[-1].isfinite().all())
        if predicts == "data":
            torch.testing.assert_close(run.x[-1], point.expand(3, 2), rtol=0, atol=1e-6)


def test_a_table_is_sampled_by_what_its_network_predicts():
    """Near to the data where velocity or v is learned; a table of noise on VP had a grid on which its data are wild."""
    for predicts in ("velocity", "v"):
        field = pf.Learned(NET, pf.Affine(), predicts)
        times, stepper = default_sampler(field, "table", 8).plan(field)
        assert torch.equal(times, make(pf.GRIDS, "shifted:1,2", "grid", {"steps": 8, "schedule": pf.CondOT()}))
        assert repr(stepper) == "adams_moulton_2"
    for predicts in ("noise", "data", "score", "velocity"):
        field = pf.Learned(NET, pf.Affine(pf.VP()), predicts)
        table, other = (default_sampler(field, kind, 8).plan(field) for kind in ("table", "array"))
        assert torch.equal(table[0], other[0]) and repr(table[1]) == repr(other[1])


def test_steps_at_both_ends_go_around_what_is_singular():
    grid = pf.GRIDS["both_ends"](20, pf.CondOT())
    assert float((1 - grid[1]) / grid[1]) == pytest.approx(20) and len(grid) == 21 and bool((grid.diff() > 0).all())
    k = torch.linspace(0, 1, 21, dtype=torch.float64)
    torch.testing.assert_close(pf.GRIDS["both_ends"](20, pf.VP()), 1 - (1 - k**1.25) ** 2)
    few = pf.GRIDS["both_ends"](5, pf.VP())
    assert float(-pf.VP().log_snr(few[1:2])) == pytest.approx(math.log(10))
    torch.testing.assert_close(((1 - few[1:]) / (1 - few[1])).sqrt(), torch.linspace(1, 0, 5, dtype=torch.float64))
    assert pf.GRIDS["both_ends"](1, pf.CondOT()).tolist() == [0, 1]
    with pytest.raises(ValueError, match="needs first >= 1"):
        pf.GRIDS["both_ends"](5, pf.VP(), 0.5)
    with pytest.raises(TypeError, match="give the schedule"):
        pf.GRIDS["both_ends"](5)


COMPILED = """
import torch, pushforward as pf
field = pf.Learned(lambda x, t, y: torch.tanh(x) * t[:, None], pf.Affine())
x, times = torch.ones(4, 2), torch.linspace(0, 1, 11, dtype=torch.float64)
for name in ("adams_moulton", "heun", "unipc_2", "ddim", "euler_maruyama", "stochastic_heun", "churn", "ancestral"):
    graphs = []
    torch._dynamo.reset()
    stepper = pf.STEPPERS[name]()
    step = torch.compile(stepper.step, fullgraph=True, backend=lambda m, i: graphs.append(m) or m.forward)
    state, y, seen = stepper.init(field, x, times), x, []
    for i in range(10):
        y, state = step(field, y, times[i], times[i + 1], state, lambda: torch.zeros(4, 2))
        seen.append(len(graphs))
    assert seen[4] <= 4 and seen[8] == seen[4] and seen[9] <= seen[4] + 1, (name, seen)  # the last step may differ
    end = pf.integrate(field, x, grid=times, stepper=stepper).x[-1]
    torch.testing.assert_close(y, end) if name in ("heun", "ddim") else None
"""


def test_steps_compile_as_whole_graphs_and_are_not_compiled_again():
    # in a process of its own: the run-time type checks of this one cannot be traced
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# -- tuning ------------------------------------------------------------------------------------------------------------


def eight():
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    return pf.MixtureField(pf.Affine(), torch.stack([angle.cos(), angle.sin()], 1), torch.full((8,), 0.12).double())


def endpoint_error(field, x0, end, times, stepper):
    x = pf.integrate(field, x0, grid=times, stepper=stepper).x[-1]
    return float((x - end).square().mean().sqrt() / end.std())


def test_equidistribution_grid_has_equal_shares_of_the_change_it_measures():
    # N(m, s^2): along its flow D - m ~ alpha / sqrt(alpha^2 s^2 + beta^2), so |dD/dl| is known
    field, _ = gaussian_flow(pf.CondOT(), tensor([0.7]), 0.4)
    times = equidistribution(field, 10, randn(128, 1, seed=9), fine=400)
    assert times.shape == (11,) and times[0] == 0 and times[-1] == 1 and bool((times.diff() > 0).all())
    log_snr = pf.CondOT().log_snr(grid(0, 1, 400)[[1, 399]])  # where the fine run looks
    fine = torch.linspace(float(log_snr[0]), float(log_snr[1]), 200_001, dtype=torch.float64)
    data = fine.exp() / ((0.4 * fine.exp()) ** 2 + 1).sqrt()
    share = data.diff().div(fine.diff()).sqrt() * fine.diff()
    share = share / share.sum() + 0.05 * fine.diff() / (fine[-1] - fine[0])
    place = share.cumsum(0) / share.sum()
    at = place[torch.searchsorted(fine, pf.CondOT().log_snr(times[1:-1])) - 1]
    torch.testing.assert_close(at, torch.arange(1, 10).double() / 10, rtol=0, atol=0.01)


@pytest.fixture
def short_search(monkeypatch):
    kept = ("adams_moulton", "unipc_3", "heun")
    room = sys.modules["pushforward.sample.tune"]  # the name in the package is the function
    monkeypatch.setattr(room, "FLOWS", {name: FLOWS[name] for name in kept})
    monkeypatch.setattr(room, "SHIFTS", (0.45, 0.8))
    monkeypatch.setattr(room, "ATTEMPTS", 12)
    monkeypatch.setattr(room, "SEARCHED", 1)
    monkeypatch.setattr(room, "REFERENCE_STEPS", 100)


@pytest.mark.usefixtures("unchecked")
def test_tune_is_better_than_the_default_on_new_noise_and_never_worse_than_what_it_tried(short_search):
    field = eight()
    found = tune(field, 6, n=64, seed=1)
    assert found.error <= found.best_untuned and len(found.grid) == 7
    assert min(t.score for t in found.tried if "searched" not in t.grid) == found.best_untuned
    x0 = randn(300, 2, seed=10)
    end = pf.integrate(field, x0, grid=grid(0, 1, 400), stepper=pf.RK4()).x[-1]
    tuned = endpoint_error(field, x0, end, found.grid, found.stepper)
    assert tuned < 0.7 * endpoint_error(field, x0, end, default_grid(field, 6), pf.AdamsMoulton())
    again = tune(field, 6, n=64, seed=1)
    assert torch.equal(again.grid, found.grid) and again.name == found.name
    uniform = pf.EmpiricalField(pf.Affine(source=pf.Uniform()), eight().means)  # no score: no diffusion is tried
    assert tune(uniform, 3, shape=(2,), n=16, data=randn(40, 2), dtype=torch.float64).error >= 0
    for nfe in (1, 2):
        few = tune(field, nfe, n=32)
        assert pf.integrate(field, x0, grid=few.grid, stepper=few.stepper).nfe <= nfe


@pytest.mark.usefixtures("unchecked")
def test_tune_finds_that_noise_mends_a_field_that_is_wrong(rng, short_search):
    # a score that is right and a velocity that shrinks everything: the flow ends too narrow, a diffusion is pulled back
    exact = mixture()

    class Wrong(pf.Field):
        path = exact.path

        def evaluate(self, names, x, t, y=None):
            velocity, score, data, noise = exact.evaluate(("velocity", "score", "data", "noise"), x, t)
            known = {"velocity": velocity - 0.7 * x, "score": score, "data": data, "noise": noise}
            return tuple(known[name] for name in names)

    data = draw_mixture(exact, 1000, rng)
    found = tune(Wrong(), 16, shape=(2,), n=200, data=data, dtype=torch.float64)
    assert any(t.measure == "distance of samples" for t in found.tried)
    x0 = torch.randn(1000, 2, generator=rng, dtype=torch.float64)
    x = pf.integrate(Wrong(), x0, grid=found.grid, stepper=found.stepper).x[-1]
    assert sliced_wasserstein(x, data) < 3 * sliced_wasserstein(draw_mixture(exact, 1000, rng), data)


def test_tune_says_what_it_needs():
    with pytest.raises(ValueError, match="at least one evaluation"):
        tune(mixture(), 0)
    with pytest.raises(ValueError, match="shape"):
        tune(pf.Learned(lambda x, t, y: x, pf.Affine()), 4)
    with pytest.raises(ValueError, match="not finite"):
        tune(pf.Learned(lambda x, t, y: x / 0, pf.Affine()), 4, shape=(2,))


def test_rooms_are_reached_from_the_package():
    code = "import pushforward as pf; assert pf.sample.tune and pf.metrics.mmd and pf.likelihood.METHODS; pf.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "no attribute 'nothing'" in done.stderr
