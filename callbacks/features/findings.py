"""Measures of features as findings, each compared with baselines, with intervals and the range of chance."""

from collections.abc import Mapping

from torch import Tensor

from zoo.core.findings import PERCENT, Finding, Reference
from zoo.functional.intervals import chance_difference, wilson

FEATURES = "features"
BASELINES = {"pixels": "raw inputs", "pca": "PCA of the same size", "untrained": "untrained network"}
_MEASURES = {
    "probe": ("linear probe", "right answers of a linear classifier on the features; more is better"),
    "knn": ("nearest neighbours", "right answers by a vote of the nearest training samples; more is better"),
}


def paired_reference(title: str, correct: Tensor, other: Tensor, baseline: bool = True) -> Reference:
    """Another classifier's accuracy on the same samples, and the difference from the first one's that is chance.

    Args:
        title: What the other is called.
        correct: What the first has right, (M,) bool.
        other: What the other has right, (M,) bool.
        baseline: Whether the verdict is against it.
    """
    n, right = len(other), int(other.sum())
    chance = chance_difference(int((correct & ~other).sum()), int((other & ~correct).sum()), n)
    return Reference(title, right / n, wilson(right, n), chance, baseline)


def majority_reference(labels: Tensor, truth: Tensor) -> Reference:
    """Accuracy of always answering with the most frequent class of the training labels (N,), on ``truth`` (M,)."""
    return Reference("most frequent class", (truth == labels.mode().values).double().mean().item())


def feature_findings(correct: Mapping[str, Tensor], labels: Tensor, truth: Tensor, dim: int) -> list[Finding]:
    """Findings of probe and neighbours.

    Args:
        correct: What each measure has right, (M,) bool: "probe", "probe_pixels", "probe_pca", ...
        labels: Labels that were learned from, (N,) long.
        truth: Labels of the test samples, (M,) long.
        dim: Number of features.
    """
    found = []
    for measure, (title, meaning) in _MEASURES.items():
        own = correct[measure]
        n, right = len(own), int(own.sum())
        references = [paired_reference(BASELINES[r], own, correct[f"{measure}_{r}"]) for r in BASELINES]
        references.append(majority_reference(labels, truth))
        text = f"{meaning} ({len(labels):,} labels, {dim:,} features)"
        found.append(
            Finding(FEATURES, title, right / n, text, PERCENT, n, wilson(right, n), tuple(references), metric=measure)
        )
    return found


def plain_findings(measured: Mapping[str, float], features: Tensor) -> list[Finding]:
    """Findings that need no labels.

    Args:
        measured: ``rank_me`` and ``feature_std``.
        features: Features (M, D) that were measured.
    """
    samples, dim = features.shape
    rank = "effective number of dimensions that the features use (RankMe); 1 would be a collapse"
    spread = "spread of the features' directions: 1 is even, 0 a single point (collapse)"
    full = Reference("all dimensions", float(min(samples, dim)))
    return [
        Finding(FEATURES, "dimensions in use", measured["rank_me"], rank, samples=samples, references=(full,),
                metric="rank_me"),
        Finding(FEATURES, "spread", measured["feature_std"], spread, samples=samples,
                references=(Reference("even", 1.0),), metric="feature_std"),
    ]  # fmt: skip
