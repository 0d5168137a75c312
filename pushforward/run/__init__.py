"""A run: a folder that holds everything that rebuilds a model, its data's units and its history.

``config.json`` (configuration, data transform, conventions, versions), ``model.safetensors`` (averaged weights),
``checkpoints/step-N/``, ``metrics.jsonl``, ``floor.jsonl``, ``selection.jsonl`` (held-out losses of the averages),
``previews/``, ``sampler.json`` (tuned samplers). Nothing in it is ever executed.

Names are imported when they are first used, as those of the package are: `read` does not wait for the training loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.registry import on_first_use

if TYPE_CHECKING:
    from pushforward.run.classifier import train_classifier as train_classifier
    from pushforward.run.conditions import guided as guided
    from pushforward.run.drawing import picture as picture
    from pushforward.run.drawing import picture_note as picture_note
    from pushforward.run.drawing import preview as preview
    from pushforward.run.folder import RunFile as RunFile
    from pushforward.run.folder import history as history
    from pushforward.run.folder import read as read
    from pushforward.run.folder import read_tuned as read_tuned
    from pushforward.run.loading import load as load
    from pushforward.run.loading import push as push
    from pushforward.run.loading import tune as tune
    from pushforward.run.model import Model as Model
    from pushforward.run.request import Execution as Execution
    from pushforward.run.request import RowRequest as RowRequest
    from pushforward.run.request import Watcher as Watcher
    from pushforward.run.selection import read_selection as read_selection
    from pushforward.run.training import train as train
    from pushforward.run.training import train_run as train_run
    from pushforward.run.training import training_budget as training_budget

__all__, __getattr__, __dir__ = on_first_use(__name__)
