"""Whole published settings by name: times, weights, preconditioning, coupling and sampler of a paper as one value.

Noise levels beside data that are not scaled (EDM, VE) are given in the units of our models, in which the standard
deviation of the data is 1: twice those of EDM, which takes it for 1/2, and four times those of the VE paper, whose
pictures are in [0, 1]. The losses are then the same numbers. Everything else is as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from pushforward.config.sections import Config, ObjectiveConfig, PathConfig, SampleConfig

__all__ = ["RECIPES", "Recipe"]


@final
@dataclass(frozen=True)
class Recipe:
    """The configuration of a published method, where it is from, and its formulas in words of one line each."""

    config: Config
    reference: str
    formulas: tuple[str, ...]

    @property
    def flags(self) -> str:
        """What ``pushforward train`` would have to be told for the same: every setting that is not the default."""
        said = [
            (name, getattr(section, name))
            for key in Config.model_fields
            for section, usual in [(getattr(self.config, key), getattr(Config(), key))]
            for name in type(section).model_fields
            if getattr(section, name) != getattr(usual, name)
        ]
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in said)


RECIPES: Mapping[str, Recipe] = {
    "edm": Recipe(
        Config(
            path=PathConfig(schedule="edm:0,160,7"),
            objective=ObjectiveConfig(
                field="preconditioned", objective="data", weighting="edm:1", times="log_normal:-0.5068528,1.2"
            ),
            sample=SampleConfig(
                sample_stepper="churn:0", sample_grid="karras:7,highest=160,lowest=0.004", sample_steps=18
            ),
        ),
        "Karras et al. 2022, Elucidating the design space of diffusion-based generative models, table 1",
        (
            "x = y + sigma eps, log sigma ~ N(-1.2 + log 2, 1.2^2)",
            "D(x) = c_skip x + c_out F(c_in x, c_noise), loss = (sigma^2 + 1) / sigma^2 |D(x) - y|^2",
            "Heun's method on dx/dsigma = (x - D(x)) / sigma, 18 steps from 160 to 0.004, rho = 7, then one to 0",
        ),
    ),
    "ddpm": Recipe(
        Config(
            path=PathConfig(schedule="ddpm"),
            objective=ObjectiveConfig(predicts="noise", objective="noise", times="discrete:1000"),
            sample=SampleConfig(sample_stepper="ancestral_forward", sample_grid="linear", sample_steps=1000),
        ),
        "Ho et al. 2020, Denoising diffusion probabilistic models, algorithms 1 and 2",
        (
            "x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps, k uniform on 1 ... 1000, beta_k from 1e-4 to 0.02",
            "loss = |eps - eps_theta(x_k, k)|^2",
            "x_(k-1) = (x_k - beta_k / sqrt(1 - abar_k) eps_theta) / sqrt(1 - beta_k) + sqrt(beta_k) z, 1000 steps",
        ),
    ),
    "ddim-vp": Recipe(
        Config(
            path=PathConfig(schedule="ddpm"),
            objective=ObjectiveConfig(predicts="noise", objective="noise", times="discrete:1000"),
            sample=SampleConfig(sample_stepper="ddim", sample_grid="linear", sample_steps=50),
        ),
        "Song, Meng & Ermon 2021, Denoising diffusion implicit models, equation 12 with eta = 0",
        (
            "trained as ddpm",
            "x_j = sqrt(abar_j) (x_k - sqrt(1 - abar_k) eps_theta) / sqrt(abar_k) + sqrt(1 - abar_j) eps_theta",
            "50 steps, equal in k",
        ),
    ),
    "rectified-flow": Recipe(
        Config(
            path=PathConfig(schedule="condot"),
            objective=ObjectiveConfig(objective="flow", times="uniform"),
            sample=SampleConfig(sample_stepper="euler", sample_grid="linear", sample_steps=100),
        ),
        "Liu, Gong & Liu 2023, Flow straight and fast, algorithm 1; straighten it with --reflow",
        (
            "x_t = (1 - t) x_0 + t x_1, t uniform on [0, 1]",
            "loss = |u_theta(x_t, t) - (x_1 - x_0)|^2",
            "Euler's method, 100 steps",
        ),
    ),
    "score-sde-ve": Recipe(
        Config(
            path=PathConfig(schedule="ve:0.04,200"),
            objective=ObjectiveConfig(predicts="noise", objective="score", times="uniform"),
            sample=SampleConfig(
                sample_stepper="predictor_corrector:ancestral_forward,1,0.0512", sample_grid="linear", sample_steps=1000
            ),
        ),
        "Song et al. 2021, Score-based generative modeling through stochastic differential equations, algorithm 2",
        (
            "x = y + sigma_t eps, sigma from 0.04 to 200 geometrically, t uniform",
            "s_theta = -eps_theta / sigma_t, loss = sigma_t^2 |s_theta + eps / sigma_t|^2",
            "x + (sigma_i^2 - sigma_j^2) s + sqrt(sigma_i^2 - sigma_j^2) z, then a Langevin step of 2 (0.16 sigma_j)^2",
            "1000 steps, equal in t",
        ),
    ),
    "sf2m": Recipe(
        Config(
            path=PathConfig(path="bridge:1", coupling="schrodinger_bridge:1"),
            objective=ObjectiveConfig(field="joint", objective="joint", times="uniform"),
            sample=SampleConfig(sample_stepper="euler_maruyama:1", sample_grid="linear", sample_steps=100),
        ),
        "Tong et al. 2024, Simulation-free Schrodinger bridges via score and flow matching, algorithm 1",
        (
            "(x_0, x_1) from entropic optimal transport of the batch with regularisation 2 sigma^2, sigma = 1",
            "x_t = (1 - t) x_0 + t x_1 + sigma sqrt(t (1 - t)) eps",
            "loss = w_t |u_theta - u_t|^2 + sigma^2 t (1 - t) |s_theta - s_t|^2",
            "w_t bounds the first target at both ends, where the paper leaves its square infinite",
            "dX = (u + sigma^2 / 2 s) dt + sigma dW by the Euler-Maruyama method, 100 steps",
        ),
    ),
}
