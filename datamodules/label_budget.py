"""Stratified, reproducible choices by label. A label of -1 is of an unlabelled sample."""

import logging
from typing import Any

import torch
from torch import Tensor

from zoo.core.arguments import at_least
from zoo.core.counts import count_labelled
from zoo.functional.finetune import is_labelled

log = logging.getLogger(__name__)

FEW_LABELS = 50  # a tenth of which says nothing: 4 of 5 right is anything between 38 and 96 %


def _shuffled(members: Tensor, seed: int) -> Tensor:
    return members[torch.randperm(len(members), generator=torch.Generator().manual_seed(seed))]


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide samples in two, each class in the same proportion.

    Args:
        labels: Classes (N,) long.
        fraction: Share of the second part; each class of two or more gives at least one, and keeps at least one.
        seed: Seed of the choice.

    Returns:
        The sorted indices of both parts, (N1,) and (N2,) long.
    """
    second = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        count = min(max(1, round(len(members) * fraction)), len(members) - 1) if fraction > 0 else 0
        second.append(_shuffled(members, seed)[:count])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.cat(second)] = True
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def subsample_labels(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Forget all labels but ``per_class`` of each class.

    Args:
        labels: Classes (N,) long.
        per_class: Number of labels that stay.
        seed: Seed of the choice; a larger budget of the same seed contains the smaller one.

    Returns:
        (N,) long, -1 where forgotten.

    Raises:
        ValueError: a class has fewer samples than that, or the number is not positive.
    """
    at_least(1, labels_per_class=per_class)
    kept = torch.full_like(labels, -1)
    for label in labels[labels >= 0].unique():
        members = (labels == label).nonzero().squeeze(1)
        if len(members) < per_class:
            raise ValueError(
                f"`data.labels_per_class` is {per_class}, but class {int(label)} has only {len(members)} samples"
            )
        chosen = _shuffled(members, seed)[:per_class]
        kept[chosen] = label
    return kept


def check_options(batch_size: int, val_fraction: float, labels_per_class: int | None, labelled_only: bool) -> None:
    """Check options that all datamodules with labels have.

    Raises:
        ValueError: one out of its range, or ``labelled_only`` without a budget.
    """
    at_least(1, batch_size=batch_size, labels_per_class=1 if labels_per_class is None else labels_per_class)
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be between 0 and 1; got {val_fraction}")
    if labelled_only and labels_per_class is None:
        raise ValueError("`data.labelled_only` needs `data.labels_per_class`")


def learns_from_labels(trainer: Any) -> bool:
    """Whether a module is trained that learns from labels; it says so itself, ``learns_from_labels``."""
    fits = trainer is not None and trainer.state.fn == "fit"
    return fits and bool(getattr(trainer.lightning_module, "learns_from_labels", False))


def for_training(labels: Tensor, trainer: Any) -> Tensor:
    """Indices, (N1,) long, of the samples that the module at work learns from: the labelled ones, and all if it
    ``learns_from_unlabelled``."""
    if getattr(trainer.lightning_module, "learns_from_unlabelled", False):
        return torch.arange(len(labels))
    return is_labelled(labels).nonzero().squeeze(1)


def are_few(labels: Tensor | None, limit: int) -> bool:
    """Whether some samples have labels, (N,) long or (N, K), and ``limit`` at most."""
    return 0 < count_labelled(labels) <= limit


def tell_few(data: Any, labels: Tensor | None, stage: str | None) -> None:
    """Say once of a datamodule that all of its labels train, or that they did if a tested module had them.

    Args:
        data: Datamodule with ``few_labels``.
        labels: Labels of what it divides, or None.
        stage: Stage that is set up.
    """
    if data.told_few:
        return
    if data.all_labels_train:
        data.told_few, count = True, count_labelled(labels)
        log.warning("the %d labels are few: all of them train, and none is set aside for validation or testing", count)
    elif stage in ("validate", "test") and are_few(labels, data.few_labels):
        data.told_few = True
        log.warning("these labels are few: a module that was trained on these data has seen all of them")
