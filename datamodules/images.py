"""Well-known sets of small images, each held as one uint8 tensor."""

from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from datamodules.image_base import ImageData, Split
from datamodules.image_files import check_labels, read_cifar, read_idx
from datamodules.label_budget import stratified_split

_DIGITS = list("0123456789")
_CLOTHES = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
_THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def _divided(whole: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    images, labels = whole
    assert labels is not None
    first, second = stratified_split(labels, fraction, seed)
    return Split(images[first], labels[first]), Split(images[second], labels[second])


@cache
def _all_digits() -> Split:
    """They are read from text, which takes longer than all else that a datamodule does with them."""
    from sklearn.datasets import load_digits  # takes a second to import: only who uses it waits

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # 17 grey levels
    return Split(images, torch.from_numpy(digits.target).long())


class Digits(ImageData):
    """1,797 scans of handwritten digits, 8 x 8, bundled with scikit-learn: no download.

    A fifth is for testing, stratified and the same whatever the seed.
    """

    mirrored = False
    mean, std = (0.3053,), (0.3764,)
    input_shape = (1, 8, 8)
    class_names = _DIGITS

    def read(self) -> dict[str, Split]:
        rest, test = _divided(_all_digits(), 0.2, seed=0)
        train, val = _divided(rest, self.val_fraction, self.seed)
        return {"train": train, "val": val, "test": test}


class StoredImages(ImageData):
    """A set that is read from a folder, and downloaded into it where it is missing.

    Args:
        root: Folder of the files; those already there are read as they are.
        options: Options of ``ImageData``.

    Raises:
        FileNotFoundError: the files are neither there nor to be had from the internet.
    """

    folders: tuple[str, ...] = ()  # where under the root the files may lie

    def __init__(self, root: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root).expanduser()

    def find(self) -> Path | None:
        """Find the folder that holds all files; None where there is none."""
        candidates = [self.root / folder for folder in self.folders]
        return next((folder for folder in candidates if self.complete(folder)), None)

    def complete(self, folder: Path) -> bool:
        """Whether all files are in ``folder``; a subclass defines it."""
        raise NotImplementedError

    def download(self) -> None:
        """Fetch the files from their official place into ``self.root``; a subclass defines it."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        if self.find():
            return
        try:
            self.download()
        except (URLError, RuntimeError, OSError) as error:
            searched = ", ".join(str(self.root / folder) for folder in self.folders)
            raise FileNotFoundError(
                f"{type(self).__name__} was not found (searched {searched}) and could not be downloaded "
                f"({str(error).splitlines()[0]}): put its files into one of these folders, or name another with "
                "`data.root`"
            ) from error

    def _folder(self) -> Path:
        folder = self.find()
        if folder is None:
            raise FileNotFoundError(f"{type(self).__name__} is not under {self.root}: call prepare_data() first")
        return folder


class MNIST(StoredImages):
    """70,000 handwritten digits, 28 x 28 (LeCun et al. 1998)."""

    mirrored = False
    mean, std = (0.1307,), (0.3081,)
    input_shape = (1, 28, 28)
    class_names = _DIGITS
    folders = ("MNIST/raw", "raw", ".")

    def complete(self, folder: Path) -> bool:
        return all(
            self._file(folder, split, kind) for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
        )

    def download(self) -> None:
        from torchvision import datasets

        getattr(datasets, type(self).__name__)(self.root, download=True)

    def read(self) -> dict[str, Split]:
        folder = self._folder()
        train, val = _divided(self._read_split(folder, "train"), self.val_fraction, self.seed)
        return {"train": train, "val": val, "test": self._read_split(folder, "t10k")}

    @staticmethod
    def _file(folder: Path, split: str, kind: str) -> Path | None:
        names = (folder / f"{split}-{kind}-ubyte{end}" for end in ("", ".gz"))
        return next((path for path in names if path.is_file()), None)

    def _read_split(self, folder: Path, split: str) -> Split:
        images, labels = (self._file(folder, split, kind) for kind in ("images-idx3", "labels-idx1"))
        assert images and labels  # find() saw them
        return Split(*self._checked(images, labels))

    def _checked(self, images: Path, labels: Path) -> tuple[Tensor, Tensor]:
        pixels, classes = read_idx(images), read_idx(labels)
        if pixels.shape[1:] != self.input_shape[1:] or not len(pixels):
            wanted = " x ".join(map(str, self.input_shape[1:]))
            raise ValueError(f"{images} holds {' x '.join(map(str, pixels.shape))}, not images of {wanted}")
        if classes.ndim != 1 or len(classes) != len(pixels):
            raise ValueError(
                f"{labels} holds {' x '.join(map(str, classes.shape))} labels, {images} {len(pixels)} images"
            )
        check_labels(classes, len(self.class_names), labels)
        return pixels.unsqueeze(1), classes.long()


class FashionMNIST(MNIST):
    """70,000 images of clothes, 28 x 28 (Xiao et al. 2017)."""

    mirrored = True
    mean, std = (0.2860,), (0.3530,)
    class_names = _CLOTHES
    folders = ("FashionMNIST/raw", "raw", ".")


class CIFAR10(StoredImages):
    """60,000 photographs of ten kinds of things, 3 x 32 x 32 (Krizhevsky 2009), from the binary records."""

    mirrored = True
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    input_shape = (3, 32, 32)
    class_names = _THINGS
    folders = ("cifar-10-batches-bin", "CIFAR10/cifar-10-batches-bin", "CIFAR10-subset/cifar-10-batches-bin", ".")
    _train = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    _url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    _md5 = "c32a1d4ab5d03f1284b67883e8d87530"

    def complete(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in (*self._train, "test_batch.bin"))

    def download(self) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(self._url, self.root, md5=self._md5, remove_finished=True)

    def read(self) -> dict[str, Split]:
        folder = self._folder()
        train, val = _divided(Split(*read_cifar([folder / n for n in self._train])), self.val_fraction, self.seed)
        return {"train": train, "val": val, "test": Split(*read_cifar([folder / "test_batch.bin"]))}
