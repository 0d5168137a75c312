"""Schrodinger bridges: our two heads on `Bridge` beside [SF]2M written by hand, the same networks, steps and pairs.

    pip install --no-deps torchcfm && pip install pot
    python benchmarks/bridge.py [--seeds 3] [--steps 3000]

Two problems, sigma = 0.7 and 1: between two Gaussians in two dimensions, where the bridge is known in closed form, and
from eight Gaussians to two moons. The peer is TorchCFM's `SchrodingerBridgeConditionalFlowMatcher` (POT's Sinkhorn) in
the loop of its authors: an unweighted loss for the flow, ``lambda(t) s = -eps`` for ``sigma^2/2`` times the score, two
networks. Ours is `Joint` on `Bridge` with the default weights, one body with two heads and as many weights in all. Both
end by the flow (Heun, 50 steps) and by the diffusion (Euler-Maruyama, 100 steps). The number is the energy distance of
8,000 ends to as many points of the law, over that of fresh points (1 is perfect); for the Gaussians also how far
``Cov(x_0, x_1)`` of the diffusion is from that of the bridge.
"""

import argparse
import math
import statistics

import torch
from sklearn.datasets import make_moons

import pushforward as pf
from pushforward.metrics import energy_distance
from pushforward.nn import MLP, TwoHeads
from pushforward.objective import MultiMatching

BATCH, ROWS = 256, 8000
MEAN, LOWER = torch.tensor([2.0, -1.0]), torch.tensor([[0.6, 0.0], [0.5, 0.9]])


def normal(n, g):
    return torch.randn(n, 2, generator=g)


def gaussian(n, g):
    return normal(n, g) @ LOWER.T + MEAN


def eight(n, g):
    angle = torch.randint(8, (n,), generator=g) * math.pi / 4
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.2 * normal(n, g)


def moons(n, g):
    seed = int(torch.randint(2**31, (), generator=g))
    return 2 * torch.tensor(make_moons(n, noise=0.05, random_state=seed)[0], dtype=torch.float32) - 0.5


PROBLEMS = {"Gaussian to Gaussian": (normal, gaussian, 0.7), "8 Gaussians to moons": (eight, moons, 1.0)}


def trained(parameters, loss, steps):
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=0)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    average = [p.detach().clone() for p in parameters]
    for i in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        plan.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(0.995, (1 + i) / (10 + i)))
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=True):
            p.copy_(a)


def ours(start, end, sigma, steps, seed):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    path, couple, times = pf.Bridge(sigma), pf.SchrodingerBridge(sigma), pf.TIMES["even"]()
    net = TwoHeads(MLP((4,), 128, 3))
    field = pf.Joint(net, path)

    def loss():
        x0, x1, _ = couple(start(BATCH, g), end(BATCH, g), None, g)
        return MultiMatching()(field, path.draw(x0, x1, times(BATCH, g), g), None, g).mean()

    trained(list(net.parameters()), loss, steps)
    return field


def by_hand(start, end, sigma, steps, seed):
    from torchcfm import SchrodingerBridgeConditionalFlowMatcher

    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    matcher = SchrodingerBridgeConditionalFlowMatcher(sigma=sigma, ot_method="sinkhorn")
    flow, score = MLP((2,), 90, 3), MLP((2,), 90, 3)

    def loss():
        t, x, u, eps = matcher.sample_location_and_conditional_flow(start(BATCH, g), end(BATCH, g), return_noise=True)
        weight = matcher.compute_lambda(t)[:, None]
        return ((flow(x, t) - u) ** 2).mean() + ((weight * score(x, t) + eps) ** 2).mean()

    trained([*flow.parameters(), *score.parameters()], loss, steps)
    # their second network is sigma^2/2 times the score
    return pf.Joint(lambda x, t, y: (flow(x, t), 2 / sigma**2 * score(x, t)), pf.Bridge(sigma))


@torch.no_grad()
def measured(field, start, end, sigma, seed):
    g = torch.Generator().manual_seed(1000 + seed)
    x0, truth, fresh = start(ROWS, g), end(ROWS, g), end(ROWS, g)
    floor = energy_distance(fresh, truth)
    ends = {
        "flow": pf.integrate(field, x0, stepper=pf.Heun(), steps=50).x[-1],
        "diffusion": pf.integrate(field, x0, stepper=pf.EulerMaruyama(sigma), steps=100, seed=seed).x[-1],
    }
    found = {name: float(energy_distance(x, truth) / floor) for name, x in ends.items()}
    if end is gaussian:
        eye, law = torch.eye(2).double(), (LOWER @ LOWER.T).double()
        w, v = torch.linalg.eigh(4 * law + sigma**4 * eye)
        cross = (v @ w.sqrt().diag() @ v.T - sigma**2 * eye) / 2
        x = ends["diffusion"].double()
        found["pairs off by"] = float((x0.double().T @ (x - x.mean(0)) / ROWS - cross).abs().max())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    for problem, (start, end, sigma) in PROBLEMS.items():
        print(problem)
        rows = {}
        for name, make in (("ours", ours), ("by hand", by_hand)):
            found = [
                measured(make(start, end, sigma, args.steps, seed), start, end, sigma, seed)
                for seed in range(args.seeds)
            ]
            rows[name] = {key: statistics.mean(f[key] for f in found) for key in found[0]}
            print(f"  {name:8s}", "  ".join(f"{key} {value:.3f}" for key, value in rows[name].items()), flush=True)
        ratios = {key: rows["ours"][key] / rows["by hand"][key] for key in ("flow", "diffusion")}
        print("  ratio   ", "  ".join(f"{key} {value:.3f}" for key, value in ratios.items()), "(asked: at most 1.1)")


if __name__ == "__main__":
    main()
