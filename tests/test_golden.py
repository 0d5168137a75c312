"""Reference figures computed without this project, read from the project's copy in tests/golden."""

import pytest
import torch
from conftest import GOLDEN_SCHEDULES, golden, tensor

import pushforward as pf


@pytest.mark.parametrize("case", golden("conversions")["cases"], ids=lambda c: f"{c['schedule']}-{c['t']}")
def test_conversions(case):
    path = pf.Affine(GOLDEN_SCHEDULES[case["schedule"]])
    w = path.schedule.coefficients(tensor(case["t"]))
    for name in ("alpha", "beta", "d_alpha", "d_beta"):
        assert float(getattr(w, name)) == pytest.approx(case[name], rel=1e-9, abs=1e-12)
    x = tensor(case["x"])[None]
    quantities = ("data", "noise", "velocity", "score")
    for frm in quantities:
        for to in quantities:
            got = pf.convert(tensor(case[frm])[None], x, case["t"], path, frm, to)
            torch.testing.assert_close(got[0], tensor(case[to]), rtol=1e-9, atol=1e-9)
    draw = path.draw(tensor(case["noise"])[None], tensor(case["data"])[None], case["t"])
    torch.testing.assert_close(draw.xt, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(draw.ut[0], tensor(case["velocity"]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["isotropic", "diagonal", "full"])
def test_mixture_marginals(form):
    for case in golden("gaussian_mixture_marginals")["cases"]:
        stds, d = tensor(case["stds"]), len(case["x"])
        shape = {
            "isotropic": {"stds": stds},
            "diagonal": {"stds": stds[:, None].expand(-1, d)},
            "full": {"covariances": stds.square()[:, None, None] * torch.eye(d, dtype=torch.float64)},
        }[form]
        path = pf.Affine(GOLDEN_SCHEDULES[case["schedule"]])
        field = pf.MixtureField(path, tensor(case["means"]), weights=tensor(case["weights"]), **shape)
        x = tensor(case["x"])[None]
        assert float(field.log_prob(x, case["t"])) == pytest.approx(case["log_prob"], rel=1e-9, abs=1e-9)
        for name in ("score", "data", "noise", "velocity"):
            torch.testing.assert_close(getattr(field, name)(x, case["t"])[0], tensor(case[name]), rtol=1e-9, atol=1e-9)


def curved(inverse):
    """The family of trajectory_family.json: x_t = z + (x0 - z)(1 - t)^k(z), k(z) = 1 + tanh(z)/2."""
    k = lambda z: 1 + 0.5 * torch.tanh(z)  # noqa: E731
    phi = lambda x, z, t: z + (x - z) * (1 - t) ** -k(z)  # noqa: E731
    back = lambda x0, z, t: z + (x0 - z) * (1 - t) ** k(z)  # noqa: E731
    return pf.Characteristics(phi, inverse=back if inverse else None)


@pytest.mark.parametrize("inverse", [True, False])
def test_trajectory_family(inverse):
    path, cases = curved(inverse), golden("trajectory_family")["cases"]
    z, t, x = (tensor([case[key] for case in cases]) for key in ("z", "t", "x"))
    velocity, log_prob = (tensor([case[key] for case in cases]) for key in ("velocity", "log_prob"))
    x, z = x[:, None], z[:, None]
    torch.testing.assert_close(path.velocity(x, z, t)[:, 0], velocity, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(path.log_prob(x, z, t), log_prob, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(path.draw(path.source_point(x, z, t), z, t).ut[:, 0], velocity, rtol=1e-8, atol=1e-8)


UNIFORM_PATHS = {
    "affine": pf.Affine(pf.CondOT(), pf.Uniform(0, 2)),
    "characteristics": pf.Characteristics(lambda x, z, t: (x - t * z) / (1 - t), pf.Uniform(0, 2)),
}


@pytest.mark.parametrize("path", UNIFORM_PATHS.values(), ids=UNIFORM_PATHS)
def test_uniform_prior_field(path):
    figures = golden("uniform_prior_field")
    field = pf.EmpiricalField(path, tensor(figures["data"])[:, None])
    x, t = (tensor([case[key] for case in figures["cases"]]) for key in ("x", "t"))
    velocity, density = (tensor([case[key] for case in figures["cases"]]) for key in ("velocity", "density"))
    torch.testing.assert_close(field.velocity(x[:, None], t)[:, 0], velocity, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(field.log_prob(x[:, None], t).exp(), density, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", golden("probability_flow_endpoints")["cases"], ids=lambda c: c["schedule"])
def test_probability_flow_endpoints(case):
    path = pf.Affine(GOLDEN_SCHEDULES[case["schedule"]])
    field = pf.MixtureField(path, tensor(case["means"]), tensor(case["stds"]), tensor(case["weights"]))
    grid = torch.linspace(0, case["t_end"], 201, dtype=torch.float64)
    end = pf.integrate(field, tensor(case["start"]), grid=grid, stepper=pf.RK4()).x[-1]
    torch.testing.assert_close(end, tensor(case["end"]), rtol=0, atol=1e-6)
