"""Does the 95 % interval of a cross-validated accuracy hold the true accuracy in 95 % of all cases?

    python benchmarks/cross_validation.py

Labels are drawn, a linear classifier (ridge regression, as a probe) learns from all of them, and its true accuracy on
the two Gaussians they come from is known exactly. Beside it: 5 x 5-fold cross-validation of the same labels, and the
intervals made of it: Wilson's with as many trials as there are labels ("all"), or as labels that a fold's classifier
learned from ("learned"), which the callback takes; and the corrected resampled t interval (Nadeau & Bengio 2003) of the
25 folds' accuracies.
"""

import argparse
import math

import numpy as np
from scipy.stats import norm, t

from zoo.functional.intervals import wilson

FOLDS, REPEATS, RIDGE = 5, 5, 1.0
METHODS = ("wilson", "wilson, all", "corrected t")


def fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (..., D) and bias (...,) of ridge regressions on x (..., N, D) and y (..., N) of -1 and 1."""
    mean, centre = x.mean(-2, keepdims=True), y.mean(-1, keepdims=True)
    z = x - mean
    gram = np.swapaxes(z, -1, -2) @ z + RIDGE * np.eye(x.shape[-1])
    weight = np.linalg.solve(gram, (np.swapaxes(z, -1, -2) @ (y - centre)[..., None]))[..., 0]
    return weight, centre[..., 0] - (mean[..., 0, :] * weight).sum(-1)


def true_accuracy(weight: np.ndarray, bias: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Of linear classifiers on Gaussians around -shift and shift, each of half the samples."""
    size = np.linalg.norm(weight, axis=-1) + 1e-12
    right = [norm.cdf((sign * bias + weight @ shift) / size) for sign in (1, -1)]
    return (right[0] + right[1]) / 2


def cross_validated(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Right answers in each fold, (R * K,), of stratified divisions; y has as many of both classes."""
    n, found = len(y), []
    for _ in range(REPEATS):
        fold_of = np.empty(n, int)
        for label in (-1, 1):
            members = rng.permutation(np.flatnonzero(y == label))
            fold_of[members] = np.arange(len(members)) % FOLDS
        for fold in range(FOLDS):
            out = fold_of == fold
            weight, bias = fit(x[~out], y[~out])
            found.append(((x[out] @ weight + bias > 0) == (y[out] > 0)).mean())
    return np.array(found)


def corrected_t(folds: np.ndarray) -> tuple[float, float]:
    """The corrected resampled t interval of the folds' accuracies."""
    count = len(folds)
    half = t.ppf(0.975, count - 1) * folds.std(ddof=1) * math.sqrt(1 / count + 1 / (FOLDS - 1))
    return folds.mean() - half, folds.mean() + half


def coverage(n: int, distance: float, dims: int, trials: int, seed: int = 0) -> dict[str, float]:
    """Share of intervals that hold the truth, and their mean width, for ``n`` labels."""
    rng = np.random.default_rng(seed)
    shift = np.full(dims, distance / math.sqrt(dims))
    y = np.repeat([-1.0, 1.0], n // 2)
    rows = []
    for _ in range(trials):
        x = y[:, None] * shift + rng.normal(size=(n, dims))
        truth = float(true_accuracy(*fit(x, y), shift))
        folds = cross_validated(x, y, rng)
        learned = n * (1 - 1 / FOLDS)
        intervals = wilson(folds.mean() * learned, learned), wilson(folds.mean() * n, n), corrected_t(folds)
        inside = [low <= truth <= high for low, high in intervals]
        rows.append([truth, folds.mean(), *inside, *(high - low for low, high in intervals)])
    names = ("truth", "estimate", *METHODS, *(f"{method} width" for method in METHODS))
    return dict(zip(names, np.mean(rows, 0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    print("| labels | dimensions | truth | estimate | Wilson, learned: holds, width | Wilson, all | corrected t |")
    print("|---|---|---|---|---|---|---|")
    for n in (10, 20, 50):
        for distance, dims in ((0.0, 20), (0.7, 20), (1.5, 20), (1.5, 100), (3.0, 20)):
            found = coverage(n, distance, dims, trials)
            cells = [f"{100 * found[name]:.1f} %" for name in ("truth", "estimate")]
            for name in METHODS:
                cells.append(f"{100 * found[name]:.1f} %, {100 * found[name + ' width']:.0f}")
            print(f"| {n} | {dims} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
