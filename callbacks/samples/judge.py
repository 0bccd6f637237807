"""Does the network that scores samples see what the images are of? If not, its scores say nothing of them."""

from torch import Tensor

from zoo.functional.intervals import wilson

ONE_SIDED = 1.6448536269514722  # standard normal quantile of 95 %
SKILL = 0.25  # of the way from always naming the most frequent class to being always right
# Scores that mean something only to a network that tells images apart. Copies and a single image, ``memorised`` and
# ``diversity``, are such to any network.
OF_SIGHT = ("fid", "kid", "precision", "recall", "modes", "class_kl", "spread")


def blindness(predicted: Tensor, labels: Tensor) -> str | None:
    """Why a feature extractor's scores are withheld; None if it is clearly better than chance.

    It is where the lower end of the one-sided 95 % interval (Wilson's) of its accuracy reaches the share of the most
    frequent class and a quarter of the rest: 62.5 % of two equal classes, 32.5 % of ten. Significance alone does not
    suffice: with thousands of images 52 % of two classes is significant, and features that know so little of the
    images put the same distance between samples and noise.

    Args:
        predicted: Classes of held-out images by the extractor, (N,) long.
        labels: Their true classes, (N,) long; -1 for unlabelled.
    """
    known = labels >= 0
    n = int(known.sum())
    if not n:
        return "no held-out image has a label to check the network by which samples are scored"
    right, labels = int((predicted == labels)[known].sum()), labels[known]
    chance = (labels == labels.mode().values).double().mean().item()
    needed = chance + SKILL * (1 - chance)
    if wilson(right, n, ONE_SIDED)[0] >= needed:
        return None
    return (
        f"the network by which samples are scored is right on {right / n:.1%} of {n:,} held-out labelled images, "
        f"which is not clearly better than chance ({chance:.1%}; {needed:.1%} are needed, at 95 % confidence)"
    )


def without_sight(found: dict[str, float]) -> dict[str, float]:
    """Scores without those that need a network which sees, and without their references."""
    return {name: value for name, value in found.items() if not name.startswith(OF_SIGHT)}
