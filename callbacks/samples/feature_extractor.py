"""Networks whose features samples are scored by: Inception, or small ones that need no download.

They take images (B, C, H, W) of 8 bits, B of them with C channels, and give features (B, D). The small ones see
no more than 32 x 32 pixels, so larger images are averaged down: fine detail is not judged by them.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.functional.randomness import fixed_randomness

LARGEST_SIDE = 32
_AT_ONCE = 1000
_STEPS, _BATCH = 500, 128  # of training: seconds, and right on 98 % of MNIST, 86 % of Fashion-MNIST


class ConvFeatureExtractor(nn.Module):
    """A small frozen convolutional network: 64 features, and what class an image is of where it was trained on labels.

    Features are centred and scaled as a whole, so that the training images' variance is 1 a feature on average:
    samples that are all one image have a Frechet distance of about 64.

    Args:
        shape: Shape of an image, (C, H, W), no side longer than 32.
        classes: Number of classes, K; 0 for a network that is not trained.
    """

    num_features = 64

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, *sides = shape
        first = 2 if max(sides) > 16 else 1
        positions = math.prod(-(-side // (4 * first)) for side in sides)
        self.shape, self.classes = tuple(shape), classes
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 16, 3, first, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * positions, self.num_features), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(self.num_features, max(classes, 1))
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(self.num_features))
        self.register_buffer("scale", torch.ones(()))
        self.about = ""  # for people: what it was trained on

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (B, C, H, W) to features (B, 64).

        Raises:
            ValueError: images of another shape than those that the extractor is made for.
        """
        parts = []
        for part in map(downscale, images.split(_AT_ONCE)):
            if tuple(part.shape[1:]) != self.shape:
                raise ValueError(
                    f"this feature extractor takes images of {self.shape}; these are {tuple(part.shape[1:])}"
                )
            parts.append(self.trunk(part.float() / 255))
        return (torch.cat(parts) - self.centre) / self.scale

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, 64) to classes (B,) long."""
        return self.head(features * self.scale + self.centre).argmax(1)

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Choose centre and scale by training images (N, C, H, W)."""
        self.centre.zero_(), self.scale.fill_(1.0)
        features = self(images)
        self.centre.copy_(features.mean(0))
        self.scale.copy_(features.var(0).mean().sqrt().clamp_min(1e-12))

    def checksum(self) -> str:
        """SHA-256 of names, shapes and values of all weights."""
        return checksum(self.state_dict())


class InceptionFeatureExtractor(nn.Module):
    """torchvision's Inception v3 (Szegedy et al. 2016): 2,048 features before its last layer, and of which class of the
    data an image is by the nearest class mean.

    These are torchvision's weights and not those of the original FID, so the values do not compare with published ones.

    Args:
        path: Path of torchvision's weights, ``inception_v3_google-*.pth``.

    Raises:
        ValueError: the file is missing, or holds something else.
    """

    num_features = 2048
    classes = 0

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        from torchvision.models import inception_v3  # takes a moment: only who uses it waits

        self.network = inception_v3(weights=None, init_weights=False, transform_input=False)
        try:
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            self._sum = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except Exception as error:  # unpickling may raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} is not torchvision's weights of Inception v3: {reason}") from error
        self.network.fc = nn.Identity()  # type: ignore[assignment]
        self.about = f"Inception v3 from {Path(path).name}"
        self.known: Tensor
        self.means: Tensor
        self.register_buffer("known", torch.empty(0, dtype=torch.long))
        self.register_buffer("means", torch.empty(0, self.num_features))
        self.requires_grad_(False).eval()

    def learn_classes(self, features: Tensor, labels: Tensor) -> None:
        """From features (N, 2048) and labels (N,) long, -1 for unlabelled; without two classes it knows none."""
        known = labels.unique()[labels.unique() >= 0]
        if len(known) > 1:
            self.classes, self.known = len(known), known
            self.means = torch.stack([features[labels == label].mean(0) for label in known])

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, 2048) to classes (B,) long."""
        return self.known[torch.cdist(features, self.means).argmin(1)]

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (B, C, H, W), grey or in colour, to features (B, 2048)."""
        parts = []
        for part in images.split(64):
            x = (part.float() / 255).expand(-1, 3, -1, -1)
            x = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False, antialias=True)
            parts.append(self.network(2 * x - 1))
        return torch.cat(parts)

    def checksum(self) -> str:
        """SHA-256 of the file."""
        return self._sum


def downscale(images: Tensor) -> Tensor:
    """uint8 images (B, C, H, W), averaged down so that no side is longer than 32."""
    if max(images.shape[2:]) <= LARGEST_SIDE:
        return images
    sides = (min(images.shape[2], LARGEST_SIDE), min(images.shape[3], LARGEST_SIDE))
    return F.adaptive_avg_pool2d(images.float(), sides).round().to(torch.uint8)


def train_extractor(images: Tensor, labels: Tensor, seed: int = 0) -> ConvFeatureExtractor:
    """Train on labelled images; the same images in the same order give the same weights on the same machine.

    Args:
        images: Images (N, C, H, W) uint8, no side longer than 32.
        labels: Classes (N,) long, 0 to K - 1.
        seed: Seed of the initial weights and of the order.
    """
    with fixed_randomness(seed, images.device), torch.inference_mode(False), torch.enable_grad():
        extractor = ConvFeatureExtractor(images.shape[1:], int(labels.max()) + 1).to(images.device)  # type: ignore[arg-type]
        optimizer = torch.optim.AdamW(extractor.parameters(), lr=3e-3, weight_decay=1e-3, fused=True)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=_STEPS)
        images, labels = images.clone(), labels.clone()  # out of inference mode
        for _ in range(_STEPS):
            rows = torch.randint(len(images), (_BATCH,)).to(images.device)
            x = images[rows].float() / 255
            loss = F.cross_entropy(extractor.head(extractor.trunk(x)), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    extractor.about = f"a small network trained on {len(images):,} labelled images"
    return _frozen(extractor, images)


def untrained_extractor(images: Tensor, seed: int = 0) -> ConvFeatureExtractor:
    """The network as it begins, by ``seed``, for images (N, C, H, W) without labels (Naeem et al. 2020)."""
    with fixed_randomness(seed, images.device):
        extractor = ConvFeatureExtractor(images.shape[1:], 0).to(images.device)  # type: ignore[arg-type]
    extractor.about = "a small untrained network (the images have no labels to train one)"
    return _frozen(extractor, images)


def _frozen(extractor: ConvFeatureExtractor, images: Tensor) -> ConvFeatureExtractor:
    extractor.calibrate(images)
    return extractor.requires_grad_(False).eval()


def checksum(tensors: dict[str, Any]) -> str:
    """SHA-256 of the names, shapes and values of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
