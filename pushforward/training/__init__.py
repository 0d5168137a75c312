"""Training: a loop that is handed its network, its loss and its batches, and the state it keeps."""

from pushforward.distributed import SINGLE, Processes, process_group
from pushforward.training.budget import Budget
from pushforward.training.checkpoint import Checkpoint, latest, restore, restore_newest, save
from pushforward.training.feed import Feed, Stages
from pushforward.training.loop import fit
from pushforward.training.options import Hooks, OptimizerConfig, TrainingOptions, TrainingStatus
from pushforward.training.trainer import Trainer

__all__ = [
    "SINGLE",
    "Budget",
    "Checkpoint",
    "Feed",
    "Hooks",
    "OptimizerConfig",
    "Processes",
    "Stages",
    "Trainer",
    "TrainingOptions",
    "TrainingStatus",
    "fit",
    "latest",
    "process_group",
    "restore",
    "restore_newest",
    "save",
]
