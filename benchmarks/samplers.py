"""Evaluations needed: our samplers against k-diffusion's and diffusers', same noises, exact fields, one run.

    pip install --no-deps k-diffusion && pip install torchdiffeq torchsde tqdm diffusers
    python benchmarks/samplers.py [--fast] [--data FILE.npy --std 0.5 --bandwidth 0.08]
    python benchmarks/samplers.py --learned

The score of a cell is the root mean square distance to the exact flow's end points over their standard deviation.
Peers: Euler, Heun, DPM-2, LMS, DPM++ 2M (k-diffusion), DPM++ 3M and DEIS-3 (diffusers), each on three grids from sigma
80 to 0.002 and then 0: Karras, log-uniform, equal steps in sigma/(1 + sigma). "best" is the best of all of them, chosen
in hindsight for each cell; "usual" the best on the Karras grid. Ours: the default, one method and grid for all cells;
and `tune`, which is given the field and the number of evaluations. Beside it the sliced Wasserstein distance to the
exact end points over that of two halves of those: an error made small by shrinking the samples would show there.
``--fast`` leaves `tune` out; ``--data`` measures a kernel density estimate of your own rows instead; ``--learned``
trains networks of every schedule and prediction and measures the default among all named choices (`samplers_learned`).
"""

import argparse
import importlib
import importlib.util
import math
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

import pushforward as pf
from pushforward.metrics import sliced_wasserstein
from pushforward.sample import tune

NFES = (5, 8, 10, 15, 20, 30)
TOP, BOTTOM = 80.0, 0.002


def generator(seed):
    return torch.Generator().manual_seed(seed)


def kernel_density(rows, std, bandwidth):
    x = torch.as_tensor(rows, dtype=torch.float64).flatten(1)
    x = (x - x.mean()) / x.std() * std
    return pf.MixtureField(pf.Affine(), x, torch.full((len(x),), bandwidth, dtype=torch.float64))


def problems():
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    means = 0.5 * torch.randn(30, 64, generator=generator(0), dtype=torch.float64)
    stds = 0.1 + 0.3 * torch.rand(30, generator=generator(1), dtype=torch.float64)
    return {
        "8 Gaussians, 2-D": (pf.MixtureField(pf.Affine(), ring, torch.full((8,), 0.12, dtype=torch.float64)), 1024),
        "30 components, 64-D": (pf.MixtureField(pf.Affine(), means, stds), 1024),
        "digits, 64-D": (kernel_density(load_digits().data, 0.5, 0.08), 384),
    }


def k_diffusion():
    """Its samplers without the rest of the package, which wants torchvision and wandb."""
    root = importlib.util.find_spec("k_diffusion").submodule_search_locations[0]
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__, package.utils = [str(root)], utils
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    sys.modules.update({"k_diffusion": package, "k_diffusion.utils": utils})
    return importlib.import_module("k_diffusion.sampling")


def peers():
    """Name -> (``sample(denoise, x, sigmas)``, evaluations a step)."""
    from diffusers import DEISMultistepScheduler, DPMSolverMultistepScheduler

    k = k_diffusion()

    def ours_to_k(sample):
        return lambda denoise, x, sigmas: sample(lambda z, s: denoise(z, s[0]), x, sigmas, disable=True)

    def scheduler(make):
        def sample(denoise, x, sigmas):
            it = make()
            it.set_timesteps(len(sigmas) - 1)
            it.sigmas = sigmas.clone()
            alphas = 1 / (1 + sigmas.square()).sqrt()
            z = x * alphas[0]
            for i, t in enumerate(it.timesteps):
                noise = (z / alphas[i] - denoise(z / alphas[i], sigmas[i])) / sigmas[i]
                it._step_index = i
                z = it.step(noise, t, z).prev_sample
            return z

        return sample

    third = dict(solver_order=3, algorithm_type="dpmsolver++", final_sigmas_type="zero")
    return {
        "euler": (ours_to_k(k.sample_euler), 1),
        "heun": (ours_to_k(k.sample_heun), 2),
        "dpm_2": (ours_to_k(k.sample_dpm_2), 2),
        "lms": (ours_to_k(k.sample_lms), 1),
        "dpmpp_2m": (ours_to_k(k.sample_dpmpp_2m), 1),
        "dpmpp_3m": (scheduler(lambda: DPMSolverMultistepScheduler(**third)), 1),
        "deis_3": (scheduler(lambda: DEISMultistepScheduler(solver_order=3)), 1),
    }


