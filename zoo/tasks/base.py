"""A task: what a head on an encoder's features learns from labels, and how it is judged.

Each task has five parts: the head, the loss, the prediction, torchmetrics' measures with one named ``score``, and a
probe in closed form, or none. A task of one's own is a subclass, which modules take by its import path.
"""

from collections.abc import Sequence
from importlib import import_module

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
    """What is learned from labels; B samples, C outputs.

    Args:
        outputs: C, the number of classes or values.
    """

    unpooled = False  # the head takes the encoder's ``forward_features`` and not its features (B, D)
    mixes = False  # samples may be blended with one another (mixup)
    scaled = False  # labels are learned in standard deviations from the training labels' mean

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
        """Outputs to what users want: probabilities, or values."""
        raise NotImplementedError

    def metrics(self) -> MetricCollection:
        """Measures of predictions and labels; the one to choose checkpoints by is ``score``, higher being better."""
        raise NotImplementedError

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Weight (C, D) and bias (C,) of a linear head fitted to the end on features (N, D); None where there is no
        such fit."""
        return None

    # Labels

    def labelled(self, labels: Tensor) -> Tensor:
        """Which samples have a label, (B,) bool."""
        return is_labelled(labels)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """The data's labels as the head knows them.

        Args:
            labels: as they are in a batch.
            indices: (classes of the data,) long, their places among the head's; None where they are the same.
        """
        return labels

    def decide(self, prediction: Tensor) -> Tensor:
        """Labels that a prediction stands for."""
        return prediction

    def class_weights(self, labels: Tensor) -> Tensor:
        """Weights (C,) by which all classes count alike."""
        raise ValueError(f"{type(self).__name__} has no classes to balance: leave `class_weights` out")

    def logs(self, output: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What is logged beside the loss."""
        return {}

    # Distillation

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far a student's outputs (B, C) are from a teacher's, a scalar."""
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


def index_of_names(names: Sequence[str], known: Sequence[str], owner: str) -> list[int]:
    """Places of the data's class names among those that a head or a teacher knows.

    Raises:
        ValueError: it does not know some; names them.
    """
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"the data have classes that the {owner} does not know: {', '.join(unknown[:5])}; it knows "
            f"{', '.join(known[:20])}"
        )
    return [list(known).index(name) for name in names]
