"""The pictures G1 to G11: the theory, drawn by the library and compared with exact answers where there are some.

Each picture is a function of ``scale``: 1 is the picture as the gallery shows it, less draws it with fewer points and
steps. What is shown as its code is the source of exactly what ran. Everything is a function of fixed seeds.
"""

from __future__ import annotations

from pushforward.gallery import motion, paths, sampling, scores
from pushforward.gallery.page import Picture, index, script, write

__all__ = ["PICTURES", "Picture", "index", "script", "write"]

PICTURES: dict[str, Picture] = {
    "g1": Picture(
        "A field and its flow",
        "Arrows: the velocity of the exact field; grey: a square grid that its flow carries; blue: the exact density.\n"
        "The grid is pulled together where mass gathers: at t = 1 a normal cloud has become the five modes.",
        motion.field_and_flow,
        motion.flow_animation,
    ),
    "g2": Picture(
        "Brownian motion",
        "Left: paths, and one and two exact standard deviations, which hold 68.3% and 95.4% of a normal law.\n"
        "Right: one path at three step sizes; a finer grid follows the same path through the same points.",
        motion.brownian,
    ),
    "g3": Picture(
        "Ornstein-Uhlenbeck processes",
        "dX = -4 X dt + sigma dW from two starts; dashed: the exact mean, which sigma does not change.\n"
        "Shaded: the exact band that holds 95% of the law at each time, and how much of the simulation it holds.",
        motion.diffusions,
    ),
    "g4": Picture(
        "Conditional path above, marginal path below",
        "Points as training draws them, on the exact densities; lines hold 50% and 90% of the mass.\n"
        "Above, noise becomes the one data point z (black); below, averaged over all z, it becomes the data.",
        paths.laws,
    ),
    "g5": Picture(
        "One path, many samplers",
        "Exact draws, an ODE and an SDE at three times: other trajectories, the same laws, given z and marginally.\n"
        "W: sliced Wasserstein distance to exact draws, mean over times; under exact, of two exact sets. Lines: exact.",
        sampling.samplers,
        sampling.samplers_animation,
    ),
    "g6": Picture(
        "Langevin dynamics",
        "Chains that follow the exact score of five modes, and the kernel density estimate of where they are.\n"
        "TV: total variation distance to the exact density seen through that kernel, last with exact draws' own TV.",
        sampling.langevin_chains,
        sampling.langevin_animation,
    ),
    "g7": Picture(
        "The method of characteristics, from a uniform source",
        "Straight lines from U[0, 2] to data at 0.5 (twice), 1.2 and 1.7 make a field whose own paths bend.\n"
        "Orange: exact quantiles of p_t. A flow on the line keeps ranks, so its paths must pass through them.",
        paths.characteristics,
    ),
    "g8": Picture(
        "Score fields",
        "Exact scores of a Gaussian and of a mixture, each arrow as long as the square root of the score's size.\n"
        "They climb the log-density from everywhere; lines hold 50% and 90% of the mass.",
        scores.score_fields,
    ),
    "g9": Picture(
        "Couplings",
        "Independent pairs cross, so the flow that they teach bends; optimal transport uncrosses them.\n"
        "Below: exact flows to the same ends (black: exact quantiles); energy: the mean of the squared speed.",
        paths.couplings,
    ),
    "g10": Picture(
        "Why there are many noise scales",
        "A score learned at one low noise scale is wrong where the density is low, and there sampling begins.\n"
        "Stars: where chains begin, at draws of the source: wrong score at low noise, right one at high noise.",
        scores.noise_scales,
    ),
    "g11": Picture(
        "Residual flows become the continuous flow",
        "The exact density of K layers x + u(x)/K, which becomes that of the continuous flow as K grows.\n"
        "Right: its distance from the exact density, the integral of |p_K - p|, beside a line of order 1.",
        scores.residual,
    ),
}
