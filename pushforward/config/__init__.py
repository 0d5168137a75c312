"""`Config`, what the command line and a run's ``config.json`` say, and what it builds: the crossroads of all rooms."""

from pushforward.config.components import Components, components, network, resolve
from pushforward.config.sections import (
    ConditionConfig,
    Config,
    NetConfig,
    ObjectiveConfig,
    PathConfig,
    Section,
    TrainConfig,
)
from pushforward.config.spec import Spec, make

__all__ = [
    "Components",
    "ConditionConfig",
    "Config",
    "NetConfig",
    "ObjectiveConfig",
    "PathConfig",
    "Section",
    "Spec",
    "TrainConfig",
    "components",
    "make",
    "network",
    "resolve",
]
