"""How long to train: by the size of the data, and no longer than validation gets better."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.model_helpers import is_overridden

from zoo.core.arguments import at_least
from zoo.core.counts import count_labelled, number_of_samples
from zoo.core.renamed import RenamedOptions

FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
UNKNOWN = 20  # epochs, where nobody knows how many samples there are
_PATIENCE = 0.2  # of the epochs
_LEAST_PATIENCE = 5  # validations
_ENOUGH = {"min": 20, "max": 50}  # samples of a loss, labels of a score, which moves in steps of one sample


class TrainingLength(EarlyStopping, metaclass=RenamedOptions):
    """Sets ``max_epochs`` when the data are known, so that about ``samples`` samples are seen, and stops early.

    Never fewer than 10 epochs nor more than 100: small data would be learned by heart, and of large data every sample
    should come more than a few times. On the command line this takes the place of a length that was not given; any
    ``--trainer.max_epochs``, ``max_steps`` or ``max_time`` takes its place.

    Training stops early when the metric that chooses the best checkpoint has not improved for a fifth of the epochs (5
    validations at least). It does not where that would be chance: with fewer than 20 validation samples, or 50 labelled
    ones for a score; nor for modules whose metric does not say when to stop: neither a loss nor a score (a GAN's
    distance goes up and down), or of one that learns without gradients (``stops_early`` false).

    Args:
        samples: Number of samples, repetitions included, that a training is to see.
        early_stopping: Whether training may stop early; None is yes where its length was not given.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, samples: int = 256_000, early_stopping: bool | None = None) -> None:
        super().__init__("val/loss", strict=False, check_finite=False)
        at_least(1, samples=samples)
        self.samples, self.early_stopping = samples, early_stopping
        self.given = False  # whether the trainer's length was given and stays; the command line says so
        self.active = False
        self._epochs: int | None = None

    @property
    def state_key(self) -> str:
        """The class's name: what an ``EarlyStopping`` of the user's waits for is none of ours."""
        return type(self).__qualname__

    @property
    def chosen_options(self) -> dict[str, Any]:
        """Options that give this training again, for its ``config.yaml``."""
        if self.given or self._epochs is None:
            return {}
        return {"trainer.max_epochs": self._epochs, "length.early_stopping": self.active}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data: Any = getattr(trainer, "datamodule", None)
        if not self.given:
            self._epochs = epochs_for(_count(data, "train_dataloader"), self.samples)
            trainer.fit_loop.max_epochs = self._epochs
        wanted = self.early_stopping if self.early_stopping is not None else not self.given
        self.active = wanted and self._can_stop(trainer, pl_module, data)
        validations = (trainer.max_epochs or 0) / (trainer.check_val_every_n_epoch or 1)
        self.patience = max(_LEAST_PATIENCE, math.ceil(_PATIENCE * validations))
        super().setup(trainer, pl_module, stage)

    def _can_stop(self, trainer: pl.Trainer, module: Any, data: Any) -> bool:
        """Take the best checkpoint's metric; whether it tells more than chance."""
        chosen = [c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)]
        source: Any = chosen[-1] if chosen else module
        self.monitor = source.monitor if chosen else getattr(module, "monitor", self.monitor)
        self.mode = source.mode if chosen else getattr(module, "monitor_mode", self.mode)
        self.best_score = torch.tensor(math.inf if self.mode == "min" else -math.inf)
        says_when = self.monitor in ("val/loss", "val/score") and getattr(module, "stops_early", True)
        return says_when and _validated(data, self.mode == "max") >= _ENOUGH[self.mode]

    def _should_skip_check(self, trainer: pl.Trainer) -> bool:
        return not self.active or super()._should_skip_check(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_epoch and trainer.is_global_zero:
            when = f"stopped early after epoch {self.stopped_epoch + 1} of {trainer.max_epochs}"
            best = f"{self.monitor} was best {self.wait_count} validations ago, {float(self.best_score):.4g}"
            print(f"{when}: {best} (--length.early_stopping false goes on)", flush=True)


def epochs_for(count: int | None, samples: int) -> int:
    """Epochs of ``count`` training samples in which about ``samples`` are seen, 10 to 100; 20 where it is unknown."""
    return UNKNOWN if not count else min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(samples / count)))


def _validated(data: Any, labelled: bool) -> int:
    """Number of validation samples; of labelled ones, where the data say which are."""
    labels_of = getattr(data, "labels_of", None)
    if labelled and labels_of and (labels := labels_of("val")) is not None:
        return count_labelled(labels)
    return _count(data, "val_dataloader") or 0


def _count(data: Any, loader: str) -> int | None:
    """Number of samples of a datamodule's loader; None where there is none, or it does not say."""
    return number_of_samples(getattr(data, loader)()) if data and is_overridden(loader, data) else None