def ladders(steps):
    unit = torch.linspace(0, 1, steps, dtype=torch.float64)
    karras = (TOP ** (1 / 7) + unit * (BOTTOM ** (1 / 7) - TOP ** (1 / 7))) ** 7
    even = torch.linspace(1 / (1 + TOP), 1, steps + 1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    log = torch.exp(math.log(TOP) + unit * math.log(BOTTOM / TOP))
    return {"karras": torch.cat([karras, zero]), "log": torch.cat([log, zero]), "even": (1 - even) / even}


def exact(field, x, start):
    s = torch.linspace(0, 1, 401, dtype=torch.float64)
    grid = start + (1 - start) * (1 - (1 - s).square())
    return pf.integrate(field, x, grid=grid, stepper=pf.RK4()).x[-1]


def measure(field, n, tuned, sets):
    d = field.means.shape[1]
    x0 = torch.randn(n, d, generator=generator(7), dtype=torch.float64)
    end, theirs = exact(field, x0, 0.0), exact(field, x0 * TOP / (1 + TOP), 1 / (1 + TOP))
    floor = sliced_wasserstein(end[: n // 2], end[n // 2 :])

    def error(x, truth):
        return float((x - truth).square().mean().sqrt() / truth.std())

    def apart(x):
        # against the other half: the same noises would make the distance a matter of the error alone
        return sliced_wasserstein(x[: n // 2], end[n // 2 :]) / floor

    def denoise(x, sigma):
        t = 1 / (1 + sigma)
        return field.data(x * t, t)

    rows = []
    for nfe in NFES:
        cells = {}
        for name, (sample, cost) in sets.items():
            for ladder, sigmas in ladders(nfe if cost == 1 else (nfe + 1) // 2).items():
                x = sample(denoise, x0 * TOP, sigmas)
                cells[name, ladder] = (error(x, theirs), apart(x)) if bool(x.isfinite().all()) else (math.inf, math.inf)
        best = min(cells, key=lambda key: cells[key][0])
        usual = min(e for (_, ladder), (e, _) in cells.items() if ladder == "karras")
        run = pf.integrate(field, x0, steps=nfe)
        assert run.nfe == nfe
        row = {"nfe": nfe, "best": cells[best], "who": "/".join(best), "usual": usual}
        row["default"] = (error(run.x[-1], end), apart(run.x[-1]))
        if tuned:
            found = tune(field, nfe)
            x = pf.integrate(field, x0, grid=found.grid, stepper=found.stepper)
            assert x.nfe <= nfe
            row["tuned"], row["by"] = (error(x.x[-1], end), apart(x.x[-1])), found.name
        rows.append(row)
        show(row)
    return rows


def show(row):
    words = f"{row['nfe']:4d}  {row['best'][0]:.4f} ({row['best'][1]:.2f}) {row['who']:16s} {row['usual']:.4f}"
    for name in ("default", "tuned"):
        if name in row:
            e, w = row[name]
            words += f"   {e:.4f} ({w:.2f}) x{e / row['best'][0]:.2f}"
    print(words + f"  {row.get('by', '')}", flush=True)


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--std", type=float, default=0.5)
    parser.add_argument("--bandwidth", type=float, default=0.08)
    parser.add_argument("--learned", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.learned:
        import samplers_learned

        samplers_learned.main()
        return
    fields = problems()
    if args.data:
        fields = {args.data.name: (kernel_density(np.load(args.data), args.std, args.bandwidth), 384)}
    sets, rows = peers(), []
    print("error (sliced Wasserstein distance over its floor): best of the peers, their usual grid, ours, ours tuned")
    for name, (field, n) in fields.items():
        print(name)
        rows += measure(field, n, not args.fast, sets)
    print(
        f"default over best     {mean([r['default'][0] / r['best'][0] for r in rows]):.3f} (geometric mean, asked: 1.0)"
    )
    print(f"default over usual    {mean([r['default'][0] / r['usual'] for r in rows]):.3f} (asked: 0.5)")
    if not args.fast:
        ratios = [r["tuned"][0] / r["best"][0] for r in rows]
        print(f"tuned over best       {mean(ratios):.3f} (asked: 0.6), largest cell {max(ratios):.2f} (asked: 1.0)")


if __name__ == "__main__":
    main()
