"""Divisions of labelled samples for cross-validation."""

import warnings
from collections.abc import Sequence

import torch
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from torch import Tensor

from zoo.functional.finetune import is_labelled


def repeated_folds(
    labels: Tensor, folds: int, repeats: int, seed: int = 0, names: Sequence[str] = ()
) -> tuple[list[list[Tensor]], str]:
    """Divide the labelled samples into folds, several times.

    Classes are divided evenly. A class of fewer labels than there are folds is in some of them only; one of a single
    label trains always and is not judged, since nothing could know it without.

    Args:
        labels: Labels (N,) long, -1 for unlabelled, or (N, K) floats, NaN for unlabelled.
        folds: Number of folds, and no more than there are samples of the largest class.
        repeats: Number of divisions.
        seed: Seed of the divisions.
        names: Names of the classes, in the order of their numbers.

    Returns:
        For each division the indices of its folds' samples, (n,) long each, and a line to tell, or "". There are no
        divisions where fewer than two classes, or two samples, are left to judge.
    """
    known = is_labelled(labels).nonzero().squeeze(1).cpu()
    if labels.ndim > 1 or labels.is_floating_point():
        if len(known) < 2:
            return [], "a single label cannot be cross-validated"
        return _divide(RepeatedKFold, known, None, min(folds, len(known)), repeats, seed), ""
    classes, counts = labels.cpu()[known].unique(return_counts=True)
    named = [names[i] if i < len(names) else str(i) for i in classes.tolist()]
    note = _note(*([name for name, n in zip(named, counts.tolist(), strict=True) if n == count] for count in (1, 2)))
    judged = known[torch.isin(labels.cpu()[known], classes[counts > 1])]
    if (counts > 1).sum() < 2:
        return [], "the labels cannot be cross-validated: two labels of two classes each are needed at least"
    size = min(folds, int(counts.max()))
    return _divide(RepeatedStratifiedKFold, judged, labels.cpu()[judged], size, repeats, seed), note


def _divide(
    rule: type, rows: Tensor, classes: Tensor | None, folds: int, repeats: int, seed: int
) -> list[list[Tensor]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # is told in one line
        found = rule(n_splits=folds, n_repeats=repeats, random_state=seed).split(rows.numpy(), classes)
        held_out = [rows[torch.from_numpy(test)] for _, test in found]
    return [held_out[first : first + folds] for first in range(0, len(held_out), folds)]


def _note(single: Sequence[str], pairs: Sequence[str]) -> str:
    told = []
    if single:
        told.append(f"classes with a single label train but are not judged: {_listed(single)}")
    if pairs:
        told.append(f"classes with two labels are judged by modules that saw one of them: {_listed(pairs)}")
    return "; ".join(told)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
