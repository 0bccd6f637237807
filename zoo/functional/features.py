"""How good are features? Measures without training a network: pure functions of features and labels.

N training and M test samples, D features, C classes. Features are (N, D) or (M, D) floats, labels (N,) or (M,) long.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.functional.probe import fit_logistic

_LARGEST_SIDE = 32  # of images taken as raw pixels: larger ones are averaged down to it
_ROWS = 4096  # test samples whose similarities are in memory at once


def knn_correct(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 10, temperature: float = 0.07
) -> Tensor:
    """Whether a test sample's k nearest training samples vote for the right class, (M,) bool (Wu et al. 2018).

    Nearest by cosine; a neighbour's vote weighs e^(cosine / temperature).

    Args:
        train: Features of the N samples that vote.
        labels: Their labels.
        test: Features of the M samples that are voted on.
        test_labels: Their labels.
        k: Number of neighbours, at most N.
        temperature: Temperature of the weights.
    """
    train, classes = F.normalize(train.float()), int(labels.max()) + 1
    right = []
    for rows, truth in zip(test.split(_ROWS), test_labels.split(_ROWS), strict=True):
        similarity, nearest = (F.normalize(rows.float()) @ train.T).topk(min(k, len(train)))
        votes = similarity.new_zeros(len(rows), classes)
        votes.scatter_add_(1, labels[nearest], ((similarity - 1) / temperature).exp())
        right.append(votes.argmax(1) == truth)
    return torch.cat(right)


def probe_correct(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, l2: float = 1e-5, steps: int = 100
) -> Tensor:
    """Whether a logistic regression on standardised features has a test sample right, (M,) bool.

    It is fitted to the end by L-BFGS: no rate to tune.

    Args:
        train: Features of the N samples that it is fitted to.
        labels: Their labels.
        test: Features of the M samples that it is tested on.
        test_labels: Their labels.
        l2: Penalty on the squared weights, against the mean cross-entropy.
        steps: Number of steps of L-BFGS at most.
    """
    weight, bias = fit_logistic(train.float(), labels, l2=l2, steps=steps)
    return F.linear(test.float(), weight, bias).argmax(1) == test_labels


def rank_me(features: Tensor) -> float:
    """Effective rank: e^entropy of the singular values' shares, 1 to D (Garrido et al. 2023)."""
    # Singular values from the D x D or N x N products in float64: as exact as is wanted, and much faster.
    x = features.double()
    squares = torch.linalg.eigvalsh(x.T @ x if x.shape[0] > x.shape[1] else x @ x.T).clamp_min(0)
    values = squares.sqrt()
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def feature_spread(features: Tensor) -> float:
    """Standard deviation of normalised features, times sqrt(D): 1 if they point everywhere alike, 0 if all are one
    (Chen & He 2021)."""
    return (F.normalize(features.float()).std(0).mean() * features.shape[1] ** 0.5).item()


def pca_features(train: Tensor, test: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Both sets on the first ``dim`` principal components of the first (as many as there are)."""
    mean, components = principal_components(train, dim)
    return (train.float() - mean) @ components, (test.float() - mean) @ components


def principal_components(train: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the first ``dim`` principal components (D, K), as many as there are, of rows (N, D)."""
    mean = train.float().mean(0)
    centred = (train.float() - mean).double()
    if len(centred) < centred.shape[1]:  # fewer rows than columns: D x D products would take most of the time
        vectors = torch.linalg.svd(centred, full_matrices=False).Vh.T
    else:
        vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    return mean, vectors[:, :dim].float()


def raw_pixels(x: Tensor) -> Tensor:
    """Inputs (B, ...) as vectors; images of more than 32 pixels a side are averaged down to 32."""
    if x.ndim == 4 and max(x.shape[2:]) > _LARGEST_SIDE:
        x = F.adaptive_avg_pool2d(x, (min(x.shape[2], _LARGEST_SIDE), min(x.shape[3], _LARGEST_SIDE)))
    return x.flatten(1)
