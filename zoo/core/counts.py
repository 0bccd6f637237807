"""How many samples a run trained, validated and tested on, and what they are."""

from typing import Any

import torch

_PARTS = {"training": "train_dataloader", "validation": "val_dataloaders", "test": "test_dataloaders"}


def sample_counts(trainer: Any) -> dict[str, int]:
    """Numbers of samples on all processes by part, "training", "validation" and "test", as far as they are known;
    "labelled" is how many of the training samples have a label, where the datamodule says so."""
    counts = {}
    for part, attribute in _PARTS.items():
        loader = getattr(trainer, attribute, None)
        loader = loader[0] if isinstance(loader, list | tuple) and loader else loader
        if count := number_of_samples(loader):
            counts[part] = count
    labelled = getattr(getattr(trainer, "datamodule", None), "num_labelled", None)
    return {**counts, "labelled": labelled} if labelled is not None and "training" in counts else counts


def number_of_samples(loader: Any) -> int | None:
    """Number of samples of a loader, on all processes; None where it does not say."""
    data = getattr(getattr(loader, "sampler", None), "dataset", None)
    data = getattr(loader, "dataset", None) if data is None else data
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def count_labelled(labels: torch.Tensor | None) -> int:
    """Number of samples with a label: not -1, or not NaN in all of its values."""
    if labels is None:
        return 0
    known = labels >= 0 if not labels.is_floating_point() else ~labels.view(len(labels), -1).isnan().all(1)
    return int(known.sum())


def noun_of(datamodule: Any) -> str:
    """What a datamodule's samples are, in the plural."""
    if noun := getattr(datamodule, "noun", None):
        return str(noun)
    shape = getattr(datamodule, "input_shape", None)
    return {3: "images", 1: "rows"}.get(len(shape), "samples") if shape else "samples"


def caveat_of(datamodule: Any) -> str:
    """What a datamodule's test numbers must be read with; "" where they mean what they say."""
    if not getattr(datamodule, "test_is_validation", False):
        return ""
    return "there is no separate test part: validation chose the checkpoint and is the test, so the numbers flatter"


def title_of(module: Any, datamodule: Any) -> str:
    """A run's title: the technique, its variant, and the data, "autoencoder (VAE) on Digits"."""
    name = type(module).__name__.removesuffix("Module").lower() or type(module).__name__
    option = getattr(getattr(module, "headline", None), "variant", "")
    variant = str(module.hparams.get(option, "")).replace("_", "-") if option else ""
    variant = variant.upper() if len(variant) <= 4 else variant
    data = f" on {type(datamodule).__name__}" if datamodule is not None else ""
    return f"{name} ({variant}){data}" if variant else f"{name}{data}"
