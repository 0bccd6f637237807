"""Are the samples good, of every kind, and new? Measured while they are learned, beside what real pictures reach."""

import logging
import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.common import fixed_randomness, gather, training_batches
from callbacks.figures import PictureCallback, save_figure
from callbacks.samples.collapse import Alarm
from callbacks.samples.draw import draw_samples, samples_pictures, to_bytes
from callbacks.samples.feature_extractor import InceptionScorer, small
from callbacks.samples.feature_extractor_store import Scorer, given_scorer, own_scorer, restored
from callbacks.samples.figures import nearest_training, real_and_fake
from callbacks.samples.metrics import memorised, nearest, scores
from callbacks.samples.real_images import Looked, Part, look, scoring_device, shuffled

log = logging.getLogger(__name__)

_FEWEST = 16  # pictures: fewer have no covariance to speak of
_SHOWN = 64
_DRAWN = 5  # scores are cheap and figures are not: those of every fifth
_BESIDE = ("fid", "kid", "precision", "recall", "class_kl")  # measured of held-out pictures, too


class Generation(PictureCallback):
    """Scores ``sample(n)`` at validation and test; for modules that sample pictures (see ``callbacks.samples.draw``).

    A frozen network, the scorer, gives features of samples, training pictures and held-out ones (those evaluated).
    Logged, and in brackets where it lies: ``fid`` and ``kid`` (distance from the training pictures, 0 is best);
    ``precision`` and ``recall`` (0 to 1: how many samples look real, how much of the data they cover); ``diversity``
    (variance, 1 is as the data); ``memorised`` (share of samples nearer to a training picture than 95 % of held-out
    ones are: 0.05 for new ones, 1 for copies). With labels ``modes`` (classes with a sample) and ``class_kl`` (of the
    samples' classes from the data's, in nats). ``fid_real``, ``kid_real``, ``precision_real``, ``recall_real`` and
    ``class_kl_real`` are those of held-out pictures in the samples' place, in equal number: what is to be reached.

    A collapse is told when it begins. Draws ``real_and_fake.png`` and ``nearest_training.png``. For checkpoints by one
    of these metrics use ``every_n_epochs`` 1, so that it is there at every validation.

    Args:
        features: the scorer. "auto" trains a small network on the data's labels, once for the same data; pictures
            without labels are looked at by an untrained one. "inception", or a path to weights: ``given_scorer``.
        samples: at most so many, and no more than there are held-out pictures.
        train_samples: at most so many training pictures are looked at, without augmentation.
        every_n_epochs: how often while training; 0 only at the end.
        cache: folder for trained scorers; by default ``pretraining-zoo`` in the user's cache.

    Raises:
        ValueError: an argument out of its range, a scorer that cannot be read.
    """

    def __init__(
        self,
        features: str = "auto",
        samples: int = 2000,
        train_samples: int = 50_000,
        every_n_epochs: int = 10,
        cache: str | None = None,
    ) -> None:
        super().__init__(every_n_epochs)
        if samples < _FEWEST or train_samples < _FEWEST:
            raise ValueError(f"samples and train_samples must be {_FEWEST} or more; got {samples} and {train_samples}")
        self.features, self.samples, self.train_samples, self.cache = features, samples, train_samples, cache
        self.facts: dict[str, str] = {}  # for the report
        self._scorer: Scorer | None = None
        self._able = False
        self._train: Looked | None = None
        self._held: dict[str, Looked] = {}  # by stage: they do not change
        self._floors: dict[str, tuple[dict[str, float], Tensor]] = {}
        self._parts: list[Part] = []
        self._shown: dict[str, Tensor] = {}
        self._alarm, self._told = Alarm(), 0
        self._warned: set[str] = set()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._scorer is None:
            self._scorer = given_scorer(self.features)

    def due(self, trainer: pl.Trainer) -> bool:
        """On all ranks alike: each looks at its share."""
        return self._able and self.due_anywhere(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at the training pictures once: before training, if there is a sanity check, so that mistakes show."""
        if trainer.fast_dev_run or not (trainer.sanity_checking or self.due_anywhere(trainer)):  # type: ignore[attr-defined]
            return
        self._able = samples_pictures(pl_module)
        if self._able and self._train is None:
            with fixed_randomness(0, pl_module.device):  # a loader of another project may shuffle by it
                self._able = self._look_at_training(trainer)

    on_test_start = on_validation_start

    def collect(self, module: pl.LightningModule, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Look at held-out pictures, the first time."""
        trainer = module.trainer
        stage = _stage(trainer)
        if stage in self._held or "input" not in batch:
            return
        self._parts.append(look(trainer, batch, self._scorer))
        batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
        few = to_bytes(batch["input"][: math.ceil(_SHOWN / batches[0])], trainer)  # of all: loaders may go by class
        self._shown[stage] = torch.cat([self._shown.get(stage, few[:0]), few])[:_SHOWN]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure: metrics can be logged here, and no longer when the picture is drawn."""
        if not self.due(trainer) or not self._has_held_out(trainer):
            return
        assert self._train is not None and self._scorer is not None
        stage, device = _stage(trainer), self._train.features.device
        drawn = draw_samples(trainer, pl_module, len(self._held[stage].pictures), self._train.labels)
        features = gather(trainer, self._scorer(drawn.to(device)))
        found, distance, which = self._scores(stage, features)
        logged = {f"{stage}/{name}": value for name, value in found.items() if name != "spread"}
        pl_module.log_dict(logged, sync_dist=True)
        pictures = gather(trainer, small(drawn).to(device))
        if trainer.is_global_zero:
            if told := self._alarm.hear(found, patient=_early(trainer)):
                log.warning(told)
            self._told += 1
            if trainer.state.fn != "fit" or trainer.current_epoch + 1 == trainer.max_epochs or self._told % _DRAWN == 0:
                self._draw(trainer, drawn[:_SHOWN], pictures, distance, which, found["memorised"])

    on_test_epoch_end = on_validation_epoch_end

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Done already, where the samples are."""

    def _draw(
        self, trainer: pl.Trainer, first: Tensor, samples: Tensor, distance: Tensor, which: Tensor, share: float
    ) -> None:
        assert self._train is not None
        stage = _stage(trainer)
        when = f"epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else "best checkpoint"
        save_figure(real_and_fake(self._shown[stage], first, when), self.folder, "real_and_fake")
        nearest_there = self._train.pictures[which]
        figure = nearest_training(samples, nearest_there, distance, self._floors[stage][1], share)
        save_figure(figure, self.folder, "nearest_training")

    def _scores(self, stage: str, features: Tensor) -> tuple[dict[str, float], Tensor, Tensor]:
        """Of samples' features (M, D): the measures, and the distance (M,) to the nearest training picture (M,)."""
        assert self._train is not None and self._scorer is not None
        train, classify = self._train.features, self._scorer.classify if self._scorer.classes else None
        if stage not in self._floors:
            held = self._held[stage].features
            floor = scores(train, held, classify)
            beside = {f"{name}_real": floor[name] for name in _BESIDE if name in floor}
            self._floors[stage] = beside, nearest(train, held)[0]
        beside, held_distance = self._floors[stage]
        distance, which = nearest(train, features)
        found = {**scores(train, features, classify), "memorised": memorised(distance, held_distance)}
        return {**found, **beside}, distance, which

    # What is looked at

    def _look_at_training(self, trainer: pl.Trainer) -> bool:
        """Keep the training pictures' features, and find the scorer if none was named; whether there are enough."""
        if self._scorer:
            self._scorer.to(scoring_device(trainer))
        wanted = -(-self.train_samples // trainer.world_size)
        parts: list[Part] = []
        for batch in training_batches(trainer):
            if sum(len(part[0]) for part in parts) >= wanted or "input" not in batch:
                break
            parts.append(look(trainer, batch, self._scorer))
        if not parts:
            return self._too_few("training", 0)
        if self._scorer is None:
            pictures, labels = (gather(trainer, torch.cat([part[i] for part in parts])) for i in (0, 2))  # type: ignore[misc]
            self._scorer = self._own_scorer(trainer, pictures, labels)
            parts = [(pictures, self._scorer(pictures), labels) for pictures, _, labels in parts]
        self._train = shuffled(trainer, parts)
        if isinstance(self._scorer, InceptionScorer):
            self._scorer.learn_classes(self._train.features, self._train.labels)
        return len(self._train.pictures) >= _FEWEST or self._too_few("training", len(self._train.pictures))

    def _own_scorer(self, trainer: pl.Trainer, pictures: Tensor, labels: Tensor) -> Scorer:
        """Found by the first process, so that all have the same, and all stop if it is damaged."""
        parts: dict[str, Any] = {}  # plain values and tensors: no network is pickled
        if trainer.is_global_zero:
            fingerprint = getattr(getattr(trainer, "datamodule", None), "fingerprint", None)
            try:
                own = own_scorer(pictures, labels, fingerprint, self.cache).cpu()
                parts = {"shape": own.shape, "classes": own.classes, "about": own.about, "tensors": own.state_dict()}
            except ValueError as error:
                parts = {"error": str(error)}
        parts = trainer.strategy.broadcast(parts)
        if "error" in parts:
            raise ValueError(parts["error"])
        found = restored(**parts)
        if not found.classes:
            self._warn(f"samples are scored by {found.about}")
        return found.to(scoring_device(trainer))

    def _has_held_out(self, trainer: pl.Trainer) -> bool:
        """Keep what was collected, as many as are compared with; whether there are enough."""
        stage = _stage(trainer)
        parts, self._parts = self._parts, []
        if stage not in self._held and parts:
            held = Looked(*(x[: self.samples] for x in shuffled(trainer, parts)))
            if len(held.pictures) < _FEWEST:
                return self._too_few("held-out", len(held.pictures))
            self._held[stage] = held
            self._say(held)
        return stage in self._held

    def _say(self, held: Looked) -> None:
        """For the report: who scored, and how many."""
        assert self._train is not None and self._scorer is not None
        right, known = "", held.labels >= 0
        if self._scorer.classes and known.any():
            share = (self._scorer.classify(held.features) == held.labels)[known].float().mean()
            right = f", right on {share:.1%} of held-out pictures"
        n, all_training = len(held.pictures), len(self._train.pictures)
        self.facts["scorer"] = f"{self._scorer.about}{right}; sha256 {self._scorer.checksum()}"
        self.facts["scored"] = (
            f"{n:,} samples, beside {n:,} held-out pictures, against {all_training:,} training pictures"
        )

    def _too_few(self, which: str, count: int) -> bool:
        self._warn(f"samples are not scored: there are {count} {which} pictures, {_FEWEST} are needed")
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
