"""Where a classifier is right, how sure it is, and which classes it confuses."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, denormalised, input_key_of
from callbacks.outputs import predictions_of
from callbacks.predictions.figures import (
    calibration,
    confusion,
    precision_bars,
    scatter,
    wrong_images,
)
from callbacks.predictions.findings import of_classes, prediction_findings
from zoo.core.arguments import at_least
from zoo.core.batch import LABEL
from zoo.core.distributed import gather_rows
from zoo.core.findings import Finding


class Classification(FigureCallback):
    """For modules that have ``classify(x)`` and ``hparams.task`` and ``class_names``; of what is evaluated.

    Of a classification ``confusion.png``, ``calibration.png`` (accuracy by confidence) and, of images, ``wrong.png``:
    the misclassified ones with the highest confidence. Of a multi-label problem ``precision.png``, the average
    precision by class; of a regression ``predicted.png``, predicted values against true ones. A task of one's own has
    the figures of a classification if its labels are classes, otherwise none.

    Args:
        images: Number of misclassified images shown at most.
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    renamed: ClassVar = {"pictures": "images"}

    figures: ClassVar = {
        "confusion": FigureText(
            "Confusion matrix",
            "What lies off the diagonal is wrong: the true class by row, the predicted one by column.",
            10,
        ),
        "wrong": FigureText(
            "The surest mistakes",
            "Wrong labels, odd images, or a rule that was not learned? Labels are worth a check.",
            12,
        ),
        "calibration": FigureText(
            "Accuracy by confidence", "Bars below the diagonal: surer than right. A calibrated model follows it.", 14
        ),
        "precision": FigureText("Average precision by class", "Short bars are the labels that are not found yet.", 10),
        "predicted": FigureText(
            "Predicted and true values", "Points should lie along the diagonal, at both ends too.", 10
        ),
    }

    def __init__(self, images: int = 24, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        at_least(1, images=images)
        self.images = images
        self._predictions: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._wrong: tuple[Tensor, Tensor, Tensor] | None = None  # images, probabilities and labels
        self._findings: list[Finding] = []  # of the last evaluation

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike: each classifies its share."""
        module: Any = trainer.lightning_module
        classifies = callable(getattr(module, "classify", None)) and "task" in module.hparams
        return classifies and self.due_anywhere(trainer)

    @torch.no_grad()
    def collect(self, module: Any, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep what was predicted of labelled samples, and the worst mistakes."""
        if LABEL not in batch:
            return
        predictions, labels = predictions_of(module, outputs, batch)
        known = labels >= 0 if labels.ndim == 1 else ~labels.isnan().any(1)
        x, predictions, labels = batch[input_key_of(module)][known], predictions[known], labels[known]
        self._predictions.append(predictions)
        self._labels.append(labels)
        if of_classes(labels) and x.ndim == 4 and x.shape[1] in (1, 3):
            self._keep_wrong(x, predictions, labels)

    def _keep_wrong(self, x: Tensor, probabilities: Tensor, labels: Tensor) -> None:
        wrong = probabilities.argmax(1) != labels
        found = x[wrong], probabilities[wrong], labels[wrong]
        if self._wrong is not None:
            found = tuple(torch.cat(pair) for pair in zip(self._wrong, found, strict=True))  # type: ignore[assignment]
        worst = found[1].amax(1).argsort(descending=True)[: self.images]
        self._wrong = found[0][worst], found[1][worst], found[2][worst]

    def findings(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Finding]:
        """What the last evaluation found, for the run's table and report."""
        return self._findings

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Draw all figures of the task."""
        if not self._predictions:
            return
        ranks = trainer.world_size
        predictions, labels = (gather_rows(torch.cat(kept), ranks).cpu() for kept in (self._predictions, self._labels))
        worst = None if self._wrong is None else tuple(gather_rows(kept, ranks).cpu() for kept in self._wrong)
        self._predictions, self._labels, self._wrong = [], [], None
        if not trainer.is_global_zero or not len(labels):
            return
        if not self.finite(predictions, "predictions"):
            self._findings = []
            return
        self._findings = prediction_findings(predictions, labels, module.hparams.task)
        names = list(module.hparams.get("class_names") or ()) or [str(i) for i in range(predictions.shape[1])]
        task = module.hparams.task
        if task == "regression":
            self.save(trainer, scatter(predictions, labels, names), "predicted")
        elif task == "multilabel":
            self.save(trainer, precision_bars(predictions, labels.long(), names), "precision")
        elif of_classes(labels):
            self.save(trainer, confusion(predictions, labels, names), "confusion")
            self.save(trainer, calibration(predictions, labels), "calibration")
            if worst is not None and len(worst[0]):
                order = worst[1].amax(1).argsort(descending=True)[: self.images]
                x, probabilities, truth = (kept[order] for kept in worst)
                self.save(trainer, wrong_images(denormalised(x, trainer), probabilities, truth, names), "wrong")
