"""The equations as tests: residuals for every schedule, data law and sigma; and that wrong fields are caught."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import mixture
from laws import SCHEDULES, inner, randn

import pushforward as pf
from pushforward import cli, equations
from pushforward.field import Field
from pushforward.tensor import divergence, laplacian

LAWS = ["isotropic", "diagonal", "full"]


def problem(schedule, law, d=2):
    """A field and points where its density is not negligible, at seven signal-to-noise ratios."""
    field = mixture(pf.Affine(schedule), d=d, law=law)
    t = inner(schedule)
    x1 = field.means[torch.arange(7) % 3] + 0.3 * randn(7, d, seed=40)
    return field, field.path.draw(randn(7, d, seed=41), x1, t).xt, t


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("law", LAWS)
def test_residuals_vanish_for_every_schedule_law_and_sigma(schedule, law):
    field, x, t = problem(schedule, law)
    # a residual is a difference of rates, and its rounding scales with them: large where noise falls steeply
    w = schedule.coefficients(t)
    rate = (1 + (w.d_alpha / w.alpha).abs() + (w.beta_d_beta / w.beta.square()).abs()) * (1 + x.square().sum(1))
    assert bool((equations.continuity_residual(field, x, t).abs() < 1e-10 * rate.clamp(max=1e3)).all())
    for sigma in (0.0, 0.7, 3.0):
        residual = equations.fokker_planck_residual(field, x, t, sigma)
        assert bool((residual.abs() < 1e-8 * rate.clamp(max=1e3)).all()), (sigma, residual)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_residuals_in_absolute_terms(name, law):
    # 1e-10 and 1e-8 as they stand, at the times where the laws of data and noise are both seen
    schedule = SCHEDULES[name]
    field = mixture(pf.Affine(schedule), law=law)
    t = schedule.time_of_log_snr(torch.linspace(-2, 1.5, 9, dtype=torch.float64))
    x = field.path.draw(randn(9, 2, seed=42), field.means[torch.arange(9) % 3], t).xt
    assert equations.continuity_residual(field, x, t).abs().max() < 1e-10
    for sigma in (0.5, 1.0, 3.0):
        assert equations.fokker_planck_residual(field, x, t, sigma).abs().max() < 1e-8


class Wrong(Field):
    """An oracle with one quantity a tenth of a percent off."""

    def __init__(self, field, name):
        self.path, self.field, self.name = field.path, field, name

    def evaluate(self, names, x, t, y=None):
        values = self.field.evaluate(names, x, t, y)
        return tuple(v * (1.001 if name == self.name else 1.0) for name, v in zip(names, values, strict=True))

    def log_prob(self, x, t, *, y=None):
        return self.field.log_prob(x, t, y=y)


def test_residuals_catch_a_wrong_velocity_and_a_wrong_score():
    field, x, t = problem(pf.CondOT(), "isotropic")
    assert equations.continuity_residual(Wrong(field, "velocity"), x, t).abs().max() > 1e-4
    assert equations.continuity_residual(Wrong(field, "score"), x, t).abs().max() < 1e-10
    assert equations.fokker_planck_residual(Wrong(field, "score"), x, t, 1.0).abs().max() > 1e-4
    # another field's velocity against this density
    assert equations.continuity_residual(field, x, t, Wrong(field, "velocity")).abs().max() > 1e-4


def test_continuity_of_the_empirical_field_and_of_images():
    data = randn(12, 1, 2, 3, seed=43)
    field = pf.EmpiricalField(pf.Affine(), data)
    flat = pf.EmpiricalField(pf.Affine(), data.flatten(1))
    x, t = randn(5, 1, 2, 3, seed=44), torch.tensor([0.1, 0.3, 0.4, 0.5, 0.6], dtype=torch.float64)
    residual = equations.continuity_residual(field, x, t)
    assert residual.abs().max() < 1e-10
    assert equations.fokker_planck_residual(field, x, t, 1.0).abs().max() < 1e-8
    torch.testing.assert_close(field.velocity(x, t).flatten(1), flat.velocity(x.flatten(1), t))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 2)])
@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_divergence_and_laplacian_of_a_quadratic_form(shape, chunk):
    n, d = 4, int(torch.tensor(shape).prod())
    a = randn(d, d, seed=45)
    x = randn(n, *shape, seed=46)
    f = lambda z: (z.flatten(1) @ a.T * z.flatten(1).sum(1, keepdim=True)).reshape(z.shape)  # noqa: E731
    rows = x.flatten(1)
    # f_i = (A x)_i sum(x): div = tr(A) sum(x) + sum_i (A x)_i
    expected = a.trace() * rows.sum(1) + (rows @ a.T).sum(1)
    torch.testing.assert_close(divergence(f, x, chunk), expected)
    g = lambda z: torch.einsum("ni,ij,nj->n", z.flatten(1), a, z.flatten(1))  # noqa: E731
    torch.testing.assert_close(laplacian(g, x, chunk), (2 * a.trace()).expand(n))


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_verify_passes_from_the_command_line():
    # in a process of its own, where no run-time type checks slow it down
    done = subprocess.run([sys.executable, "-m", "pushforward", "verify", "--json"], capture_output=True, text=True)
    checks = json.loads(done.stdout)
    assert done.returncode == 0 and len(checks) >= 9
    assert all(c["verdict"] == "PASS" and 0 <= c["difference"] <= c["tolerance"] for c in checks)


def test_verify_command_prints_json_and_fails_with_code_1(monkeypatch, capsys):
    bad = ("a false statement", "1 | 2", lambda: 1.0, 1e-3)
    monkeypatch.setattr(equations, "CHECKS", (equations.CHECKS[2], bad))
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert stop.value.code == 1 and [row["verdict"] for row in rows] == ["PASS", "FAIL"]
    monkeypatch.setattr(equations, "CHECKS", equations.CHECKS[:1])
    cli.main(["verify"])
    assert "PASS" in capsys.readouterr().out


def test_verify_a_learned_field_measures_its_distance_from_the_oracle():
    data = randn(40, 2, seed=47)
    oracle = pf.EmpiricalField(pf.Affine(), data)
    for scale in (1.0, 1.1):
        net = lambda x, t, y, scale=scale: scale * oracle.velocity(x, t.clone())  # noqa: E731
        checks = {c.statement: c for c in equations.verify_learned(pf.Learned(net, pf.Affine()), data)}
        relative = checks["velocity against the training set's exact one"].difference
        assert relative == pytest.approx(scale - 1, abs=1e-6)
        residual = checks["continuity equation against the training set"].difference
        assert (residual < 1e-8) == (scale == 1)
        assert checks["score and velocity say the same (C)"].verdict == "PASS"
