"""Warnings about the seeds of a comparison: far from the others, with labels in common, or with too few errors."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

FAR_POINTS, FAR_DEVIATIONS, MOST_SHARED, FEWEST_ERRORS = 10.0, 5.0, 0.2, 5

_TO_DEVIATION = 1.4826  # of the median absolute deviation, for a normal distribution


def far_seeds(scores: Tensor) -> Tensor:
    """Seeds whose score is far from the others': by more than 10 points and five robust standard deviations.

    Both from the median; the robust deviation is 1.4826 times the median absolute one, which failed runs do not move
    while most are right. That of a few seeds is often small by chance, so that the usual rule alone (3.5 deviations,
    Iglewicz & Hoaglin 1993) would warn of more than one in four healthy comparisons of three seeds.

    Args:
        scores: Scores 0 to 1, (..., S).

    Returns:
        (..., S); none of two seeds.
    """
    points = 100 * scores.double()
    distance = (points - points.quantile(0.5, -1, keepdim=True)).abs()
    deviation = _TO_DEVIATION * distance.quantile(0.5, -1, keepdim=True)
    return (distance > FAR_POINTS) & (distance > FAR_DEVIATIONS * deviation)


def label_overlap(indices: Sequence[Tensor]) -> Tensor:
    """Share of labelled samples that two seeds have in common, of the smaller set.

    Args:
        indices: For each of S seeds the indices of its labelled samples, (L_s,), at least one.

    Returns:
        (S, S), 1 on the diagonal.
    """
    _, place = torch.cat(list(indices)).unique(return_inverse=True)
    seed = torch.repeat_interleave(torch.tensor([len(own) for own in indices], device=place.device))
    member = torch.zeros(len(indices), int(place.max()) + 1, dtype=torch.float64, device=place.device)
    member[seed, place] = 1
    sizes = member.sum(1)
    return member @ member.T / torch.minimum(sizes, sizes[:, None])


def seed_warnings(
    scores: dict[str, Tensor],
    indices: Sequence[Tensor] = (),
    names: Sequence[object] | None = None,
    samples: int | None = None,
) -> list[str]:
    """Sentences that warn of what a comparison's interval does not allow for.

    Of fewer than 5 errors (or right answers) a seed, the sum is not normal: intervals of 95 % were found to hold 90 %.

    Args:
        scores: By what was run ("`contrastive`", "from scratch"): accuracies of S seeds, (S,).
        indices: For each seed the indices of its labelled samples; empty where all seeds have all labels.
        names: What the seeds are called, S; their places from 0 by default.
        samples: Number of test samples; None: errors are not counted.
    """
    found: list[str] = []
    for title, values in scores.items():
        found += _far(title, values, names)
        found += [] if samples is None else _few(title, float(values.double().mean()), samples)
    if len(indices) > 1 and (most := float(label_overlap(indices).fill_diagonal_(0).max())) > MOST_SHARED:
        found.append(
            f"Seeds have up to {100 * most:.0f} % of their labels in common: with other labels the gain will vary more "
            "than its interval says. Fewer labels, or a larger set to draw them from, keep seeds apart."
        )
    return found


def _far(title: str, values: Tensor, names: Sequence[object] | None) -> Iterator[str]:
    median = 100 * float(values.double().quantile(0.5))
    for place in far_seeds(values).nonzero().flatten().tolist():
        name, value = names[place] if names else place, 100 * float(values[place])
        yield f"{title}: seed {name} has {value:.1f} %, far from the median of {median:.1f} %: did its run fail?"


def _few(title: str, mean: float, samples: int) -> Iterator[str]:
    errors, kind = samples * min(mean, 1 - mean), "wrong" if mean > 0.5 else "right"
    if errors < FEWEST_ERRORS:
        yield (
            f"{title}: {errors:.1f} of {samples:,} test samples are {kind} on average. Of fewer than {FEWEST_ERRORS} "
            "the interval is too narrow: label more test samples."
        )
