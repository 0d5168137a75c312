"""Reference figures computed without this project, read from the project's copy in tests/golden."""

import pytest
import torch
from conftest import GOLDEN_SCHEDULES, golden, tensor

import pushforward as pf


@pytest.mark.parametrize("case", golden("conversions")["cases"], ids=lambda c: f"{c['schedule']}-{c['t']}")
def test_conversions(case):
    path = pf.Affine(GOLDEN_SCHEDULES[case["schedule"]])
    w = path.schedule.at(tensor(case["t"]))
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


@pytest.mark.parametrize("case", golden("probability_flow_endpoints")["cases"], ids=lambda c: c["schedule"])
def test_probability_flow_endpoints(case):
    path = pf.Affine(GOLDEN_SCHEDULES[case["schedule"]])
    field = pf.MixtureField(path, tensor(case["means"]), tensor(case["stds"]), tensor(case["weights"]))
    grid = torch.linspace(0, case["t_end"], 401, dtype=torch.float64)
    end = pf.integrate(field, tensor(case["start"]), grid, pf.RK4()).x[-1]
    torch.testing.assert_close(end, tensor(case["end"]), rtol=0, atol=1e-6)
