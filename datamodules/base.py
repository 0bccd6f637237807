"""What all datamodules share: a loader for each split, and options under their old names for one release."""

import copy
from importlib import import_module
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from datamodules.label_budget import subsample_labels
from zoo.core.renamed import RenamedOptions


class SplitDataModule(pl.LightningDataModule, metaclass=RenamedOptions):
    """What all datamodules here share: a loader for each of the splits "train", "val", "test" and "predict".

    A subclass defines ``_loader(split, shuffle)``. "predict" is the test samples where there are no others. Batches
    have the samples' numbers within the split as ``index`` (B,) long.
    """

    all_labels_train = False  # labels are so few that none is set aside for validation, nor for testing
    told_few = False  # whether that was said

    @property
    def test_is_validation(self) -> bool:
        """Whether the samples that choose the best checkpoint are the test's, too, since there are no others."""
        return False

    def labels_of(self, split: str) -> Tensor | None:
        """Labels of a split's samples, (N,) long or (N, K), in their order; None where there are none."""
        return None

    def fold(self, train: Tensor, held_out: Tensor) -> Any:
        """These data as cross-validation needs them.

        Args:
            train: Indices of the training samples that train, (N1,) long.
            held_out: Indices of those that are predicted instead, (N2,) long.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fold(train, held_out)")

    def labelled_indices(self, per_class: int, seed: int) -> Tensor:
        """Indices of training samples, (N,) long: ``per_class`` of each class, chosen by the seed; a larger number
        contains a smaller one.

        Raises:
            ValueError: there are no labels, or a class has fewer.
        """
        labels = self.labels_of("train")
        if labels is None:
            raise ValueError("these data have no labels")
        return (subsample_labels(labels, per_class, seed) >= 0).nonzero().squeeze(1)

    def with_labels(self, per_class: int, seed: int) -> Any:
        """These data, whose training samples are ``labelled_indices`` alone."""
        chosen = self.labelled_indices(per_class, seed)
        return self.fold(chosen, chosen[:0])

    def with_validation_apart(self) -> Any:
        """These data with a validation split that is neither trained on nor tested on."""
        if self.test_is_validation:
            raise NotImplementedError(f"{type(self).__name__} must define with_validation_apart()")
        return self

    def without_labels(self) -> Any:
        """These data, whose training samples have no labels."""
        raise NotImplementedError(f"{type(self).__name__} must define without_labels()")

    def digests(self, split: str) -> list[bytes]:
        """A digest of each of a split's samples, in their order: equal samples have equal ones."""
        raise NotImplementedError(f"{type(self).__name__} must define digests(split)")

    def _loader(self, split: str, shuffle: bool = False) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _loader(split, shuffle)")

    def _rank_and_world_size(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def all_samples(self) -> "SplitDataModule":
        """The same data, whose training samples are all there are: with ``labelled_only`` a copy without it."""
        if not getattr(self, "labelled_only", False):
            return self
        other = copy.copy(self)
        other.labelled_only = False  # type: ignore[attr-defined]
        other._forget_splits()
        return other

    def _forget_splits(self) -> None:
        """Forget the samples that were read."""
        self.__dict__.pop("splits", None)

    @property
    def replay(self) -> dict[str, Any]:
        """The old name of ``augmentation_signature``, for one release; ``views`` was its ``augmentation_period``."""
        signature = self.augmentation_signature  # type: ignore[attr-defined]
        return {**signature, "views": signature["augmentation_period"]}

    def __str__(self) -> str:
        # Lightning's own asks for loaders, and fails on any that is no DataLoader.
        return type(self).__name__

    def train_dataloader(self) -> Any:
        same = bool(getattr(self.trainer, "overfit_batches", 0))  # each epoch the same batches, augmented alike
        loader = self._loader("train", shuffle=not same)
        if same and hasattr(loader, "sampler"):
            loader.sampler.period = 1
        return loader

    def val_dataloader(self) -> Any:
        return self._loader("val")

    def test_dataloader(self) -> Any:
        return self._loader("test")

    def predict_dataloader(self) -> Any:
        return self._loader("predict")


def __getattr__(name: str) -> Any:
    """Names that were here before ``datamodules.image_base``, for one release."""
    if name in ("ImageData", "Split"):
        return getattr(import_module("datamodules.image_base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
