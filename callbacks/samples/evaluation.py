"""Are the samples good, of every kind, and new? Measured while they are learned, compared with real images."""

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, input_key_of
from callbacks.samples.collapse import CollapseDetector
from callbacks.samples.draw import draw_samples, samples_images, to_uint8, two_samples
from callbacks.samples.feature_extractor import InceptionFeatureExtractor, downscale
from callbacks.samples.feature_extractor_store import (
    FeatureExtractor,
    default_extractor,
    extractor_from_option,
    extractor_from_state,
)
from callbacks.samples.figures import nearest_training, real_and_fake
from callbacks.samples.findings import sample_findings
from callbacks.samples.judge import blindness, without_sight
from callbacks.samples.metrics import fid, gaussian_images, memorised, nearest, scores
from callbacks.samples.real_images import ImageFeatures, PartialBatch, extract, extraction_device, shuffled
from zoo.core.arguments import at_least
from zoo.core.distributed import gather_rows, training_batches
from zoo.core.findings import Finding
from zoo.functional.randomness import fixed_randomness

log = logging.getLogger(__name__)

_FEWEST = 16  # images: fewer have no covariance to speak of
_SHOWN = 64
_EVALUATIONS_PER_FIGURE = 5  # scores are cheap and figures are not
_REFERENCED = ("fid", "kid", "precision", "recall", "class_kl")  # measured of held-out images, too


