"""Short names for the command line. Strings only, so that listing them imports nothing."""

from typing import NamedTuple


class Technique(NamedTuple):
    """A module by its import path, the short name of the data it is first tried on, and what it is."""

    path: str
    data: str
    summary: str


class Source(NamedTuple):
    """A datamodule by its import path, and what it is."""

    path: str
    summary: str


MODULES = {
    "autoencoder": Technique(
        "zoo.modules.autoencoder.AutoencoderModule",
        "digits",
        "plain, denoising and (beta-)variational autoencoders",
    ),
}

DATA = {
    "digits": Source("datamodules.images.Digits", "1,797 scans of handwritten digits, 8 x 8, bundled: no download"),
    "mnist": Source("datamodules.images.MNIST", "70,000 handwritten digits, 28 x 28"),
    "fashion_mnist": Source("datamodules.images.FashionMNIST", "70,000 pictures of clothes, 28 x 28"),
    "cifar10": Source("datamodules.images.CIFAR10", "60,000 colour photographs in 10 classes, 32 x 32"),
    "folder": Source("datamodules.folder.Folder", "any folder of images: --data.root DIR"),
}

# Watchers that every run gets; each is idle with a module that lacks what it needs.
# The key is also the option's name: --sample_grid.rows 4.
CALLBACKS = {
    "sample_grid": "callbacks.sample_grid.SampleGrid",
    "latent_map": "callbacks.latent_map.LatentMap",
}
