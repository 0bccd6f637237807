"""Figures of a classifier's predictions. N samples, C classes: probabilities (N, C), labels (N,) long."""

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multilabel_average_precision,
)

_DARK, _LIGHT = "#2c5f8a", "#9ab8d6"
_NUMBERED = 20  # classes up to which every cell has its number
_BINS = 15


def _short(name: str, length: int = 16) -> str:
    """A name without its middle, if it is long: names are often alike at one end."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def confusion(probabilities: Tensor, labels: Tensor, names: list[str]) -> Figure:
    """Confusion matrix: a row for each true class, its cells shares of it, with counts."""
    classes = len(names)
    counts = multiclass_confusion_matrix(probabilities.argmax(1), labels, classes)
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    side = max(4.0, min(12.0, 1.6 + 0.42 * classes))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if classes <= _NUMBERED:
        for row in range(classes):
            for column in range(classes):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=7, color=colour)
    every = max(1, classes // 40)  # more names than that would lie upon one another
    shown = [_short(name) for name in names[::every]]
    axes.set_xticks(range(0, classes, every), shown, rotation=90, fontsize=8)
    axes.set_yticks(range(0, classes, every), shown, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = counts.diagonal().sum().item() / max(1, len(labels))
    axes.set_title(f"accuracy {right:.1%} on {len(labels):,} samples\n{_most_confused(counts, names)}", fontsize=9)
    return figure


def _most_confused(counts: Tensor, names: list[str]) -> str:
    off = counts.clone().fill_diagonal_(0)
    amount, index = off.flatten().max(0)
    if not amount:
        return ""
    row, column = divmod(int(index), len(names))
    return f"most frequent error: {_short(names[row])} predicted as {_short(names[column])} ({amount} times)"


def calibration(probabilities: Tensor, labels: Tensor) -> Figure:
    """Reliability diagram: accuracy by confidence (Guo et al. 2017), and how many samples have each confidence."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).float()
    number = (confidence * _BINS).long().clamp_max(_BINS - 1)
    count = number.bincount(minlength=_BINS)
    accuracy = number.bincount(right, minlength=_BINS) / count.clamp_min(1)
    error = multiclass_calibration_error(probabilities, labels, max(2, probabilities.shape[1]), n_bins=_BINS).item()
    figure = Figure(figsize=(4.4, 5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    middle, some = (torch.arange(_BINS) + 0.5) / _BINS, count > 0
    above.bar(middle[some], accuracy[some], 1 / _BINS, color=_LIGHT, edgecolor="white")
    above.plot([0, 1], [0, 1], color="0.5", lw=1, ls=(0, (3, 3)))
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1)
    word = "overconfident" if confidence.mean() > right.mean() else "underconfident"
    above.set_title(f"expected calibration error {error:.3f}:\n{word} overall", fontsize=9)
    below.bar(middle, count, 1 / _BINS, color=_DARK, edgecolor="white")
    below.set_ylabel("samples")
    below.set_xlabel("confidence (probability of the predicted class)")
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def wrong_images(x: Tensor, probabilities: Tensor, labels: Tensor, names: list[str]) -> Figure:
    """Misclassified images (N, C, H, W) in [0, 1], each with its predicted class, the confidence and the true class."""
    columns = min(6, len(x))
    rows = -(-len(x) // columns)
    figure = Figure(figsize=(max(4.0, 1.55 * columns), 1.95 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel in panels:
        panel.set_axis_off()
    confidence, predicted = probabilities.max(1)
    for i, image in enumerate(x):
        grey = len(image) == 1
        panels[i].imshow(image.permute(1, 2, 0).numpy(), cmap="gray" if grey else None, vmin=0, vmax=1)
        name, true = _short(names[int(predicted[i])]), _short(names[int(labels[i])])
        text = f"pred {name} ({100 * confidence[i]:.0f} %)\ntrue {true}"
        panels[i].set_title(text, fontsize=7, pad=2)
    figure.suptitle("misclassified with the highest confidence", fontsize=10)
    return figure


def precision_bars(probabilities: Tensor, labels: Tensor, names: list[str]) -> Figure:
    """Average precision by class of a multi-label problem, with each class's prevalence: labels (N, C)."""
    classes = len(names)
    each = multilabel_average_precision(probabilities, labels, classes, average="none")
    each = torch.where(labels.any(0), each, torch.nan)  # of what never occurs there is none
    figure = Figure(figsize=(6, 1 + 0.28 * max(3, classes)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(classes), each.nan_to_num(), color=_LIGHT, height=0.7)
    axes.plot(
        labels.float().mean(0), range(classes), "|", color=_DARK, ms=10, mew=2, label="prevalence (precision by chance)"
    )
    axes.set_yticks(range(classes), [_short(name, 24) for name in names], fontsize=8)
    axes.set_ylim(classes - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title(f"average precision by class; mean {each.nanmean():.3f}", fontsize=9)
    figure.legend(fontsize=7, frameon=False, loc="outside lower center")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scatter(values: Tensor, truth: Tensor, names: list[str]) -> Figure:
    """Predicted values against true ones, (N, K) each, a panel for each of the first six."""
    shown = min(6, values.shape[1])
    columns = min(3, shown)
    figure = Figure(figsize=(3.6 * columns, 3.6 * -(-shown // columns)), layout="constrained")
    for i, axes in enumerate(figure.subplots(-(-shown // columns), columns, squeeze=False).flat):
        if i >= shown:
            axes.set_axis_off()
            continue
        y, p = truth[:, i], values[:, i]
        low, high = (f(torch.stack([y, p])).item() for f in (torch.min, torch.max))
        axes.plot([low, high], [low, high], color="0.6", lw=1, ls=(0, (3, 3)))
        axes.plot(y, p, ".", color=_DARK, ms=4, alpha=0.5)
        unexplained = (y - p).square().sum() / (y - y.mean()).square().sum().clamp_min(1e-12)
        axes.set_title(f"{_short(names[i], 24)}: R² {1 - unexplained:.3f}", fontsize=9)
        axes.set_xlabel("true", fontsize=8)
        axes.set_ylabel("predicted", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
