"""Where a classifier is right, how sure it is, and what it takes for something else."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.common import gather
from callbacks.figures import PictureCallback, save_figure, to_unit
from callbacks.predictions.figures import (
    calibration,
    confusion,
    precision_bars,
    scatter,
    wrong_pictures,
)


class Classification(PictureCallback):
    """For modules that have ``classify(x)`` and ``hparams.task`` and ``class_names``; of what is evaluated.

    Of a classification ``confusion.png``, ``calibration.png`` (how often it is right when it is so sure) and, of
    pictures, ``wrong.png``: those that are most surely taken for another class. Of a multi-label problem
    ``precision.png``, the average precision by class; of a regression ``predicted.png``, predictions beside truth.

    Args:
        pictures: at most so many wrong ones.
        every_n_epochs: how often while training; 0 only at the end.
    """

    def __init__(self, pictures: int = 24, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        if pictures < 1:
            raise ValueError(f"pictures must be 1 or more; got {pictures}")
        self.pictures = pictures
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._wrong: tuple[Tensor, Tensor, Tensor] | None = None  # pictures, probabilities and labels

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike: each classifies its share."""
        module: Any = trainer.lightning_module
        classifies = callable(getattr(module, "classify", None)) and "task" in module.hparams
        return classifies and self.due_anywhere(trainer)

    @torch.no_grad()
    def collect(self, module: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Classify what is labelled, and keep the worst."""
        if "label" not in batch:
            return
        x, labels = batch["input"], batch["label"]
        if callable(getattr(module, "known_labels", None)):
            labels = module.known_labels(labels)
        known = labels >= 0 if labels.ndim == 1 else ~labels.isnan().any(1)
        x, labels = x[known], labels[known]
        outputs = module.classify(x).float()
        self._outputs.append(outputs)
        self._labels.append(labels)
        if module.hparams.task == "classification" and x.ndim == 4 and x.shape[1] in (1, 3):
            self._keep_wrong(x, outputs, labels)

    def _keep_wrong(self, x: Tensor, outputs: Tensor, labels: Tensor) -> None:
        wrong = outputs.argmax(1) != labels
        found = x[wrong], outputs[wrong], labels[wrong]
        if self._wrong is not None:
            found = tuple(torch.cat(pair) for pair in zip(self._wrong, found, strict=True))  # type: ignore[assignment]
        worst = found[1].amax(1).argsort(descending=True)[: self.pictures]
        self._wrong = found[0][worst], found[1][worst], found[2][worst]

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """All pictures of the task."""
        if not self._outputs:
            return
        outputs, labels = (gather(trainer, torch.cat(kept)).cpu() for kept in (self._outputs, self._labels))
        worst = None if self._wrong is None else tuple(gather(trainer, kept).cpu() for kept in self._wrong)
        self._outputs, self._labels, self._wrong = [], [], None
        if not trainer.is_global_zero or not len(labels):
            return
        names = list(module.hparams.get("class_names") or ()) or [str(i) for i in range(outputs.shape[1])]
        task = module.hparams.task
        if task == "regression":
            save_figure(scatter(outputs, labels, names), self.folder, "predicted")
        elif task == "multilabel":
            save_figure(precision_bars(outputs, labels.long(), names), self.folder, "precision")
        else:
            save_figure(confusion(outputs, labels, names), self.folder, "confusion")
            save_figure(calibration(outputs, labels), self.folder, "calibration")
            if worst is not None and len(worst[0]):
                order = worst[1].amax(1).argsort(descending=True)[: self.pictures]
                x, probabilities, truth = (kept[order] for kept in worst)
                save_figure(wrong_pictures(to_unit(x, trainer), probabilities, truth, names), self.folder, "wrong")
