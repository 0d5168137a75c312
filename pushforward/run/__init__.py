"""A run: a folder that holds everything that rebuilds a model, its data's units and its history.

``config.json`` (configuration, data transform, conventions, versions), ``model.safetensors`` (averaged weights),
``checkpoints/step-N/``, ``metrics.jsonl``, ``floor.jsonl``, ``previews/``, ``sampler.json`` (tuned samplers). Nothing
in it is ever executed.
"""

from pushforward.run.classifier import train_classifier
from pushforward.run.conditions import guided
from pushforward.run.folder import RunFile, history, read, read_tuned
from pushforward.run.loading import load, push, tune
from pushforward.run.model import Model
from pushforward.run.picture import picture, preview
from pushforward.run.request import Execution, RowRequest, Watcher
from pushforward.run.training import train, train_run, training_budget

__all__ = [
    "Execution",
    "Model",
    "RowRequest",
    "RunFile",
    "Watcher",
    "guided",
    "history",
    "load",
    "picture",
    "preview",
    "push",
    "read",
    "read_tuned",
    "train",
    "train_classifier",
    "train_run",
    "training_budget",
    "tune",
]
