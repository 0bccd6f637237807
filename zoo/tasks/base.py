"""A task: the head on an encoder's features, its loss on labels, and its metrics.

Each task has five parts: the head, the loss, the prediction, torchmetrics' metrics with one named ``score``, and a
probe fitted to convergence, or none. Other tasks are subclasses, which modules take by their import paths.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection

from zoo.core.suggest import did_you_mean
from zoo.functional.finetune import is_labelled

TASKS = {
    "classification": "zoo.tasks.classification.Classification",
    "multilabel": "zoo.tasks.multilabel.Multilabel",
    "regression": "zoo.tasks.regression.Regression",
}


class Task:
    """The base of all tasks; B samples, C outputs.

    Args:
        outputs: Number of classes or values, C.
    """

    unpooled = False  # the head takes the encoder's ``forward_features`` and not its features (B, D)
    mixes = False  # samples may be blended with one another (mixup)
    score_name = "score"  # what the score is
    scaled = False  # labels are standardised by the training labels' mean and standard deviation

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def head(self, features: int) -> nn.Module:
        """A layer from features (B, D) to outputs (B, C)."""
        return nn.Linear(features, self.outputs)

    def loss(
        self, output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """The mean over labelled samples, a scalar; zero where there are none."""
        raise NotImplementedError

    def predict(self, output: Tensor) -> Tensor:
        """Outputs (B, C) to probabilities, or values."""
        raise NotImplementedError

    def metrics(self) -> MetricCollection:
        """Metrics of predictions and labels; checkpoints are chosen by ``score``, of which higher is better."""
        raise NotImplementedError

    def weighted_score(self, prediction: Tensor, labels: Tensor, weights: Tensor) -> Tensor | None:
        """The ``score`` of samples that count unequally, from which its interval is resampled; None where unknown.

        Args:
            prediction: Predictions (N, C).
            labels: Labels of N samples, all labelled.
            weights: Weights of the samples, (R, N) float64: R scores at once.

        Returns:
            (R,)
        """
        return None

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Weight (C, D) and bias (C,) of a linear head fitted to convergence on features (N, D); None where the task
        has no such fit."""
        return None

    # Labels

    def labelled(self, labels: Tensor) -> Tensor:
        """Which samples have a label, (B,) bool."""
        return is_labelled(labels)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """The data's labels as the head's.

        Args:
            labels: Labels of a batch.
            indices: Indices of the data's classes among the head's, (classes of the data,) long; None where they are
                the same.
        """
        return labels

    def decide(self, prediction: Tensor) -> Tensor:
        """Predicted labels from predictions (B, C)."""
        return prediction

    def class_weights(self, labels: Tensor) -> Tensor:
        """Weights (C,) that balance the classes."""
        raise ValueError(f"{type(self).__name__} has no classes to balance: leave `class_weights` out")

    def logs(self, output: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Metrics of a training batch that are logged beside the loss."""
        return {}

    # Distillation

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Distillation loss between a student's outputs (B, C) and a teacher's, a scalar."""
        name = type(self).__name__
        raise ValueError(f"{name} has no loss between a student's outputs and a teacher's: set `kd_weight` 0")


def make_task(name: str, outputs: int) -> Task:
    """A task by its name or its class's import path.

    Raises:
        ValueError: an unknown name (the nearest is proposed), or a path to something else.
    """
    if name not in TASKS and "." not in name:
        raise ValueError(
            f"unknown task {name!r}{did_you_mean(name, TASKS)}; there are: {', '.join(TASKS)}, and import paths"
        )
    module, _, attribute = TASKS.get(name, name).rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no task at {name!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ValueError(f"{name!r} is no task: it must be a subclass of zoo.tasks.base.Task")
    return found(outputs)


def check_task(name: Any) -> None:
    """Refuse to import what a file, and not the user, names as a task.

    Raises:
        ValueError: the task is not ours, and its module has not been imported.
    """
    if name not in (None, *TASKS) and str(name).rpartition(".")[0] not in sys.modules:
        raise ValueError(f"the checkpoint names the task {name!r}: import its module first, or give it as `task`")


def index_of_names(names: Sequence[str], known: Sequence[str], owner: str) -> list[int]:
    """Indices of the data's class names among those of a head or a teacher.

    Raises:
        ValueError: some are not among them; names these.
    """
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"the data have classes that the {owner} lacks: {', '.join(unknown[:5])}; it has {', '.join(known[:20])}"
        )
    return [list(known).index(name) for name in names]
