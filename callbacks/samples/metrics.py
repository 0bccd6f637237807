"""How good are samples? Measures of their features against those of real images: pure functions.

N real and M sampled images with D features each; K classes. Features are (N, D) or (M, D) floats on one device.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from zoo.functional.randomness import fixed_randomness

_ROWS = 1024  # images whose distances to all others are in memory at once


class IdentityFeatures(nn.Module):
    """Stands where torchmetrics expects a network: the features are there already.

    Args:
        num_features: Number of features, D.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) as they are."""
        return features


def fid(real: Tensor, fake: Tensor) -> float:
    """Frechet distance of the Gaussians that have the features' means and covariances, 0 or more (Heusel et al. 2017).

    It falls with the number of images, and so compares only at equal numbers; two of each at least.
    """
    metric = FrechetInceptionDistance(IdentityFeatures(real.shape[1]), normalize=True, sync_on_compute=False).to(
        real.device
    )
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return max(0.0, metric.compute().item())  # of equal sets the last digits may be below


def kid(real: Tensor, fake: Tensor, subset: int = 1000, subsets: int = 10) -> float:
    """Squared distance in the space of a cubic kernel, around 0 for equals at any number (Binkowski et al. 2018).

    The mean over subsets, always the same ones; one where there are no more than ``subset`` of both.
    """
    size = min(len(real), len(fake), subset)
    whole = size == len(real) == len(fake)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*will save all extracted features")
        metric = KernelInceptionDistance(
            IdentityFeatures(real.shape[1]), 1 if whole else subsets, size, normalize=True, sync_on_compute=False
        ).to(real.device)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    with fixed_randomness(0):
        return metric.compute()[0].item()


@torch.no_grad()
def gaussian_images(images: Tensor, n: int, most: int = 5000) -> Tensor:
    """``n`` draws from the Gaussian with the mean and covariance of the pixels of uint8 images (N, C, H, W).

    A combination of centred images with standard normal weights has their covariance: none is computed.

    Args:
        images: Images in an order of no meaning.
        n: Number of draws.
        most: Number of images that are combined at most.

    Returns:
        (n, C, H, W) uint8 on the images' device, the same every time.
    """
    rows = images[:most].flatten(1).float()
    mean = rows.mean(0)
    weights = torch.randn(n, len(rows), generator=torch.Generator().manual_seed(0)).to(rows.device)
    drawn = mean + weights @ (rows - mean) / max(1, len(rows) - 1) ** 0.5
    return drawn.round().clamp(0, 255).to(torch.uint8).view(n, *images.shape[1:])


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of samples among the real images, and of real images among the samples (Kynkaanniemi et al. 2019).

    A set covers the balls around its members that reach to their k-th nearest neighbour; both sets should be equally
    large, and larger than k.
    """
    distance = torch.cdist(fake.float(), real.float())  # (M, N)
    inside_real = distance <= _reach(real, k)
    inside_fake = distance <= _reach(fake, k).unsqueeze(1)
    return inside_real.any(1).float().mean().item(), inside_fake.any(0).float().mean().item()


def _reach(features: Tensor, k: int) -> Tensor:
    """Distance of each (N, D) to its k-th nearest neighbour: (N,)."""
    distance = torch.cdist(features.float(), features.float())
    return distance.kthvalue(min(k + 1, len(features)), dim=1).values  # the nearest is itself


def diversity(real: Tensor, fake: Tensor) -> float:
    """Total variance of the samples' features over that of real ones: 1 is as the data, 0 a single image."""
    return (fake.double().var(0).sum() / real.double().var(0).sum().clamp_min(1e-12)).item()


def class_shares(classes: Tensor, count: int) -> Tensor:
    """Histogram of classes (N,) long: (K,) float64, sums to 1."""
    return torch.bincount(classes, minlength=count).double() / len(classes)


def class_kl(fake: Tensor, real: Tensor, images: int) -> float:
    """KL(samples || data) in nats of the class shares (K,); a class that the data lack counts as half an image of
    ``images``, so that it is finite."""
    real = real.clamp_min(0.5 / images)
    return max(0.0, (torch.special.xlogy(fake, fake / real)).sum().item())


def effective_classes(shares: Tensor) -> float:
    """e^entropy of the shares (K,): K if all are equal, 1 if there is only one."""
    return torch.special.entr(shares).sum().exp().item()


def nearest(train: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of images (M, D) to the nearest of (N, D), and which it is: (M,) each."""
    which = torch.cat([torch.cdist(rows, train.float()).argmin(1) for rows in images.float().split(_ROWS)])
    return (images.float() - train.float()[which]).norm(dim=1), which  # anew: cdist's are not exactly 0 for equals


def memorised(fake: Tensor, held_out: Tensor, share: float = 0.05) -> float:
    """Share of samples that are nearer to the training images than nearly all held-out images are.

    Args:
        fake: Distances (M,) of samples to the nearest training image.
        held_out: Distances (N,) of held-out images likewise.
        share: Share of the held-out images that are as near: the value to expect of samples as new as they are.

    Returns:
        0 to 1; 1 if all are copies.
    """
    return (fake <= torch.quantile(held_out.float(), share)).float().mean().item()


def scores(train: Tensor, fake: Tensor, classify: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
    """All measures that need no held-out images: ``fid``, ``kid``, ``precision``, ``recall``, ``diversity`` and, if
    there are classes, ``modes`` (classes with a sample), ``class_kl``, and ``spread`` (effective number of the
    samples' classes over that of the data's).

    Args:
        train: Features (N, D) of training images, in an order of no meaning: precision and recall take as many as there
            are samples.
        fake: Features (M, D) of samples.
        classify: Function from features (B, D) to classes (B,) long.
    """
    found = {"fid": fid(train, fake), "kid": kid(train, fake)}
    size = min(len(train), len(fake))
    found["precision"], found["recall"] = precision_recall(train[:size], fake[:size])
    found["diversity"] = diversity(train, fake)
    if classify is None:
        return found
    classes, of_data = classify(fake), classify(train)
    count = 1 + int(torch.maximum(classes.max(), of_data.max()))
    shares, data_shares = class_shares(classes, count), class_shares(of_data, count)
    found["modes"] = float((shares > 0).sum())
    found["class_kl"] = class_kl(shares, data_shares, len(train))
    found["spread"] = effective_classes(shares) / effective_classes(data_shares)
    return found
