"""`Config`, what the command line and a run's ``config.json`` say, and what it builds: the crossroads of all rooms."""

from pushforward.config.components import Components, components, network, resolve
from pushforward.config.own import OWN, OwnParts, current_parts, describe_places, providing, replaced
from pushforward.config.recipes import RECIPES, Recipe
from pushforward.config.sections import (
    ConditionConfig,
    Config,
    NetConfig,
    ObjectiveConfig,
    PathConfig,
    SampleConfig,
    Section,
    TrainConfig,
)
from pushforward.config.spec import Spec, make

__all__ = [
    "OWN",
    "RECIPES",
    "Components",
    "ConditionConfig",
    "Config",
    "NetConfig",
    "ObjectiveConfig",
    "OwnParts",
    "PathConfig",
    "Recipe",
    "SampleConfig",
    "Section",
    "Spec",
    "TrainConfig",
    "components",
    "current_parts",
    "describe_places",
    "make",
    "network",
    "providing",
    "replaced",
    "resolve",
]
