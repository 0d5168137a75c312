"""The default sampler on trained networks of every schedule and prediction, among all named steppers and grids.

Called by ``python benchmarks/samplers.py --learned``; needs nothing but the package. Networks of 96 hidden units learn
two moons, each by its own loss (2,000 steps of 256 rows), on six schedules and six predictions; on the two whose noise
is beside data that are not scaled, where other networks train badly, the preconditioned one. The score of a choice is
the mean distance of its ends to those of the network's own flow, by adaptive steps of tolerance 1e-6. Where a flow has
no end (the data made of learned noise at pure noise, the noise made of learned data at pure data, are singular), it is
that between the noise-to-signal ratios 80 and 0.002, with one step of first order before and after. "default over best"
is against the best of 22 steppers on 7 grids, in hindsight for each network and number of evaluations.
"""

import math

import torch
from sklearn.datasets import make_moons

import pushforward as pf
from pushforward.nn import MLP
from pushforward.objective import Matching

SCHEDULES = ("condot", "cosine", "polynomial", "vp", "subvp", "ddpm")
PREDICTIONS = ("velocity", "v", "preconditioned", "data", "noise", "score")
UNSCALED = ("ve", "edm")
NFES = (8, 20, 50)
STEPS, BATCH, POINTS = 2000, 256, 128
STEPPERS = [name for name, make in pf.STEPPERS.items() if not make().stochastic and not make().adaptive]


def trained(schedule, predicts):
    rows = torch.tensor(make_moons(20_000, noise=0.05, random_state=0)[0], dtype=torch.float32)
    rows = (rows - rows.mean(0)) / rows.std(0)
    torch.manual_seed(0)
    net, path, g = MLP((2,), 96, 3), pf.Affine(pf.SCHEDULES[schedule]()), torch.Generator().manual_seed(1)
    learned = predicts != "preconditioned"
    field = pf.Learned(net, path, predicts) if learned else pf.Preconditioned(net, path)
    objective, times = Matching(predicts if learned else "v"), pf.TIMES["even"]()
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=0)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS, pct_start=0.1)
    average = [p.detach().clone() for p in parameters]
    for i in range(STEPS):
        x1 = rows[torch.randint(len(rows), (BATCH,), generator=g)]
        draw = path.draw(torch.randn(x1.shape, generator=g), x1, times(BATCH, g), g)
        loss = objective(field, draw, None, g).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        plan.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(0.99, (1 + i) / (10 + i)))
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=True):
            p.copy_(a)
    return field


def own_ends(field, x0):
    """The ends of the field's own flow, and whether it has any from pure noise to pure data."""
    run = pf.integrate(field, x0, tol=1e-6)
    if bool(run.info["finished"].all()):
        return run.x[-1], True
    schedule = field.path.affine_schedule()
    early, late = schedule.time_of_log_snr(-torch.tensor([80.0, 0.002], dtype=torch.float64).log())
    if early > 0:
        data, noise = field.evaluate(("data", "noise"), x0, 0.0)
        alpha, beta = schedule(early)
        x0 = (alpha * data + beta * noise).to(x0)
    inner = pf.integrate(field, x0, stepper=pf.DormandPrince(1e-6), grid=torch.stack([early, late])).x[-1]
    return field.data(inner, late), False


def distance(x, ends):
    value = float((x - ends).norm(dim=1).mean())
    return value if math.isfinite(value) else math.inf


@torch.no_grad()
def measured(field):
    x0 = field.path.begin(POINTS, (2,), seed=5)
    ends, has_end = own_ends(field, x0)
    schedule, rows = field.path.affine_schedule(), []
    for nfe in NFES:
        cells = {}
        for name in STEPPERS:
            stepper = pf.STEPPERS[name]()
            for grid_name, grid in pf.GRIDS.items():
                if nfe >= stepper.evaluations:
                    times = grid(nfe // stepper.evaluations, schedule)
                    run = pf.integrate(field, x0, stepper=stepper, grid=times)
                    cells[f"{name}/{grid_name}"] = distance(run.x[-1], ends)
        best = min(cells, key=cells.get)
        rows.append((distance(pf.integrate(field, x0, steps=nfe).x[-1], ends), cells[best], best))
        former = cells["adams_moulton/shifted"]
        rows[-1] = (*rows[-1], former)
    return rows, has_end


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main():
    pairs = [(s, p) for s in SCHEDULES for p in PREDICTIONS] + [(s, "preconditioned") for s in UNSCALED]
    print("schedule, prediction: at 8, 20, 50 evaluations the default's distance, and over the best of all (its name)")
    ratios, former = [], []
    for schedule, predicts in pairs:
        rows, has_end = measured(trained(schedule, predicts))
        ratios += [default / best for default, best, _, _ in rows]
        former += [before / best for _, best, _, before in rows]
        words = "   ".join(f"{default:.4f} x{default / best:.2f} {name}" for default, best, name, _ in rows)
        print(f"{schedule:10s} {predicts:14s} {'' if has_end else '*'} {words}", flush=True)
    print("* a flow without ends of its own")
    print(f"default over best {mean(ratios):.2f} (geometric mean, asked: 1.2), largest {max(ratios):.1f} (asked: 2)")
    print(f"adams_moulton on shifted over best {mean(former):.2f}, largest {max(former):.1f}")
