"""pushforward: flow matching and diffusion models, every part tested against a closed-form answer.

Names are imported when they are first used, so that the command line starts without waiting for torch. The imports
below are never run: type checkers read them, and so does `on_first_use`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.registry import on_first_use
from pushforward.version import __version__

if TYPE_CHECKING:
    from pushforward.config import RECIPES as RECIPES
    from pushforward.coupling import COUPLINGS as COUPLINGS
    from pushforward.coupling import Immiscible as Immiscible
    from pushforward.coupling import OptimalTransport as OptimalTransport
    from pushforward.coupling import SchrodingerBridge as SchrodingerBridge
    from pushforward.coupling import Semidiscrete as Semidiscrete
    from pushforward.coupling import Sinkhorn as Sinkhorn
    from pushforward.coupling import Unbalanced as Unbalanced
    from pushforward.coupling import independent as independent
    from pushforward.equations import continuity_residual as continuity_residual
    from pushforward.equations import fokker_planck_residual as fokker_planck_residual
    from pushforward.equations import verify as verify
    from pushforward.errors import InputError as InputError
    from pushforward.field import Energy as Energy
    from pushforward.field import Field as Field
    from pushforward.field import Joint as Joint
    from pushforward.field import Learned as Learned
    from pushforward.field import Preconditioned as Preconditioned
    from pushforward.field import Rescheduled as Rescheduled
    from pushforward.guidance import AutoGuidance as AutoGuidance
    from pushforward.guidance import ClassifierFreeGuidance as ClassifierFreeGuidance
    from pushforward.guidance import ClassifierGuidance as ClassifierGuidance
    from pushforward.likelihood import Exact as Exact
    from pushforward.likelihood import Hutchinson as Hutchinson
    from pushforward.likelihood import HutchPlusPlus as HutchPlusPlus
    from pushforward.likelihood import Likelihood as Likelihood
    from pushforward.likelihood import class_log_prob as class_log_prob
    from pushforward.likelihood import decode as decode
    from pushforward.likelihood import encode as encode
    from pushforward.likelihood import interpolate as interpolate
    from pushforward.likelihood import log_likelihood as log_likelihood
    from pushforward.likelihood import log_prob as log_prob
    from pushforward.likelihood import residual_flow as residual_flow
    from pushforward.likelihood import residual_log_prob as residual_log_prob
    from pushforward.likelihood import sample_with_log_prob as sample_with_log_prob
    from pushforward.metrics import METRICS as METRICS
    from pushforward.nn import NETS as NETS
    from pushforward.objective import OBJECTIVES as OBJECTIVES
    from pushforward.objective import WEIGHTS as WEIGHTS
    from pushforward.objective import ComponentMatching as ComponentMatching
    from pushforward.objective import ImplicitScore as ImplicitScore
    from pushforward.objective import ImportanceWeighted as ImportanceWeighted
    from pushforward.objective import Matching as Matching
    from pushforward.objective import MaximumLikelihood as MaximumLikelihood
    from pushforward.objective import MultiMatching as MultiMatching
    from pushforward.objective import ResidualLikelihood as ResidualLikelihood
    from pushforward.objective import SlicedScore as SlicedScore
    from pushforward.objective import StableTarget as StableTarget
    from pushforward.objective import excess_loss as excess_loss
    from pushforward.objective import irreducible_loss as irreducible_loss
    from pushforward.oracle import EmpiricalField as EmpiricalField
    from pushforward.oracle import MixtureField as MixtureField
    from pushforward.path import PATHS as PATHS
    from pushforward.path import PREDICTIONS as PREDICTIONS
    from pushforward.path import Affine as Affine
    from pushforward.path import Bridge as Bridge
    from pushforward.path import Characteristics as Characteristics
    from pushforward.path import Draw as Draw
    from pushforward.path import GeneralAffine as GeneralAffine
    from pushforward.path import Path as Path
    from pushforward.path import convert as convert
    from pushforward.path import weight as weight
    from pushforward.report import Report as Report
    from pushforward.run import Model as Model
    from pushforward.run import load as load
    from pushforward.run import push as push
    from pushforward.run import train as train
    from pushforward.run import train_classifier as train_classifier
    from pushforward.run.evaluating import evaluate as evaluate
    from pushforward.run.loading import export as export
    from pushforward.sample import DDIM as DDIM
    from pushforward.sample import RK4 as RK4
    from pushforward.sample import STEPPERS as STEPPERS
    from pushforward.sample import Adams as Adams
    from pushforward.sample import AdamsMoulton as AdamsMoulton
    from pushforward.sample import Ancestral as Ancestral
    from pushforward.sample import AnnealedLangevin as AnnealedLangevin
    from pushforward.sample import Churn as Churn
    from pushforward.sample import DormandPrince as DormandPrince
    from pushforward.sample import Euler as Euler
    from pushforward.sample import EulerMaruyama as EulerMaruyama
    from pushforward.sample import Heun as Heun
    from pushforward.sample import Kutta3 as Kutta3
    from pushforward.sample import Langevin as Langevin
    from pushforward.sample import Midpoint as Midpoint
    from pushforward.sample import Multistep as Multistep
    from pushforward.sample import PredictorCorrector as PredictorCorrector
    from pushforward.sample import Ralston as Ralston
    from pushforward.sample import RungeKutta as RungeKutta
    from pushforward.sample import Sampler as Sampler
    from pushforward.sample import Stepper as Stepper
    from pushforward.sample import StochasticHeun as StochasticHeun
    from pushforward.sample import Trajectory as Trajectory
    from pushforward.sample import Unrolled as Unrolled
    from pushforward.sample import generate as generate
    from pushforward.sample import integrate as integrate
    from pushforward.sample import reverse_sigma as reverse_sigma
    from pushforward.schedule import EDM as EDM
    from pushforward.schedule import SCHEDULES as SCHEDULES
    from pushforward.schedule import VE as VE
    from pushforward.schedule import VP as VP
    from pushforward.schedule import CondOT as CondOT
    from pushforward.schedule import Cosine as Cosine
    from pushforward.schedule import CustomSchedule as CustomSchedule
    from pushforward.schedule import DDPMSchedule as DDPMSchedule
    from pushforward.schedule import Polynomial as Polynomial
    from pushforward.schedule import Schedule as Schedule
    from pushforward.schedule import SubVP as SubVP
    from pushforward.schedule import Warped as Warped
    from pushforward.source import SOURCES as SOURCES
    from pushforward.source import Empirical as Empirical
    from pushforward.source import Laplace as Laplace
    from pushforward.source import Mixture as Mixture
    from pushforward.source import Normal as Normal
    from pushforward.source import Source as Source
    from pushforward.source import Uniform as Uniform
    from pushforward.space import SPACES as SPACES
    from pushforward.space import Euclidean as Euclidean
    from pushforward.space import Space as Space
    from pushforward.times import GRIDS as GRIDS
    from pushforward.times import TIMES as TIMES
    from pushforward.times import Importance as Importance

_names, __getattr__, __dir__ = on_first_use(__name__)
__all__ = ["__version__", *_names]