class Generation(FigureCallback):
    """Scores ``sample(n)`` at validation and test; for modules that sample images (see ``callbacks.samples.draw``).

    A frozen network, the feature extractor, gives features of samples, training images and held-out images (those
    evaluated). Logged, and in brackets where it lies: ``fid`` and ``kid`` (distance from the training images, 0 is
    best); ``precision`` and ``recall`` (0 to 1: how many samples look real, how much of the data they cover);
    ``diversity`` (variance, 1 is as the data); ``memorised`` (share of samples nearer to a training image than the 5th
    percentile of held-out images: 0.05 for new ones, 1 for copies). With labels ``modes`` (classes with a sample) and
    ``class_kl`` (of the samples' classes from the data's, in nats). ``fid_real``, ``kid_real``, ``precision_real``,
    ``recall_real`` and ``class_kl_real`` are those of held-out images in the samples' place, in equal number: what is
    to be reached. ``fid_gaussian`` is that of a Gaussian with the mean and covariance of the training images' pixels:
    what needs no training.

    All but ``diversity`` and ``memorised`` are withheld, and it is said why, where the feature extractor learned from
    labels and is not clearly better than chance on held-out ones (``callbacks.samples.judge.blindness``).

    Mode collapse is reported as soon as it starts, and withdrawn when it is over. Draws ``real_and_fake.png`` and
    ``nearest_training.png``. For checkpoints by one of these metrics use ``every_n_epochs`` 1, so that it is there at
    every validation.

    Args:
        features: Feature extractor. "auto" trains a small network on the data's labels, once for the same data, and
            takes an untrained one for images without labels; "inception", or a path to weights: see
            ``callbacks.samples.feature_extractor_store.extractor_from_option``.
        samples: Number of samples at most, and no more than there are held-out images.
        train_samples: Number of training images at most, without augmentation.
        every_n_epochs: Epochs between evaluations while training; 0 evaluates only at the end.
        collapse_after: Optimiser steps before which mode collapse is not looked for: samples of a generator that has
            hardly learned are neither good nor bad.
        cache: Folder for trained feature extractors; by default ``pretraining-zoo`` in the user's cache.

    Raises:
        ValueError: an argument out of its range, a feature extractor that cannot be read.
    """

    figures: ClassVar = {
        "real_and_fake": FigureText(
            "Samples beside real images", "Could you tell them apart? If you can, by what?", 20
        ),
        "nearest_training": FigureText(
            "Copies of training images?",
            "The blue curve should lie where the grey bars are. Left of them: copies. "
            "Right of them: unlike any real image.",
            40,
        ),
    }

    def __init__(
        self,
        features: str = "auto",
        samples: int = 2000,
        train_samples: int = 50_000,
        every_n_epochs: int = 10,
        collapse_after: int = 500,
        cache: str | None = None,
    ) -> None:
        super().__init__(every_n_epochs)
        at_least(_FEWEST, samples=samples, train_samples=train_samples)
        at_least(0, collapse_after=collapse_after)
        self.collapse_after, self._fitted = collapse_after, False
        self.features, self.samples, self.train_samples, self.cache = features, samples, train_samples, cache
        self.facts: dict[str, str] = {}  # for the report
        self._extractor: FeatureExtractor | None = None
        self._can_sample = False
        self._train: ImageFeatures | None = None
        self._held_out: dict[str, ImageFeatures] = {}  # by stage: they do not change
        self._reference_scores: dict[str, tuple[dict[str, float], Tensor]] = {}
        self._parts: list[PartialBatch] = []
        self._shown: dict[str, Tensor] = {}
        self._collapse, self._evaluations = CollapseDetector(), 0
        self._warned: set[str] = set()
        self._told_blind = False
        self._findings: list[Finding] = []  # of the last evaluation

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._extractor is None:
            self._extractor = extractor_from_option(self.features)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fitted = True  # so that the number of steps is known

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike: each has its share of the images."""
        return self._can_sample and self.due_anywhere(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the training images once: before training, if there is a sanity check, so that mistakes show."""
        if trainer.fast_dev_run or not (trainer.sanity_checking or self.due_anywhere(trainer)):  # type: ignore[attr-defined]
            return
        self._can_sample = samples_images(pl_module)
        if self._can_sample and self._train is None:
            with fixed_randomness(0, pl_module.device):  # a loader of another project may shuffle by it
                self._can_sample = self._extract_training(trainer, input_key_of(pl_module))

    on_test_start = on_validation_start

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep held-out images and their features, the first time."""
        trainer, key = module.trainer, input_key_of(module)
        stage = _stage(trainer)
        if stage in self._held_out or key not in batch:
            return
        self._parts.append(extract(trainer, batch, self._extractor, key))
        batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
        few = to_uint8(batch[key][: math.ceil(_SHOWN / batches[0])], trainer)  # of all: loaders may go by class
        self._shown[stage] = torch.cat([self._shown.get(stage, few[:0]), few])[:_SHOWN]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure: metrics can be logged here, and no longer when the figure is drawn."""
        if not self.due(trainer) or not self._has_held_out(trainer):
            return
        if not self.finite(two_samples(pl_module), "samples"):
            self._findings = []
            return
        assert self._train is not None and self._extractor is not None
        stage, device, ranks = _stage(trainer), self._train.features.device, trainer.world_size
        drawn = draw_samples(trainer, pl_module, len(self._held_out[stage].images), self._train.labels)
        features = gather_rows(self._extractor(drawn.to(device)), ranks)
        found, distance, which = self._scores(stage, features)
        logged = {f"{stage}/{name}": value for name, value in found.items() if name != "spread"}
        pl_module.log_dict(logged, sync_dist=True)
        classes = int(1 + self._train.labels.max()) if "modes" in found else 0
        self._findings = sample_findings(found, len(features), classes)
        images = gather_rows(downscale(drawn).to(device), ranks)
        if trainer.is_global_zero:
            learning = not self._fitted or trainer.global_step >= self.collapse_after
            if warning := self._collapse.update(found, _early(trainer), learning):
                log.warning(warning)
            self._evaluations += 1
            last = trainer.state.fn != "fit" or trainer.current_epoch + 1 == trainer.max_epochs
            if last or self._evaluations % _EVALUATIONS_PER_FIGURE == 0:
                self._draw(trainer, drawn[:_SHOWN], images, distance, which, found["memorised"])

    on_test_epoch_end = on_validation_epoch_end

    def findings(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Finding]:
        """What the last evaluation found, for the run's table and report."""
        return self._findings

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Done already, where the samples are."""

    def _draw(
        self, trainer: pl.Trainer, first: Tensor, samples: Tensor, distance: Tensor, which: Tensor, share: float
    ) -> None:
        assert self._train is not None
        stage = _stage(trainer)
        when = f"epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else "best checkpoint"
        self.save(trainer, real_and_fake(self._shown[stage], first, when), "real_and_fake")
        nearest_there = self._train.images[which]
        figure = nearest_training(samples, nearest_there, distance, self._reference_scores[stage][1], share)
        self.save(trainer, figure, "nearest_training")

    def _scores(self, stage: str, features: Tensor) -> tuple[dict[str, float], Tensor, Tensor]:
        """Of samples' features (M, D): the measures, and the distance (M,) to the nearest training image (M,)."""
        assert self._train is not None and self._extractor is not None
        train, classify = self._train.features, self._extractor.classify if self._extractor.classes else None
        if stage not in self._reference_scores:
            held_out = self._held_out[stage].features
            real = scores(train, held_out, classify)
            reference = {f"{name}_real": real[name] for name in _REFERENCED if name in real}
            gaussian = gaussian_images(self._train.images, len(held_out))
            reference["fid_gaussian"] = fid(train, self._extractor(gaussian))
            self._reference_scores[stage] = reference, nearest(train, held_out)[0]
        reference, held_out_distance = self._reference_scores[stage]
        distance, which = nearest(train, features)
        found = {**scores(train, features, classify), "memorised": memorised(distance, held_out_distance), **reference}
        return self._seen(stage, found), distance, which

    def _seen(self, stage: str, found: dict[str, float]) -> dict[str, float]:
        """Scores without those that the feature extractor cannot judge; untrained ones were never told any classes."""
        assert self._extractor is not None
        held_out = self._held_out[stage]
        if not self._extractor.classes or not (reason := blindness(self._classes(held_out), held_out.labels)):
            return found
        if not self._told_blind:  # once: the numbers of validation and test differ
            self._warn(f"samples are not scored but for diversity and copies: {reason}")
        self._told_blind = True
        return without_sight(found)

    def _classes(self, held_out: ImageFeatures) -> Tensor:
        assert self._extractor is not None
        return self._extractor.classify(held_out.features)

    # Real images

    def _extract_training(self, trainer: pl.Trainer, key: str) -> bool:
        """Keep the training images' features, and find the extractor if none was named; whether there are enough."""
        if self._extractor:
            self._extractor.to(extraction_device(trainer))
        wanted = -(-self.train_samples // trainer.world_size)
        parts: list[PartialBatch] = []
        for batch in training_batches(trainer, key):
            if sum(len(part[0]) for part in parts) >= wanted or key not in batch:
                break
            parts.append(extract(trainer, batch, self._extractor, key))
        if not parts:
            return self._too_few("training", 0)
        if self._extractor is None:
            images = gather_rows(torch.cat([part[0] for part in parts]), trainer.world_size)
            labels = gather_rows(torch.cat([part[2] for part in parts]), trainer.world_size)
            self._extractor = self._default_extractor(trainer, images, labels)
            parts = [(images, self._extractor(images), labels) for images, _, labels in parts]
        self._train = shuffled(trainer, parts)
        if isinstance(self._extractor, InceptionFeatureExtractor):
            self._extractor.learn_classes(self._train.features, self._train.labels)
        return len(self._train.images) >= _FEWEST or self._too_few("training", len(self._train.images))

    def _default_extractor(self, trainer: pl.Trainer, images: Tensor, labels: Tensor) -> FeatureExtractor:
        """Found by the first process, so that all have the same, and all stop if it is damaged."""
        parts: dict[str, Any] = {}  # plain values and tensors: no network is pickled
        if trainer.is_global_zero:
            fingerprint = getattr(getattr(trainer, "datamodule", None), "fingerprint", None)
            try:
                own = default_extractor(images, labels, fingerprint, self.cache).cpu()
                parts = {"shape": own.shape, "classes": own.classes, "about": own.about, "tensors": own.state_dict()}
            except ValueError as error:
                parts = {"error": str(error)}
        parts = trainer.strategy.broadcast(parts)
        if "error" in parts:
            raise ValueError(parts["error"])
        found = extractor_from_state(**parts)
        if not found.classes:
            self._warn(f"samples are scored by {found.about}")
        return found.to(extraction_device(trainer))

    def _has_held_out(self, trainer: pl.Trainer) -> bool:
        """Keep what was collected, as many as are compared with; whether there are enough."""
        stage = _stage(trainer)
        parts, self._parts = self._parts, []
        if stage not in self._held_out and parts:
            held_out = ImageFeatures(*(x[: self.samples] for x in shuffled(trainer, parts)))
            if len(held_out.images) < _FEWEST:
                return self._too_few("held-out", len(held_out.images))
            self._held_out[stage] = held_out
            self._record_facts(held_out)
        return stage in self._held_out

    def _record_facts(self, held_out: ImageFeatures) -> None:
        """For the report: by what the samples are scored, and how many."""
        assert self._train is not None and self._extractor is not None
        accuracy, known = "", held_out.labels >= 0
        if self._extractor.classes and known.any():
            share = (self._classes(held_out) == held_out.labels)[known].float().mean()
            accuracy = f", accuracy {share:.1%} on held-out images"
        n, all_training = len(held_out.images), len(self._train.images)
        about = f"{self._extractor.about}{accuracy}; sha256 {self._extractor.checksum()}"
        self.facts["feature_extractor"] = about
        self.facts["scored"] = f"{n:,} samples and {n:,} held-out images, against {all_training:,} training images"

    def _too_few(self, which: str, count: int) -> bool:
        self._warn(f"samples are not scored: there are {count} {which} images, {_FEWEST} are needed")
        return False

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text)


def _stage(trainer: pl.Trainer) -> str:
    return "test" if trainer.testing else "val"


def _early(trainer: pl.Trainer) -> bool:
    """Whether less than half of a training is over: a GAN's samples often begin as a few, and spread."""
    parts = ((trainer.current_epoch + 1, trainer.max_epochs), (trainer.global_step, trainer.max_steps))
    shares = [done / planned for done, planned in parts if planned is not None and planned > 0]
    return trainer.state.fn == "fit" and max(shares, default=1.0) < 0.5
