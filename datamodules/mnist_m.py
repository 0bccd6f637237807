"""Digits blended with photographs: the same digits in another domain (MNIST-M, Ganin et al. 2016)."""

from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from datamodules.folder_images import ImageFiles, Unreadable, look_into
from datamodules.folder_parts import find_all
from datamodules.image_base import Split
from datamodules.image_files import read_cifar
from datamodules.images import MNIST, Digits
from datamodules.value_range import Ranges

_SIDE = 64  # of photographs from a folder
_FEW = 10  # photographs: fewer are divided by columns, not by image


def blend(digits: Tensor, photographs: Tensor, seed: int) -> Tensor:
    """|patch - digit| in each channel, the patch cut from a random photograph at a random place.

    Args:
        digits: Images (N, 1, h, w) uint8.
        photographs: Images (M, 3, H, W) uint8, H >= h and W >= w.
        seed: Seed of the patches.

    Returns:
        (N, 3, h, w) uint8.

    Raises:
        ValueError: photographs smaller than the digits.
    """
    count, _, height, width = digits.shape
    room = (photographs.shape[2] - height, photographs.shape[3] - width)
    if min(room) < 0:
        raise ValueError(f"photographs of {tuple(photographs.shape[2:])} are smaller than digits of {height} x {width}")
    generator = Generator().manual_seed(seed)
    which = torch.randint(len(photographs), (count, 1, 1, 1), generator=generator)
    top, left = (torch.randint(free + 1, (count, 1, 1, 1), generator=generator) for free in room)
    rows, columns = top + torch.arange(height).view(1, 1, -1, 1), left + torch.arange(width).view(1, 1, 1, -1)
    patches = photographs[which, torch.arange(3).view(1, 3, 1, 1), rows, columns]
    return torch.maximum(patches, digits) - torch.minimum(patches, digits)


def read_photographs(source: str) -> tuple[Tensor, Tensor]:
    """For training and for testing, (M, 3, H, W) uint8 each, none in common.

    Args:
        source: Folder of CIFAR-10's binary records, or of images; "" takes the two that come with scikit-learn.

    Raises:
        FileNotFoundError: there are none.
    """
    if not source:
        from sklearn.datasets import load_sample_images

        photographs = torch.stack([torch.from_numpy(image.copy()) for image in load_sample_images().images])
        return _divided(photographs.permute(0, 3, 1, 2))
    folder = Path(source).expanduser()
    if records := sorted(folder.glob("data_batch_*.bin")):
        test = folder / "test_batch.bin"
        return read_cifar(records)[0], read_cifar([test] if test.is_file() else records)[0]
    ranges: Ranges = {}
    try:
        paths = find_all(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no photographs under {folder}: {error}") from error
    look_into(paths, ranges, 1)
    files = ImageFiles(paths, None, _SIDE, 3, strict=False, ranges=ranges)
    return _divided(files.decode(1, Unreadable())[0].images)


def _divided(photographs: Tensor) -> tuple[Tensor, Tensor]:
    if len(photographs) >= _FEW:
        return photographs[: -len(photographs) // 5], photographs[-len(photographs) // 5 :]
    column = photographs.shape[3] * 4 // 5
    return photographs[..., :column], photographs[..., column:]


def _blended(splits: dict[str, Split], photographs: str, seed: int) -> dict[str, Split]:
    train, test = read_photographs(photographs)
    return {
        name: Split(blend(split.images, test if name == "test" else train, seed + i), split.labels)
        for i, (name, split) in enumerate(splits.items())
    }


class DigitsM(Digits):
    """scikit-learn's digits, 3 x 8 x 8, each blended with a patch of a photograph; no download.

    Args:
        photographs: Folder of images, or of CIFAR-10's binary records; "" takes two that come with scikit-learn.
        options: Options of ``ImageData``.
    """

    mean, std = (0.4, 0.4, 0.4), (0.3, 0.3, 0.3)  # type: ignore[assignment]
    input_shape = (3, 8, 8)

    def __init__(self, photographs: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.photographs = photographs

    def read(self) -> dict[str, Split]:
        return _blended(super().read(), self.photographs, 0)


class MNISTM(MNIST):
    """MNIST, 3 x 28 x 28, each digit blended with a patch of a photograph: MNIST-M's construction.

    Args:
        root: Folder of MNIST.
        photographs: Folder as of ``DigitsM``; the paper took 200 photographs of BSDS500.
        options: Options of ``ImageData``.
    """

    mean, std = (0.4, 0.4, 0.4), (0.3, 0.3, 0.3)  # type: ignore[assignment]
    input_shape = (3, 28, 28)

    def __init__(self, root: str = "data", photographs: str = "", **options: Any) -> None:
        super().__init__(root, **options)
        self.photographs = photographs

    def download(self) -> None:
        from torchvision import datasets

        datasets.MNIST(self.root, download=True)

    def read(self) -> dict[str, Split]:
        return _blended(super().read(), self.photographs, 0)
